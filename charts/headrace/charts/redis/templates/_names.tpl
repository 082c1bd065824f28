{{/* Every name and label of this Redis. The parent chart asks for them too, with .Subcharts.redis. */}}

{{- define "headrace-redis.fullname" -}}
{{ default (printf "%s-%s" .Release.Name (default "redis" .Values.nameOverride)) .Values.fullnameOverride }}
{{- end }}

{{- define "headrace-redis.secret" -}}
{{ default (include "headrace-redis.fullname" .) .Values.auth.existingSecret }}
{{- end }}

{{- define "headrace-redis.secretKey" -}}
{{ ternary .Values.auth.existingSecretKey "password" (ne .Values.auth.existingSecret "") }}
{{- end }}

{{/*
Not empty when API and workers log in as users of their own. A Redis that is there keeps what it has,
for a change starts it again: an upgrade from a release without these users would be felt.
*/}}
{{- define "headrace-redis.users" -}}
{{- if kindIs "bool" .Values.auth.users -}}
{{- if .Values.auth.users }}true{{ end -}}
{{- else if not .Values.auth.existingSecret -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "headrace-redis.fullname" .) -}}
{{- if not $live }}true{{ else if contains "API_PASSWORD" (toJson $live.spec.template) }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* The user and the Secret's key of its password. Takes the Redis chart's `root` and the `role`: api or worker. */}}
{{- define "headrace-redis.user" -}}
{{ if include "headrace-redis.users" .root }}headrace-{{ .role }}{{ end }}
{{- end }}
{{- define "headrace-redis.userKey" -}}
{{ if include "headrace-redis.users" .root }}{{ .role }}-password{{ else }}{{ include "headrace-redis.secretKey" .root }}{{ end }}
{{- end }}

{{- define "headrace-redis.serviceAccount" -}}
{{- $account := .Values.serviceAccount -}}
{{ default (ternary (include "headrace-redis.fullname" .) "default" $account.create) $account.name }}
{{- end }}

{{/* What selects the pod; it never changes. */}}
{{- define "headrace-redis.selectorLabels" -}}
app.kubernetes.io/name: {{ default "redis" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
{{- end }}

{{- define "headrace-redis.labels" -}}
{{ include "headrace-redis.selectorLabels" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headrace-redis.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The pod's labels: nothing that changes with the chart's version, or the pod would restart for it. */}}
{{- define "headrace-redis.podLabels" -}}
{{ include "headrace-redis.selectorLabels" . }}
app.kubernetes.io/part-of: headrace
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
