{{/* How many pods a Deployment has that somebody else scales. */}}

{{/*
The `replicas` line of a Deployment, or nothing. Takes `root`, the Deployment's `name` and `initial`,
the size of a new one.

A Deployment that is there keeps the size that it has: somebody scaled it, and an upgrade must not
take busy workers away. By server-side apply, who wrote the size decides how it is kept: the deployer,
who also wrote the selector, must say it again, for a field that it drops falls back to 1. If another
writer holds it, to leave it out keeps it, and a later rollback to this revision meets no conflict.
The same holds for 1, the API server's own default. By client-side apply, a field that no revision has
is never touched, and one that the last revision had falls back to 1 when it is dropped: so it is left
out for good, or said for good, as the Deployment began.
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
{{- $without := eq (include "headrace.firstReplicas" .) "1" -}}
{{- if not (ternary (or $others (not $own)) $without $applied) }}replicas: {{ int $live.spec.replicas }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The size that a Deployment was made with, for its annotation; nothing if that is not known. Takes the same. */}}
{{- define "headrace.firstReplicas" -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if not $live -}}
{{ int .initial }}
{{- else -}}
{{ index (default dict $live.metadata.annotations) "headrace.dev/first-replicas" | default "" }}
{{- end -}}
{{- end }}
