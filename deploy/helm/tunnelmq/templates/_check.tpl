{{- /* (list path value): what is called a secret would be readable in a ConfigMap. */}}
{{- define "tunnelmq.noSecrets" -}}
{{- $path := index . 0 }}
{{- $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- range $key, $inner := $value }}
{{- if and (has $key (list "password" "passphrase")) (kindIs "string" $inner) }}
{{- fail (printf "%s.%s would be readable in a ConfigMap: set it by additionalEnv, with valueFrom.secretKeyRef" $path $key) }}
{{- end }}
{{- include "tunnelmq.noSecrets" (list (printf "%s.%s" $path $key) $inner) }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- range $index, $inner := $value }}
{{- include "tunnelmq.noSecrets" (list (printf "%s.%d" $path $index) $inner) }}
{{- end }}
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

{{- $seen := dict "8080" "the API" }}
{{- range include "tunnelmq.clientPorts" . | fromJsonArray }}
{{- $port := toString (int .port) }}
{{- if hasKey $seen $port }}
{{- fail (printf "%s and %s have the same port, %s" (get $seen $port) .name $port) }}
{{- end }}
{{- $_ := set $seen $port .name }}
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
{{- if and $values.pdb.enabled (not $values.pdb.maxUnavailable) }}
{{- $fewest := ternary "autoscaling.minReplicas" "replicaCount" $values.autoscaling.enabled }}
{{- $count := ternary $values.autoscaling.minReplicas $values.replicaCount $values.autoscaling.enabled | int }}
{{- $stay := toString $values.pdb.minAvailable }}
{{- if or (eq $stay "100%") (and (not (hasSuffix "%" $stay)) (ge (int $stay) $count)) }}
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
