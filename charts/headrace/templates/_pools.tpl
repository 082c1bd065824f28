{{/* The worker pools and what each one has. */}}

{{/* All pools with their defaults filled in, as JSON. */}}
{{- define "headrace.pools" -}}
{{- $pools := dict -}}
{{- range $name, $pool := .Values.workers -}}
{{- $_ := set $pools $name (mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy (default dict $pool))) -}}
{{- end -}}
{{ toJson $pools }}
{{- end }}
