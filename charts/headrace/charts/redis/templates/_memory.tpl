{{/* How much memory Redis gives to data. */}}

{{/* The bytes of a Kubernetes quantity such as 512Mi, 1.5G or 1000000; empty when it is none. */}}
{{- define "headrace-redis.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := ternary (toString (int64 .)) (toString .) (kindIs "float64" .) -}}
{{- if regexMatch "^[0-9]+([.][0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$" $text -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{ mulf (float64 $number) (index $units (trimPrefix $number $text)) | int64 }}
{{- end -}}
{{- end }}

{{/* The memory limit as it is written, or nothing. */}}
{{- define "headrace-redis.limit" -}}
{{- with .Values.resources.limits }}{{ with .memory }}{{ . }}{{ end }}{{ end -}}
{{- end }}

{{/* The value of `maxmemory` in redis.conf, or nothing. */}}
{{- define "headrace-redis.maxmemory" -}}
{{- if .Values.maxmemory -}}
{{ .Values.maxmemory }}
{{- else -}}
{{- with include "headrace-redis.bytes" (default dict .Values.resources.limits).memory -}}
{{ div (mul (int64 .) (int64 $.Values.maxmemoryPercent)) 100 }}
{{- end -}}
{{- end -}}
{{- end }}
