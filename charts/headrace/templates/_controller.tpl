{{/* The operator: whether there is one, its key, and what it may do. */}}

{{/* Not empty when this release runs an operator: without a queue there is nothing to size. */}}
{{- define "headrace.controller" -}}
{{- if and .Values.queue.enabled .Values.controller.enabled -}}true{{- end -}}
{{- end }}

{{/* The pools that an operator sizes, with commas between their names. */}}
{{- define "headrace.autoscaled" -}}
{{- $names := list -}}
{{- if .Values.queue.enabled -}}
{{- range $pool, $settings := include "headrace.pools" . | fromJson -}}
{{- if $settings.autoscaling.enabled }}{{ $names = append $names $pool }}{{ end -}}
{{- end -}}
{{- end -}}
{{ sortAlpha $names | join ", " }}
{{- end }}

{{/* Not empty when the chart makes a key for the operator, be it this release's or a cluster-wide one. */}}
{{- define "headrace.controller.makesKey" -}}
{{- if not (or .Values.auth.allowAnonymous .Values.auth.existingSecret .Values.controller.existingSecret) -}}
{{ include "headrace.controller" . }}{{ include "headrace.autoscaled" . }}
{{- end -}}
{{- end }}

{{/* The key: as it is in the cluster, or drawn, once, for two Secrets hold it. */}}
{{- define "headrace.controller.key" -}}
{{- if not (hasKey .Values.controller "drawnKey") -}}
{{- $live := lookup "v1" "Secret" .Release.Namespace (include "headrace.controller.key.name" .) -}}
{{- $key := index (default dict $live.data) "key" | default "" | b64dec -}}
{{- $_ := set .Values.controller "drawnKey" (default (randAlphaNum 43) $key) -}}
{{- end -}}
{{ .Values.controller.drawnKey }}
{{- end }}

{{/* The Secret that the operator takes its key from, or nothing. */}}
{{- define "headrace.controller.secret" -}}
{{- if .Values.controller.existingSecret -}}
{{ .Values.controller.existingSecret }}
{{- else if include "headrace.controller.makesKey" . -}}
{{ include "headrace.controller.key.name" . }}
{{- end -}}
{{- end }}

{{/* This release's API, as the operator calls it: with the namespace, for a cluster-wide one is in another. */}}
{{- define "headrace.controller.apiUrl" -}}
http://{{ include "headrace.api.name" . }}.{{ .Release.Namespace }}.svc:{{ int .Values.api.service.port }}{{ .Values.api.pathPrefix }}
{{- end }}

{{/* Not empty when a time of Kubernetes is of the last five minutes, however far this machine's clock is off. */}}
{{- define "headrace.controller.lately" -}}
{{- $passed := sub (now | unixEpoch | int64) (toDate "2006-01-02T15:04:05Z07:00" (default "" .) | unixEpoch | int64) -}}
{{- if lt (max $passed (mul -1 $passed)) 300 -}}true{{- end -}}
{{- end }}

{{/*
The Leases of other operators that would serve the same resources, with commas between them. Looked for where the
release has its own rights: in all namespaces for a cluster-wide operator, else at the release's own resources.
*/}}
{{- define "headrace.controller.rivals" -}}
{{- $root := . -}}
{{- $own := printf "%s/headrace-operator" .Release.Namespace -}}
{{- $rivals := list -}}
{{- if .Values.controller.clusterWide -}}
{{- range (lookup "coordination.k8s.io/v1" "Lease" "" "").items -}}
{{- $lease := printf "%s/%s" .metadata.namespace .metadata.name -}}
{{- if and (eq .metadata.name "headrace-operator") (ne $lease $own) (dig "holderIdentity" "" (default dict .spec)) -}}
{{- if include "headrace.controller.lately" .spec.renewTime }}{{ $rivals = append $rivals $lease }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Capabilities.APIVersions.Has "headrace.dev/v1alpha1/WorkerAutoscaler" -}}
{{- range $pool, $settings := include "headrace.pools" . | fromJson -}}
{{- $name := include "headrace.worker.name" (dict "root" $root "pool" $pool) -}}
{{- with dig "status" "operator" dict (lookup "headrace.dev/v1alpha1" "WorkerAutoscaler" $root.Release.Namespace $name) -}}
{{- if and .lease (ne (toString .lease) $own) (include "headrace.controller.lately" .time) }}{{ $rivals = append $rivals .lease }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ uniq $rivals | join ", " }}
{{- end }}

{{/* What the operator may do where it serves: all that it asks of Kubernetes, and no verb besides. */}}
{{- define "headrace.controller.rules" -}}
- apiGroups: [headrace.dev]
  resources: [workerautoscalers]
  verbs: [list, watch]
- apiGroups: [headrace.dev]
  resources: [workerautoscalers/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# To patch is for the deletion cost.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- with prepend .Values.controller.secretNames (include "headrace.controller.secret" .) | compact | uniq }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- end }}
