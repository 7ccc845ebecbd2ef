{{- /* The broker's pod, of the StatefulSet and of the Deployment. */}}
{{- define "tunnelmq.pod" -}}
{{- $values := .Values }}
{{- $name := include "tunnelmq.fullname" . }}
{{- $certificate := include "tunnelmq.certificateSecret" . }}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty (dig "admin" "tls" dict $values.config))) }}
metadata:
  labels:
    {{- include "tunnelmq.brokerSelector" . | nindent 4 }}
    {{- with $values.statefulset.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change of the configuration needs new pods. Users, ACL, keys and certificates are read again by themselves.
    checksum/config: {{ include "tunnelmq.config" . | sha256sum }}
    {{- with $values.statefulset.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tunnelmq.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables about services, of which some would begin like ours.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "tunnelmq.grace" . }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  {{- with $values.statefulset.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.affinity }}
  affinity:
    {{- toYaml $values.affinity | nindent 4 }}
  {{- else if eq $values.podAntiAffinity "hard" }}
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "tunnelmq.brokerSelector" . | nindent 14 }}
  {{- else if eq $values.podAntiAffinity "soft" }}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "tunnelmq.brokerSelector" . | nindent 16 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (include "tunnelmq.brokerSelector" $ | fromYaml))) | toYaml | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  containers:
    - name: tunnelmq
      image: {{ include "tunnelmq.image" . | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        {{- toYaml $values.containerSecurityContext | nindent 8 }}
      ports:
        {{- range include "tunnelmq.clientPorts" . | fromJsonArray }}
        - name: {{ .name }}
          containerPort: {{ int .port }}
          protocol: {{ .protocol }}
        {{- end }}
        - name: http
          containerPort: 8080
          protocol: TCP
      env:
        - name: TUNNELMQ_CONFIG
          value: /etc/tunnelmq/config/tunnelmq.yaml
        {{- if eq $values.store.type "redis" }}
        - name: TUNNELMQ_CLUSTER_POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- with include "tunnelmq.secretEnv" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.additionalEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      startupProbe:
        httpGet: { path: /live, port: http, scheme: {{ $scheme }} }
        {{- toYaml $values.statefulset.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: { path: /live, port: http, scheme: {{ $scheme }} }
        {{- toYaml $values.statefulset.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: { path: /ready, port: http, scheme: {{ $scheme }} }
        {{- toYaml $values.statefulset.readinessProbe | nindent 8 }}
      {{- if $values.statefulset.lifecycle }}
      lifecycle:
        {{- toYaml $values.statefulset.lifecycle | nindent 8 }}
      {{- else if eq (include "tunnelmq.drains" .) "true" }}
      lifecycle:
        preStop:
          exec:
            command: [tunnelmq, drain, --spread, {{ printf "%ds" (int $values.drain.spreadSeconds) }}, --wait]
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/tunnelmq/config
          readOnly: true
        - name: run
          mountPath: /run/tunnelmq
        - name: tmp
          mountPath: /tmp
        {{- if eq $values.store.type "embedded" }}
        - name: data
          mountPath: /var/lib/tunnelmq
        {{- end }}
        {{- if or $values.users.hashes $values.users.existingSecret }}
        - name: users
          mountPath: /etc/tunnelmq/users
          readOnly: true
        {{- end }}
        {{- if $values.acl.enabled }}
        - name: acl
          mountPath: /etc/tunnelmq/acl
          readOnly: true
        {{- end }}
        {{- if or $values.admin.keys.content $values.admin.keys.existingSecret }}
        - name: keys
          mountPath: /etc/tunnelmq/keys
          readOnly: true
        {{- end }}
        {{- if $certificate }}
        - name: tls
          mountPath: /etc/tunnelmq/tls
          readOnly: true
        {{- end }}
        {{- if $values.tls.clientCa.existingSecret }}
        - name: client-ca
          mountPath: /etc/tunnelmq/client-ca
          readOnly: true
        {{- end }}
        {{- range $values.secretMounts }}
        - name: {{ .name }}
          mountPath: {{ .path }}
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $name }}
    # The key for `tunnelmq` commands in this pod.
    - name: run
      emptyDir: { medium: Memory, sizeLimit: 1Mi }
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- if and (eq $values.store.type "embedded") (not $values.persistentVolume.enabled) }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- if or $values.users.hashes $values.users.existingSecret }}
    - name: users
      secret:
        secretName: {{ $values.users.existingSecret | default (printf "%s-users" $name) }}
        defaultMode: 288 # 0440
    {{- end }}
    {{- if $values.acl.enabled }}
    - name: acl
      configMap:
        name: {{ $values.acl.existingConfigMap | default (printf "%s-acl" $name) }}
    {{- end }}
    {{- if or $values.admin.keys.content $values.admin.keys.existingSecret }}
    - name: keys
      secret:
        secretName: {{ $values.admin.keys.existingSecret | default (printf "%s-keys" $name) }}
        defaultMode: 288 # 0440
    {{- end }}
    {{- with $certificate }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 288 # 0440
    {{- end }}
    {{- with $values.tls.clientCa.existingSecret }}
    - name: client-ca
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- range $values.secretMounts }}
    - name: {{ .name }}
      secret:
        secretName: {{ .secretName }}
        defaultMode: 288 # 0440
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* Variables from Secrets: they are laid over the configuration, and nothing secret is in the ConfigMap. */}}
{{- define "tunnelmq.secretEnv" -}}
{{- $redis := .Values.redis }}
{{- $env := list }}
{{- if and (eq .Values.store.type "redis") $redis.own.enabled }}
{{- $env = append $env (list "STORE_REDIS_PASSWORD" (include "tunnelmq.redisSecret" .) "password") }}
{{- else if and (eq .Values.store.type "redis") $redis.existingSecret }}
{{- if $redis.urlKey }}{{ $env = append $env (list "STORE_REDIS_URL" $redis.existingSecret $redis.urlKey) }}{{ end }}
{{- if $redis.usernameKey }}{{ $env = append $env (list "STORE_REDIS_USERNAME" $redis.existingSecret $redis.usernameKey) }}{{ end }}
{{- if $redis.passwordKey }}{{ $env = append $env (list "STORE_REDIS_PASSWORD" $redis.existingSecret $redis.passwordKey) }}{{ end }}
{{- end }}
{{- range $index, $bridge := .Values.bridges }}
{{- with $bridge.existingSecret }}
{{- if .usernameKey }}{{ $env = append $env (list (printf "BRIDGES_%d_USERNAME" $index) .name .usernameKey) }}{{ end }}
{{- if .passwordKey }}{{ $env = append $env (list (printf "BRIDGES_%d_PASSWORD" $index) .name .passwordKey) }}{{ end }}
{{- end }}
{{- end }}
{{- with .Values.tracing.headersSecret }}
{{- if .name }}{{ $env = append $env (list "TRACING_HEADERS" .name .key) }}{{ end }}
{{- end }}
{{- range $env }}
- name: TUNNELMQ_{{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}
{{- end }}
