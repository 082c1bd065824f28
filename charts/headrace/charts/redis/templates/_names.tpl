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

{{/* The pod's labels: nothing that changes with the chart's version, or the pod would start anew for it. */}}
{{- define "headrace-redis.podLabels" -}}
{{ include "headrace-redis.selectorLabels" . }}
app.kubernetes.io/part-of: headrace
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
