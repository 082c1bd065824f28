{{/* Every name and label of the chart. */}}

{{- define "headrace.chartName" -}}
{{ default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- define "headrace.fullname" -}}
{{- $chart := include "headrace.chartName" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $chart .Release.Name -}}
{{ .Release.Name }}
{{- else -}}
{{ .Release.Name }}-{{ $chart }}
{{- end -}}
{{- end }}

{{- define "headrace.api.name" -}}
{{ include "headrace.fullname" . }}-api
{{- end }}

{{- /* The names that an API without keys answers to: its Service's, and those it is published under. */}}
{{- define "headrace.api.hosts" -}}
{{- $service := include "headrace.api.name" . -}}
{{- $hosts := list $service }}
{{- range list "" ".svc" ".svc.cluster.local" }}
{{- $hosts = append $hosts (printf "%s.%s%s" $service $.Release.Namespace .) }}
{{- end }}
{{- if .Values.ingress.enabled }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end }}
{{- if .Values.httpRoute.enabled }}{{ $hosts = concat $hosts .Values.httpRoute.hostnames }}{{ end }}
{{- concat $hosts .Values.api.allowedHosts | join "," -}}
{{- end }}

{{- define "headrace.metrics.name" -}}
{{ include "headrace.api.name" . }}-metrics
{{- end }}

{{- define "headrace.apiKeys.name" -}}
{{ include "headrace.fullname" . }}-api-keys
{{- end }}

{{- define "headrace.apiKeys.secret" -}}
{{ default (include "headrace.apiKeys.name" .) .Values.auth.existingSecret }}
{{- end }}

{{- define "headrace.redisUrl.name" -}}
{{ include "headrace.fullname" . }}-redis-url
{{- end }}

{{- define "headrace.checks.redisUrl.name" -}}
{{ include "headrace.fullname" . }}-redis-check-url
{{- end }}

{{- define "headrace.checks.workflows.name" -}}
{{ include "headrace.fullname" . }}-workflows-check
{{- end }}

{{- define "headrace.workflows.name" -}}
{{ include "headrace.fullname" . }}-workflows
{{- end }}

{{- define "headrace.workflows.samples.name" -}}
{{ include "headrace.fullname" . }}-workflow-samples
{{- end }}

{{- define "headrace.test.name" -}}
{{ include "headrace.fullname" . }}-test
{{- end }}

{{- define "headrace.api.serviceAccount" -}}
{{- $account := .Values.api.serviceAccount -}}
{{ default (ternary (include "headrace.api.name" .) "default" $account.create) $account.name }}
{{- end }}

{{- define "headrace.controller.name" -}}
{{ include "headrace.fullname" . }}-controller
{{- end }}

{{- define "headrace.controller.metrics.name" -}}
{{ include "headrace.controller.name" . }}-metrics
{{- end }}

{{- define "headrace.controller.key.name" -}}
{{ include "headrace.controller.name" . }}-key
{{- end }}

{{- define "headrace.controller.serviceAccount" -}}
{{- $account := .Values.controller.serviceAccount -}}
{{ default (ternary (include "headrace.controller.name" .) "default" $account.create) $account.name }}
{{- end }}

{{/* Of cluster-wide objects: releases of one name may be in several namespaces. */}}
{{- define "headrace.controller.clusterName" -}}
{{ .Release.Namespace }}-{{ include "headrace.controller.name" . }}
{{- end }}

{{/* The name of a pool's Deployment. Takes `root` and the pool's name `pool`. */}}
{{- define "headrace.worker.name" -}}
{{ include "headrace.fullname" .root }}-worker-{{ .pool }}
{{- end }}

{{/* Takes `root`, `pool` and the pool's `settings`. */}}
{{- define "headrace.worker.serviceAccount" -}}
{{- $account := .settings.serviceAccount -}}
{{ default (ternary (include "headrace.worker.name" .) "default" $account.create) $account.name }}
{{- end }}

{{/* What selects a component's pods; it never changes. Takes `root` and `component`. */}}
{{- define "headrace.selectorLabels" -}}
app.kubernetes.io/name: {{ include "headrace.chartName" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes `root` and `component`. */}}
{{- define "headrace.labels" -}}
{{ include "headrace.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A pod's labels: nothing that changes with the chart's version, or pods would restart for it. Takes `root` and `component`. */}}
{{- define "headrace.podLabels" -}}
{{ include "headrace.selectorLabels" . }}
app.kubernetes.io/part-of: headrace
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
