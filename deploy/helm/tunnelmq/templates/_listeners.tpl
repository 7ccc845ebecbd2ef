{{- /*
Listeners as JSON: {"ports": [{name, port, servicePort, nodePort}], "listeners": [...]}: what the broker binds and what
the service shows, of one list, so that they cannot differ.
*/}}
{{- define "tunnelmq.listeners" -}}
{{- $root := . }}
{{- $ports := list }}
{{- $listeners := list }}
{{- $tls := dict }}
{{- if include "tunnelmq.certificateSecret" . }}
{{- $tls = dict "cert" "/etc/tunnelmq/tls/tls.crt" "key" "/etc/tunnelmq/tls/tls.key" "minVersion" .Values.tls.minVersion }}
{{- if .Values.tls.clientCa.existingSecret }}
{{- $tls = merge $tls (dict "clientCa" (printf "/etc/tunnelmq/client-ca/%s" .Values.tls.clientCa.key) "requireClientCertificate" .Values.tls.clientCa.required) }}
{{- else if .Values.certificates.ca }}
{{- $tls = merge $tls (dict "clientCa" "/etc/tunnelmq/tls/ca.crt" "requireClientCertificate" .Values.tls.clientCa.required) }}
{{- end }}
{{- end }}
{{- $kinds := list
  (dict "name" "mqtt" "type" "tcp" "port" 1883)
  (dict "name" "mqtts" "type" "tls" "port" 8883)
  (dict "name" "ws" "type" "ws" "port" 8083)
  (dict "name" "wss" "type" "wss" "port" 8884) }}
{{- range $kinds }}
{{- $service := index $root.Values.service .name }}
{{- if $service.enabled }}
{{- $own := deepCopy . | merge (dict "host" $root.Values.bindAddress) }}
{{- $listener := mustMergeOverwrite (deepCopy $root.Values.listener) (deepCopy $service.listener) $own }}
{{- if has .type (list "tls" "wss") }}
{{- if not $tls }}
{{- fail (printf "service.%s.enabled needs a certificate: tls.existingSecret, tls.certManager or certificates" .name) }}
{{- end }}
{{- $listener = set $listener "tls" (mustMergeOverwrite (deepCopy $tls) ($listener.tls | default dict)) }}
{{- else }}
{{- $listener = omit $listener "tls" }}
{{- end }}
{{- if has .type (list "tcp" "tls") }}{{ $listener = omit $listener "websocket" }}{{ end }}
{{- $listeners = append $listeners $listener }}
{{- $ports = append $ports (dict "name" .name "port" .port "servicePort" $service.port "nodePort" ($service.nodePort | default 0)) }}
{{- end }}
{{- end }}
{{- range .Values.extraListeners }}
{{- $listener := mustMergeOverwrite (dict "host" $root.Values.bindAddress) (deepCopy $root.Values.listener) (deepCopy (omit . "servicePort" "nodePort")) }}
{{- if has .type (list "tls" "wss" "https") }}
{{- if not (or $tls (.tls | default dict).cert) }}
{{- fail (printf "extraListeners: %s needs a certificate: tls.existingSecret, tls.certManager, certificates, or its own tls.cert" .name) }}
{{- end }}
{{- $listener = set $listener "tls" (mustMergeOverwrite (deepCopy $tls) ($listener.tls | default dict)) }}
{{- else }}
{{- $listener = omit $listener "tls" }}
{{- end }}
{{- if has .type (list "http" "https") }}
{{- $listener = omit $listener "websocket" "protocolVersions" }}
{{- else }}
{{- $listener = omit $listener "http" }}
{{- end }}
{{- if has .type (list "tcp" "tls") }}{{ $listener = omit $listener "websocket" }}{{ end }}
{{- $listeners = append $listeners $listener }}
{{- $ports = append $ports (dict "name" .name "port" (int .port) "servicePort" (.servicePort | default .port) "nodePort" (.nodePort | default 0)) }}
{{- end }}
{{- dict "ports" $ports "listeners" $listeners | toJson }}
{{- end }}

{{- /* Ports of tunnels, for the configuration, as JSON. */}}
{{- define "tunnelmq.tunnelListen" -}}
{{- $root := . }}
{{- $listen := list }}
{{- range .Values.tunnel.listen }}
{{- $host := ternary "[::]" "0.0.0.0" (eq $root.Values.bindAddress "::") }}
{{- $entry := dict "bind" (printf "%s:%d" $host (int .port)) }}
{{- $shared := pick $root.Values.listener "proxyProtocol" "trustedProxies" }}
{{- $listen = append $listen (mustMergeOverwrite $entry (deepCopy $shared) (omit . "name" "port" "servicePort" "nodePort")) }}
{{- end }}
{{- toJson $listen }}
{{- end }}

{{- /* Every port that clients reach, as JSON: of listeners and of tunnels. */}}
{{- define "tunnelmq.clientPorts" -}}
{{- $ports := (include "tunnelmq.listeners" . | fromJson).ports }}
{{- range .Values.tunnel.listen }}
{{- $ports = append $ports (dict "name" .name "port" .port) }}
{{- end }}
{{- toJson $ports }}
{{- end }}
