{{/* What the pods of all components share. */}}

{{/* An image's full name. Takes `root` and the `image` block. */}}
{{- define "headrace.image" -}}
{{- with default .root.Values.image.registry .image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}:{{ coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion }}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/*
The pod settings that do not depend on the component. Takes `root`, the component's `settings`, and
`token`, where a pod asks Kubernetes.
*/}}
{{- define "headrace.podSettings" -}}
automountServiceAccountToken: {{ default false .token }}
# A Service called `redis` or `api` must not set this pod's environment variables.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "initContainers" }}
{{- with index $.settings $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The container settings that do not depend on the component. Takes `root` and `settings`. */}}
{{- define "headrace.containerSettings" -}}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .root.Values.containerSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "command" "args" "resources" }}
{{- with index $.settings $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .settings.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The environment that API and workers share. Takes `root` and the `role`: api or worker. */}}
{{- define "headrace.env" -}}
{{- $role := .role }}
{{- with .root }}
- name: QUEUE_ENABLED
  value: {{ .Values.queue.enabled | quote }}
{{- if .Values.queue.enabled }}
{{- include "headrace.redisEnv" (dict "root" . "role" $role) }}
- name: QUEUE_NAMESPACE
  value: {{ .Values.queue.namespace | quote }}
- name: LEASE_SECONDS
  value: {{ .Values.queue.leaseSeconds | quote }}
- name: RESULT_RETENTION_SECONDS
  value: {{ .Values.queue.resultRetentionSeconds | int64 | quote }}
- name: QUEUE_MAX_LENGTH
  value: {{ .Values.queue.maxLength | int64 | quote }}
- name: REDIS_TIMEOUT_SECONDS
  value: {{ .Values.queue.redisTimeoutSeconds | quote }}
- name: REDIS_WAIT_REPLICAS
  value: {{ .Values.queue.redisWaitReplicas | int64 | quote }}
{{- end }}
- name: MAX_PAYLOAD_BYTES
  value: {{ .Values.queue.maxPayloadBytes | int64 | quote }}
- name: LOG_LEVEL
  value: {{ .Values.logs.level }}
- name: LOG_FORMAT
  value: {{ .Values.logs.format }}
- name: LOG_PAYLOADS
  value: {{ .Values.logs.payloads | quote }}
- name: WORKFLOWS_DIR
  value: /etc/headrace/workflows
- name: HTTP_ALLOW
  value: {{ join "," .Values.workflows.httpAllow | quote }}
{{- if .Values.workflows.existingSecret }}
- name: WORKFLOW_SECRETS_DIR
  value: /etc/headrace/secrets
{{- end }}
{{- end }}
{{- end }}

{{/* Where Redis is. Takes the same. */}}
{{- define "headrace.redisEnv" -}}
{{- $role := .role }}
{{- with .root }}
{{- if .Values.redis.enabled }}
{{- $login := dict "root" .Subcharts.redis "role" $role }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "headrace-redis.secret" .Subcharts.redis }}
      key: {{ include "headrace-redis.userKey" $login }}
- name: REDIS_URL
  value: redis://{{ include "headrace-redis.user" $login }}:$(REDIS_PASSWORD)@{{ include "headrace-redis.fullname" .Subcharts.redis }}:6379/0
{{- else }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ default (include "headrace.redisUrl.name" .) .Values.externalRedis.existingSecret }}
      key: {{ ternary .Values.externalRedis.existingSecretKey "url" (ne .Values.externalRedis.existingSecret "") }}
{{- if include "headrace.redisCa" . }}
- name: REDIS_TLS_CA_FILE
  value: /etc/headrace/redis-ca/{{ .Values.externalRedis.tls.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty when certificates for the external Redis are mounted. */}}
{{- define "headrace.redisCa" -}}
{{- if not .Values.redis.enabled -}}
{{ .Values.externalRedis.tls.existingSecret }}{{ .Values.externalRedis.tls.existingConfigMap }}
{{- end -}}
{{- end }}

{{/* The volumes that API and workers share. */}}
{{- define "headrace.volumes" -}}
{{- with .Values.workflows.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . }}
{{- end }}
- name: tmp
  emptyDir: {}
- name: workflows
  projected:
    sources:
      {{- if .Values.workflows.samples }}
      - configMap:
          name: {{ include "headrace.workflows.samples.name" . }}
      {{- end }}
      {{- if .Values.workflows.existingConfigMap }}
      - configMap:
          name: {{ .Values.workflows.existingConfigMap }}
      {{- else if .Values.workflows.definitions }}
      - configMap:
          name: {{ include "headrace.workflows.name" . }}
      {{- end }}
{{- include "headrace.redisCaVolume" . }}
{{- end }}

{{- define "headrace.redisCaVolume" -}}
{{- if include "headrace.redisCa" . }}
- name: redis-ca
  {{- if .Values.externalRedis.tls.existingSecret }}
  secret:
    secretName: {{ .Values.externalRedis.tls.existingSecret }}
  {{- else }}
  configMap:
    name: {{ .Values.externalRedis.tls.existingConfigMap }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "headrace.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: workflows
  mountPath: /etc/headrace/workflows
  readOnly: true
{{- if .Values.workflows.existingSecret }}
- name: secrets
  mountPath: /etc/headrace/secrets
  readOnly: true
{{- end }}
{{- include "headrace.redisCaMount" . }}
{{- end }}

{{- define "headrace.redisCaMount" -}}
{{- if include "headrace.redisCa" . }}
- name: redis-ca
  mountPath: /etc/headrace/redis-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* Annotations that make pods restart when what they read only at their start has changed. */}}
{{- define "headrace.podAnnotations" -}}
{{- if and .root.Values.queue.enabled (not .root.Values.redis.enabled) .root.Values.externalRedis.url }}
checksum/redis-url: {{ .root.Values.externalRedis.url | sha256sum }}
{{- end }}
{{- with .settings.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What is wrong with the memory in requests or limits when its unit was forgotten; else nothing. */}}
{{- define "headrace.tooLittleMemory" -}}
{{- $memory := (default dict .).memory -}}
{{- $text := ternary (toString (int64 $memory)) (toString $memory) (kindIs "float64" $memory) -}}
{{- if regexMatch "^[0-9]+([.][0-9]+)?m?$" $text -}}
{{- if lt (trimSuffix "m" $text | float64) 1048576.0 }}{{ $text }}{{ ternary ", which is less than a byte" " bytes" (hasSuffix "m" $text) }}{{ end -}}
{{- end -}}
{{- end }}
