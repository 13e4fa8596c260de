{{- define "p2p.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "p2p.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 42 | trimSuffix "-" }}
{{- else if contains (include "p2p.name" .) .Release.Name }}{{ .Release.Name | trunc 42 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "p2p.name" .) | trunc 42 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Never changes between versions: a Deployment's selector is immutable. */}}
{{- define "p2p.selector" -}}
app.kubernetes.io/name: {{ include "p2p.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "p2p.labels" -}}
{{ include "p2p.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: p2p-coordinator
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "p2p.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "p2p.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "p2p.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- define "p2p.jwtSecret" -}}
{{ default (printf "%s-keys" (include "p2p.fullname" .)) .Values.auth.jwt.existingSecret }}
{{- end }}

{{/* Not where the issuer's keys are enough. */}}
{{- define "p2p.hasJwtSecret" -}}
{{- if or .Values.auth.jwt.existingSecret (not .Values.auth.jwt.jwksUrl) }}yes{{ end }}
{{- end }}

{{- define "p2p.turnSecret" -}}
{{ default (printf "%s-keys" (include "p2p.fullname" .)) .Values.auth.turn.existingSecret }}
{{- end }}

{{- define "p2p.makesKeys" -}}
{{- if and .Values.auth.generate (or (not .Values.auth.jwt.existingSecret) (not .Values.auth.turn.existingSecret)) }}yes{{ end }}
{{- end }}

{{- define "p2p.hasRedis" -}}
{{- if or .Values.trial.enabled .Values.redis.url .Values.redis.existingSecret }}yes{{ end }}
{{- end }}

{{- define "p2p.hasPostgres" -}}
{{- if or .Values.trial.enabled .Values.postgres.url .Values.postgres.existingSecret }}yes{{ end }}
{{- end }}

{{- define "p2p.hasRelay" -}}
{{- if and .Values.relay.enabled (ne .Values.relay.exposure "external") }}yes{{ end }}
{{- end }}

{{/* Relays that say in Redis where they are, so that nobody has to list them. Behind a load balancer a relay
knows only its pod's address, which is no use to a client. */}}
{{- define "p2p.registers" -}}
{{- if and .Values.relay.register (include "p2p.hasRelay" .) (include "p2p.hasRedis" .) (or (eq .Values.relay.exposure "hostNetwork") .Values.relay.externalIPs) }}yes{{ end }}
{{- end }}

{{- define "p2p.offersRelays" -}}
{{- if and .Values.relay.enabled (or .Values.relay.uris (include "p2p.registers" .)) }}yes{{ end }}
{{- end }}

{{- define "p2p.relayKind" -}}
{{- default (ternary "DaemonSet" "Deployment" (eq .Values.relay.exposure "hostNetwork")) .Values.relay.kind }}
{{- end }}

{{- define "p2p.listen" -}}
udp://0.0.0.0:{{ .Values.relay.port }}
{{- if .Values.relay.tcp.enabled }},tcp://0.0.0.0:{{ .Values.relay.port }}{{ end }}
{{- if .Values.relay.tls.secret }},tls://0.0.0.0:{{ .Values.relay.tls.port }}{{ end }}
{{- end }}

{{- define "p2p.portRange" -}}
{{- default (ternary "49152-65535" "49152-49407" (eq .Values.relay.exposure "hostNetwork")) .Values.relay.portRange }}
{{- end }}
