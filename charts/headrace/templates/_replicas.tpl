{{/* How many pods a Deployment has that somebody else scales. */}}

{{/*
The `replicas` line of a Deployment, or nothing. Takes `root`, the Deployment's `name` and `initial`,
the size of a new one.

A Deployment that is there keeps the size that it has: somebody scaled it, and an upgrade must not
take busy workers away. Who wrote the size decides how it is kept (server-side apply): the deployer,
who also wrote the selector, must say it again, for a field that it drops falls back to 1. If another
writer holds it, to leave it out keeps it, and a later rollback to this revision meets no conflict.
The same holds for 1, the API server's own default.
*/}}
{{- define "headrace.keptReplicas" -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if not $live -}}
{{- if ne (int .initial) 1 }}replicas: {{ int .initial }}{{ end -}}
{{- else -}}
{{- $applied := false -}}{{- $own := false -}}{{- $others := false -}}
{{- range $entry := $live.metadata.managedFields -}}
{{- $spec := index (default dict $entry.fieldsV1) "f:spec" | default dict -}}
{{- if hasKey $spec "f:selector" -}}
{{- $applied = eq $entry.operation "Apply" -}}
{{- $own = hasKey $spec "f:replicas" -}}
{{- else if hasKey $spec "f:replicas" -}}
{{- $others = true -}}
{{- end -}}
{{- end -}}
{{- if not (and $applied (or $others (not $own))) }}replicas: {{ int $live.spec.replicas }}{{ end -}}
{{- end -}}
{{- end }}
