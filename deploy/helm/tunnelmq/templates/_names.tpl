{{- define "tunnelmq.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /*
Short enough for suffixes: names of services have 63 characters, and of StatefulSets 52, as their pods get a label of the
name and 11 more.
*/}}
{{- define "tunnelmq.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- $name := include "tunnelmq.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tunnelmq.selector" -}}
app.kubernetes.io/name: {{ include "tunnelmq.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tunnelmq.brokerSelector" -}}
{{ include "tunnelmq.selector" . }}
app.kubernetes.io/component: broker
{{- end }}

{{- define "tunnelmq.redisSelector" -}}
{{ include "tunnelmq.selector" . }}
app.kubernetes.io/component: redis
{{- end }}

{{- /* Labels of an object: (list $ "broker" more...) of a component, with more laid over. */}}
{{- define "tunnelmq.labels" -}}
{{- $root := index . 0 }}
{{- $labels := dict
  "app.kubernetes.io/name" (include "tunnelmq.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/version" (toString $root.Chart.AppVersion)
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
{{- range slice . 2 }}
{{- $labels = merge $labels . }}
{{- end }}
{{- toYaml $labels }}
{{- end }}

{{- define "tunnelmq.serviceAccountName" -}}
{{- $account := .Values.rbac.serviceAccount }}
{{- $account.name | default (ternary (include "tunnelmq.fullname" .) "default" $account.create) }}
{{- end }}

{{- define "tunnelmq.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* The Secret with the certificate of the listeners; empty if there is none. */}}
{{- define "tunnelmq.certificateSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}
{{- else if or .Values.tls.certManager.enabled .Values.certificates.cert }}{{ include "tunnelmq.fullname" . }}-tls
{{- end }}
{{- end }}

{{- define "tunnelmq.redisSecret" -}}
{{- .Values.redis.own.existingSecret | default (printf "%s-redis" (include "tunnelmq.fullname" .)) }}
{{- end }}

{{- /* Seconds that a broker may take to go: `drain --wait` ends 15 seconds after its spread, then comes the stop. */}}
{{- define "tunnelmq.leastGrace" -}}
{{- $shutdown := .Values.config.shutdown | default dict }}
{{- $stop := divf (dig "timeoutMs" 20000 $shutdown) 1000 | ceil | int }}
{{- $drain := ternary (add .Values.drain.spreadSeconds 15) 0 (eq (include "tunnelmq.drains" .) "true") }}
{{- add $stop $drain }}
{{- end }}
{{- define "tunnelmq.grace" -}}
{{- .Values.statefulset.terminationGracePeriodSeconds | default (add (include "tunnelmq.leastGrace" . | int) 10) }}
{{- end }}
{{- define "tunnelmq.drains" -}}
{{- and .Values.drain.enabled (eq .Values.store.type "redis") (not .Values.statefulset.lifecycle) }}
{{- end }}

{{- /* The spec of a claim, of values like `persistentVolume`. */}}
{{- define "tunnelmq.claim" -}}
spec:
  accessModes:
    {{- toYaml .accessModes | nindent 4 }}
  resources:
    requests:
      storage: {{ .size }}
  {{- if .storageClass }}
  storageClassName: {{ ternary "" .storageClass (eq .storageClass "-") | quote }}
  {{- end }}
{{- end }}

{{- /* What the exposed services have in common, of `service` and of `tunnel.service`. */}}
{{- define "tunnelmq.exposure" -}}
{{- $wanted := list "type" "clusterIP" "externalIPs" "externalTrafficPolicy" "ipFamilyPolicy" "sessionAffinity" "sessionAffinityConfig" }}
{{- if eq .type "LoadBalancer" }}
{{- $wanted = concat $wanted (list "loadBalancerIP" "loadBalancerClass" "loadBalancerSourceRanges") }}
{{- end }}
{{- $spec := dict }}
{{- range $key, $value := . }}
{{- if and $value (has $key $wanted) }}{{ $_ := set $spec $key $value }}{{ end }}
{{- end }}
{{- toYaml $spec }}
{{- end }}
