{{- /*
(list path value): what is secret would be readable in a ConfigMap. `options` of modules are not looked into (docs/helm.md).
*/}}
{{- define "tunnelmq.noSecrets" -}}
{{- $path := index . 0 }}
{{- $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- range $key, $inner := omit $value "options" }}
{{- if or (and (has $key (list "password" "passphrase" "secret")) (kindIs "string" $inner)) (and (eq $key "headers") $inner) }}
{{- fail (printf "%s.%s would be readable in a ConfigMap: set it by additionalEnv, with valueFrom.secretKeyRef" $path $key) }}
{{- end }}
{{- include "tunnelmq.noSecrets" (list (printf "%s.%s" $path $key) $inner) }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- range $index, $inner := $value }}
{{- include "tunnelmq.noSecrets" (list (printf "%s.%d" $path $index) $inner) }}
{{- end }}
{{- else if and (kindIs "string" $value) (regexMatch "^[a-zA-Z0-9+.-]+://[^/@]*:[^/@]*@" $value) }}
{{- fail (printf "%s has a password in its URL, and would be readable in a ConfigMap: set it by additionalEnv, with valueFrom.secretKeyRef" $path) }}
{{- end }}
{{- end }}

{{- /* Combinations that values.schema.json cannot refuse. Each message says what to set instead. */}}
{{- define "tunnelmq.check" -}}
{{- $values := .Values }}
{{- $config := $values.config }}
{{- $isRedis := eq $values.store.type "redis" }}

{{- if and (not $isRedis) (gt (int $values.replicaCount) 1) }}
{{- fail (printf "replicaCount: %d needs store.type: redis; the embedded store belongs to one broker" (int $values.replicaCount)) }}
{{- end }}
{{- if and (not $isRedis) $values.autoscaling.enabled }}
{{- fail "autoscaling.enabled needs store.type: redis; the embedded store belongs to one broker" }}
{{- end }}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- if and $values.autoscaling.enabled (not $values.autoscaling.targetCPUUtilizationPercentage) (not $values.autoscaling.targetMemoryUtilizationPercentage) (not $values.autoscaling.metrics) }}
{{- fail "autoscaling.enabled needs something to go by: targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" }}
{{- end }}

{{- $redis := $values.redis }}
{{- if and $redis.own.enabled (not $isRedis) }}
{{- fail "redis.own.enabled needs store.type: redis" }}
{{- end }}
{{- if and $redis.own.enabled (or $redis.url $redis.existingSecret) }}
{{- fail "redis.own.enabled, and redis.url or redis.existingSecret: choose one Redis" }}
{{- end }}
{{- if and $isRedis (not $redis.own.enabled) (not $redis.url) (not $redis.urlKey) }}
{{- fail "store.type: redis needs redis.url, or redis.existingSecret with redis.urlKey, or redis.own.enabled for a trial" }}
{{- end }}
{{- if and (or $redis.urlKey $redis.usernameKey $redis.passwordKey) (not $redis.existingSecret) }}
{{- fail "redis.urlKey, redis.usernameKey and redis.passwordKey are keys of redis.existingSecret, which is not set" }}
{{- end }}
{{- if and $redis.existingSecret (not $redis.urlKey) (not $redis.passwordKey) }}
{{- fail "redis.existingSecret: say what is in it, with redis.urlKey or redis.passwordKey" }}
{{- end }}
{{- if regexMatch "^[a-zA-Z0-9+.-]+://[^/]*@" $redis.url }}
{{- fail "redis.url has a user or password in it: put it into a Secret (redis.existingSecret with urlKey or passwordKey)" }}
{{- end }}

{{- range $key, $instead := dict "listeners" "service.mqtt, service.mqtts, service.ws, service.wss, listener and extraListeners" "bridges" "bridges" }}
{{- if hasKey $config $key }}
{{- fail (printf "config.%s: use %s" $key $instead) }}
{{- end }}
{{- end }}
{{- $parts := list
  (list "store" "type" "store.type")
  (list "store" "path" "persistentVolume")
  (list "admin" "host" "service.api")
  (list "admin" "port" "service.api.port")
  (list "admin" "keysFile" "admin.keys")
  (list "admin" "localKeyFile" "nothing: it is in the pod's /run/tunnelmq")
  (list "tunnel" "listen" "tunnel.listen")
  (list "tracing" "endpoint" "tracing.endpoint")
  (list "tracing" "headers" "tracing.headersSecret") }}
{{- range $parts }}
{{- if hasKey (index $config (index . 0) | default dict) (index . 1) }}
{{- fail (printf "config.%s.%s: use %s" (index . 0) (index . 1) (index . 2)) }}
{{- end }}
{{- end }}
{{- if eq (dig "admin" "enabled" true $config) false }}
{{- fail "config.admin.enabled: false would leave the probes without an answer; use config.admin.api and config.admin.dashboard" }}
{{- end }}
{{- if eq (include "tunnelmq.drains" .) "true" }}
{{- range list "api" "localKey" }}
{{- if eq (dig "admin" . true $config) false }}
{{- fail (printf "config.admin.%s: false would leave `tunnelmq drain` without an answer before a broker stops; set drain.enabled: false as well" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $configRedis := dig "store" "redis" dict $config }}
{{- range list "url" "username" "password" }}
{{- if hasKey $configRedis . }}
{{- fail (printf "config.store.redis.%s: use redis.url, or redis.existingSecret for what is secret" .) }}
{{- end }}
{{- end }}
{{- include "tunnelmq.noSecrets" (list "config" $config) }}
{{- include "tunnelmq.noSecrets" (list "listener" $values.listener) }}
{{- include "tunnelmq.noSecrets" (list "extraListeners" $values.extraListeners) }}
{{- include "tunnelmq.noSecrets" (list "service" (pick $values.service "mqtt" "mqtts" "ws" "wss")) }}
{{- range $values.bridges }}
{{- if regexMatch "^[a-z]+://[^/@]*:[^/@]*@" .url }}
{{- fail (printf "bridges: the url of %s has a password in it: use existingSecret with passwordKey" .name) }}
{{- end }}
{{- end }}
{{- include "tunnelmq.noSecrets" (list "bridges" $values.bridges) }}

{{- $certificates := list }}
{{- if $values.tls.existingSecret }}{{ $certificates = append $certificates "tls.existingSecret" }}{{ end }}
{{- if $values.tls.certManager.enabled }}{{ $certificates = append $certificates "tls.certManager" }}{{ end }}
{{- if $values.certificates.cert }}{{ $certificates = append $certificates "certificates" }}{{ end }}
{{- if gt (len $certificates) 1 }}
{{- fail (printf "choose one certificate: %s" (join " and " $certificates)) }}
{{- end }}
{{- if ne (empty $values.certificates.cert) (empty $values.certificates.key) }}
{{- fail "certificates needs both cert and key" }}
{{- end }}
{{- if $values.tls.certManager.enabled }}
{{- if not $values.tls.certManager.issuerRef.name }}
{{- fail "tls.certManager.enabled needs tls.certManager.issuerRef.name" }}
{{- end }}
{{- if not (or $values.tls.certManager.dnsNames $values.tls.certManager.serviceNames) }}
{{- fail "tls.certManager.enabled needs tls.certManager.dnsNames, or serviceNames" }}
{{- end }}
{{- end }}

{{- range concat (list (list "listener" $values.listener)) (list (list "service.mqtt.listener" $values.service.mqtt.listener) (list "service.mqtts.listener" $values.service.mqtts.listener) (list "service.ws.listener" $values.service.ws.listener) (list "service.wss.listener" $values.service.wss.listener)) }}
{{- $merged := merge (deepCopy (index . 1)) $values.listener }}
{{- if and (eq (dig "proxyProtocol" "off" $merged) "trusted") (not $merged.trustedProxies) }}
{{- fail (printf "%s.proxyProtocol: trusted needs trustedProxies: the addresses of the load balancer" (index . 0)) }}
{{- end }}
{{- end }}

{{- if and $values.users.hashes $values.users.existingSecret }}
{{- fail "users.hashes and users.existingSecret: choose one" }}
{{- end }}
{{- if and $values.admin.keys.content $values.admin.keys.existingSecret }}
{{- fail "admin.keys.content and admin.keys.existingSecret: choose one" }}
{{- end }}

{{- if not (include "tunnelmq.listeners" . | fromJson).listeners }}
{{- fail "there is no listener: enable service.mqtt, service.mqtts, service.ws or service.wss, or write extraListeners" }}
{{- end }}
{{- $seen := dict "8080/TCP" "the API" }}
{{- range include "tunnelmq.clientPorts" . | fromJsonArray }}
{{- $port := printf "%d/%s" (int .port) .protocol }}
{{- if hasKey $seen $port }}
{{- fail (printf "%s and %s have the same port, %d" (get $seen $port) .name (int .port)) }}
{{- end }}
{{- $_ := set $seen $port .name }}
{{- end }}
{{- $shown := dict }}
{{- range (include "tunnelmq.listeners" . | fromJson).ports }}
{{- $port := printf "%d/%s" (int .servicePort) .protocol }}
{{- if hasKey $shown $port }}
{{- fail (printf "%s and %s have the same port of the service, %d" (get $shown $port) .name (int .servicePort)) }}
{{- end }}
{{- $_ := set $shown $port .name }}
{{- end }}
{{- $names := list "http" }}
{{- range include "tunnelmq.clientPorts" . | fromJsonArray }}
{{- if has .name $names }}
{{- fail (printf "two ports have the name %s" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}

{{- if and $values.ingress.enabled (not $values.service.ws.enabled) }}
{{- fail "ingress.enabled needs service.ws.enabled: it leads to MQTT over WebSocket" }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) }}
{{- fail "ingress.enabled needs ingress.hosts" }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.service.enabled) }}
{{- fail "ingress.enabled needs service.enabled" }}
{{- end }}
{{- if and $values.pdb.enabled (not $isRedis) }}
{{- fail "pdb.enabled with one broker would keep its node from ever being drained; it needs store.type: redis" }}
{{- end }}
{{- if and $values.pdb.enabled (hasKey $values.pdb "maxUnavailable") (eq (trimSuffix "%" (toString $values.pdb.maxUnavailable)) "0") }}
{{- fail (printf "pdb.maxUnavailable: %s would keep nodes from ever being drained" (toString $values.pdb.maxUnavailable)) }}
{{- end }}
{{- if and $values.pdb.enabled (not $values.pdb.maxUnavailable) }}
{{- $fewest := ternary "autoscaling.minReplicas" "replicaCount" $values.autoscaling.enabled }}
{{- $count := ternary $values.autoscaling.minReplicas $values.replicaCount $values.autoscaling.enabled | int }}
{{- $stay := toString $values.pdb.minAvailable }}
{{- /* Kubernetes rounds up. */}}
{{- $least := ternary (ceil (divf (mulf $count (float64 (trimSuffix "%" $stay))) 100)) (float64 (trimSuffix "%" $stay)) (hasSuffix "%" $stay) | int }}
{{- if ge $least $count }}
{{- fail (printf "pdb.minAvailable: %s of %s: %d would keep nodes from ever being drained" $stay $fewest $count) }}
{{- end }}
{{- end }}
{{- if regexMatch "^[a-zA-Z0-9+.-]+://[^/]*@" $values.tracing.endpoint }}
{{- fail "tracing.endpoint has a user or password in it: put an authorization header into a Secret (tracing.headersSecret)" }}
{{- end }}
{{- if ne (empty $values.tracing.endpoint) (empty $values.tracing.headersSecret.name) }}
{{- if not $values.tracing.endpoint }}
{{- fail "tracing.headersSecret needs tracing.endpoint" }}
{{- end }}
{{- end }}
{{- $strategy := $values.statefulset.updateStrategy }}
{{- if and $isRedis (eq $strategy "OnDelete") }}
{{- fail "statefulset.updateStrategy: OnDelete is for a StatefulSet, and with Redis the brokers are a Deployment" }}
{{- end }}
{{- if and (not $isRedis) (eq $strategy "Recreate") }}
{{- fail "statefulset.updateStrategy: Recreate is for a Deployment, and with the embedded store the broker is a StatefulSet" }}
{{- end }}
{{- with $values.statefulset.terminationGracePeriodSeconds }}
{{- $least := include "tunnelmq.leastGrace" $ | int }}
{{- if lt (int .) $least }}
{{- fail (printf "statefulset.terminationGracePeriodSeconds: %d is too short: drain.spreadSeconds and config.shutdown.timeoutMs need %d, or brokers are killed in the middle" (int .) $least) }}
{{- end }}
{{- end }}
{{- end }}
