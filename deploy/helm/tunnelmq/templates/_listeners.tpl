{{- /*
Listeners as JSON: {"ports": [{name, port, servicePort, nodePort, protocol}], "listeners": [...]}: what the broker binds and
what the service shows, of one list, so that they cannot differ. Of `listener`, each kind gets the settings that it has;
what is set for one listener alone is for the broker to check.
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
{{- $proxied := list "proxyProtocol" "trustedProxies" }}
{{- $notOf := dict
  "tcp" (list "websocket" "http" "proxy" "coap")
  "tls" (list "websocket" "http" "proxy" "coap")
  "ws" (list "http" "proxy" "coap")
  "wss" (list "http" "proxy" "coap")
  "http" (list "websocket" "protocolVersions" "proxy" "coap")
  "https" (list "websocket" "protocolVersions" "proxy" "coap")
  "proxy" (list "websocket" "protocolVersions" "http" "coap")
  "coap" (concat $proxied (list "websocket" "protocolVersions" "http" "proxy")) }}
{{- $wanted := list }}
{{- $kinds := list
  (dict "name" "mqtt" "type" "tcp" "port" 1883)
  (dict "name" "mqtts" "type" "tls" "port" 8883)
  (dict "name" "ws" "type" "ws" "port" 8083)
  (dict "name" "wss" "type" "wss" "port" 8884) }}
{{- range $kinds }}
{{- $service := index $root.Values.service .name }}
{{- if $service.enabled }}
{{- $port := dict "servicePort" $service.port "nodePort" ($service.nodePort | default 0) }}
{{- $wanted = append $wanted (dict "own" (mustMergeOverwrite (deepCopy $service.listener) .) "port" $port "place" (printf "service.%s.enabled" .name)) }}
{{- end }}
{{- end }}
{{- range .Values.extraListeners }}
{{- $port := dict "servicePort" (.servicePort | default .port) "nodePort" (.nodePort | default 0) }}
{{- $wanted = append $wanted (dict "own" (omit . "servicePort" "nodePort") "port" $port "place" (printf "extraListeners: %s" .name)) }}
{{- end }}
{{- range $wanted }}
{{- $own := .own }}
{{- $listener := dict "host" $root.Values.bindAddress }}
{{- range $key, $value := omit $root.Values.listener "tls" }}
{{- if not (has $key (index $notOf $own.type)) }}{{ $listener = set $listener $key (deepCopy (dict "value" $value)).value }}{{ end }}
{{- end }}
{{- $listener = mustMergeOverwrite $listener (deepCopy $own) }}
{{- if or (has $own.type (list "tls" "wss" "https")) (and (eq $own.type "proxy") (hasKey $own "tls")) }}
{{- if not (or $tls ($own.tls | default dict).cert) }}
{{- fail (printf "%s needs a certificate: tls.existingSecret, tls.certManager, certificates, or its own tls.cert" .place) }}
{{- end }}
{{- $listener = set $listener "tls" (mustMergeOverwrite (deepCopy $tls) (deepCopy ($root.Values.listener.tls | default dict)) (deepCopy ($own.tls | default dict))) }}
{{- end }}
{{- $listeners = append $listeners $listener }}
{{- $ports = append $ports (merge (dict "name" $own.name "port" (int $own.port) "protocol" (ternary "UDP" "TCP" (eq $own.type "coap"))) .port) }}
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
{{- $ports = append $ports (dict "name" .name "port" .port "protocol" "TCP") }}
{{- end }}
{{- toJson $ports }}
{{- end }}
