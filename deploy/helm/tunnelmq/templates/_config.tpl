{{- /*
tunnelmq.yaml: what the values say, over `config`. The broker's own check is the last word on it; it names the line.
*/}}
{{- define "tunnelmq.config" -}}
{{- $values := .Values }}
{{- $config := deepCopy $values.config }}
{{- $_ := set $config "listeners" (include "tunnelmq.listeners" . | fromJson).listeners }}

{{- $handlers := list }}
{{- if or $values.users.hashes $values.users.existingSecret }}
{{- $handlers = append $handlers (dict "type" "password-file" "file" (printf "/etc/tunnelmq/users/%s" (ternary $values.users.key "passwd" (ne $values.users.existingSecret "")))) }}
{{- end }}
{{- if $values.acl.enabled }}
{{- $handlers = append $handlers (dict "type" "acl-file" "file" "/etc/tunnelmq/acl/acl" "dialect" $values.acl.dialect) }}
{{- end }}
{{- with concat $handlers ($config.handlers | default list) }}{{ $_ := set $config "handlers" . }}{{ end }}

{{- $store := dict "type" $values.store.type }}
{{- if eq $values.store.type "embedded" }}
{{- $store = set $store "path" "/var/lib/tunnelmq/data" }}
{{- else if $values.redis.own.enabled }}
{{- $store = set $store "redis" (dict "url" (printf "redis://%s-redis:6379/0" (include "tunnelmq.fullname" .))) }}
{{- else if not $values.redis.urlKey }}
{{- $store = set $store "redis" (dict "url" $values.redis.url) }}
{{- end }}
{{- $_ := set $config "store" (mustMergeOverwrite ($config.store | default dict) $store) }}

{{- $admin := dict "host" $values.bindAddress "port" 8080 "localKeyFile" "/run/tunnelmq/admin.key" }}
{{- if or $values.admin.keys.content $values.admin.keys.existingSecret }}
{{- $admin = set $admin "keysFile" (printf "/etc/tunnelmq/keys/%s" (ternary $values.admin.keys.key "keys" (ne $values.admin.keys.existingSecret ""))) }}
{{- end }}
{{- $_ := set $config "admin" (mustMergeOverwrite ($config.admin | default dict) $admin) }}

{{- if $values.tunnel.listen }}
{{- $_ := set $config "tunnel" (mustMergeOverwrite ($config.tunnel | default dict) (dict "listen" (include "tunnelmq.tunnelListen" . | fromJsonArray))) }}
{{- end }}
{{- if $values.bridges }}
{{- $bridges := list }}
{{- range $values.bridges }}{{ $bridges = append $bridges (omit . "existingSecret") }}{{ end }}
{{- $_ := set $config "bridges" $bridges }}
{{- end }}
{{- if $values.tracing.endpoint }}
{{- $_ := set $config "tracing" (mustMergeOverwrite ($config.tracing | default dict) (dict "endpoint" $values.tracing.endpoint)) }}
{{- end }}
{{- $_ := set $config "log" (mustMergeOverwrite (dict "format" "json") ($config.log | default dict)) }}
{{- toYaml $config }}
{{- end }}
