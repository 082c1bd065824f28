{{/* Jobs that look at something before an install or an upgrade touches anything. */}}

{{/*
The spec of one, which runs a program by the API's new image. Takes `root`, the `program` below files/,
`env`, and `volumes` with their `mounts`.
*/}}
{{- define "headrace.checkSpec" -}}
{{- $root := .root }}
{{- $settings := $root.Values.api }}
backoffLimit: 0
# A failed one stays so long, for its log.
ttlSecondsAfterFinished: 3600
activeDeadlineSeconds: {{ int $root.Values.checks.timeoutSeconds }}
template:
  metadata:
    labels:
      {{- include "headrace.podLabels" (dict "root" $root "component" "check") | nindent 6 }}
  spec:
    restartPolicy: Never
    {{- include "headrace.podSettings" (dict "root" $root "settings" (omit $settings "initContainers")) | nindent 4 }}
    containers:
      - name: check
        image: {{ include "headrace.image" (dict "root" $root "image" $settings.image) }}
        {{- include "headrace.containerSettings" (dict "root" $root "settings" dict) | nindent 8 }}
        command: [python, -c]
        args:
          - |
            {{- $root.Files.Get (printf "files/%s" .program) | nindent 12 }}
        # What the process says last is the reason that Kubernetes keeps.
        terminationMessagePolicy: FallbackToLogsOnError
        env:
          {{- .env | trim | nindent 10 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- with .mounts | trim }}
          {{- . | nindent 10 }}
          {{- end }}
        resources:
          requests: {cpu: 20m, memory: 64Mi}
          limits: {memory: 256Mi}
    volumes:
      - name: tmp
        emptyDir: {}
      {{- with .volumes | trim }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end }}

{{/* How Helm deals with the checks and with what they read. */}}
{{- define "headrace.checkPolicies" -}}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end }}

{{- define "headrace.checks.redisEnv" -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      {{- if .Values.externalRedis.existingSecret }}
      name: {{ .Values.externalRedis.existingSecret }}
      key: {{ .Values.externalRedis.existingSecretKey }}
      {{- else }}
      name: {{ include "headrace.checks.redisUrl.name" . }}
      key: url
      {{- end }}
{{- if include "headrace.redisCa" . }}
- name: REDIS_TLS_CA_FILE
  value: /etc/headrace/redis-ca/{{ .Values.externalRedis.tls.key }}
{{- end }}
- name: QUEUE_NAMESPACE
  value: {{ .Values.queue.namespace | quote }}
- name: REDIS_TIMEOUT_SECONDS
  value: {{ .Values.queue.redisTimeoutSeconds | quote }}
- name: CHECK_SECONDS
  value: "15"
{{- end }}

{{/* The API's extra volumes too: a client's certificate may lie there. */}}
{{- define "headrace.checks.redisVolumes" -}}
{{ include "headrace.redisCaVolume" . }}
{{- with .Values.api.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headrace.checks.redisMounts" -}}
{{ include "headrace.redisCaMount" . }}
{{- with .Values.api.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
