{{/* What the pods of every part have: restricted pod security, no rights, no API token. */}}
{{- define "p2p.pod" -}}
serviceAccountName: {{ include "p2p.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "p2p.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "p2p.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Secrets are files: an environment shows in the process list of the node. */}}
{{- define "p2p.databaseEnv" -}}
{{- if .Values.trial.enabled }}
- {name: P2P_DATABASE_URL, value: "postgres://p2p@{{ include "p2p.fullname" . }}-trial-postgres:5432/p2p"}
- {name: P2P_DATABASE_PASSWORD_FILE, value: /secrets/postgres-password/password}
{{- else if .Values.postgres.existingSecret }}
- {name: P2P_DATABASE_URL_FILE, value: /secrets/postgres/url}
{{- else if .Values.postgres.url }}
- {name: P2P_DATABASE_URL, value: {{ .Values.postgres.url | quote }}}
{{- if .Values.postgres.passwordSecret }}
- {name: P2P_DATABASE_PASSWORD_FILE, value: /secrets/postgres-password/password}
{{- end }}
{{- end }}
{{- end }}

{{- define "p2p.databaseMounts" -}}
{{- if and .Values.postgres.existingSecret (not .Values.trial.enabled) }}
- {name: postgres, mountPath: /secrets/postgres, readOnly: true}
{{- end }}
{{- if or .Values.postgres.passwordSecret .Values.trial.enabled }}
- {name: postgres-password, mountPath: /secrets/postgres-password, readOnly: true}
{{- end }}
{{- end }}

{{- define "p2p.databaseVolumes" -}}
{{- if .Values.trial.enabled }}
{{ include "p2p.secretVolume" (dict "name" "postgres-password" "secret" (printf "%s-trial" (include "p2p.fullname" .)) "key" "password" "path" "password") }}
{{- else }}
{{- with .Values.postgres.existingSecret }}
{{ include "p2p.secretVolume" (dict "name" "postgres" "secret" . "key" $.Values.postgres.key "path" "url") }}
{{- end }}
{{- with .Values.postgres.passwordSecret }}
{{ include "p2p.secretVolume" (dict "name" "postgres-password" "secret" . "key" $.Values.postgres.passwordKey "path" "password") }}
{{- end }}
{{- end }}
{{- end }}

{{- define "p2p.redisEnv" -}}
{{- if .Values.trial.enabled }}
- {name: P2P_REDIS_URL, value: "redis://{{ include "p2p.fullname" . }}-trial-redis:6379"}
- {name: P2P_REDIS_PASSWORD_FILE, value: /secrets/redis-password/password}
{{- else if .Values.redis.existingSecret }}
- {name: P2P_REDIS_URL_FILE, value: /secrets/redis/url}
{{- else if .Values.redis.url }}
- {name: P2P_REDIS_URL, value: {{ .Values.redis.url | quote }}}
{{- if .Values.redis.passwordSecret }}
- {name: P2P_REDIS_PASSWORD_FILE, value: /secrets/redis-password/password}
{{- end }}
{{- end }}
{{- if .Values.redis.sentinelPasswordSecret }}
- {name: P2P_REDIS_SENTINEL_PASSWORD_FILE, value: /secrets/redis-sentinel-password/password}
{{- end }}
{{- if .Values.redis.tls.caSecret }}
- {name: P2P_REDIS_CA_FILE, value: /secrets/redis-ca/ca.crt}
{{- end }}
{{- if .Values.redis.tls.clientSecret }}
- {name: P2P_REDIS_CERT_FILE, value: /secrets/redis-client/tls.crt}
- {name: P2P_REDIS_KEY_FILE, value: /secrets/redis-client/tls.key}
{{- end }}
{{- end }}

{{- define "p2p.redisMounts" -}}
{{- if and .Values.redis.existingSecret (not .Values.trial.enabled) }}
- {name: redis, mountPath: /secrets/redis, readOnly: true}
{{- end }}
{{- if or .Values.redis.passwordSecret .Values.trial.enabled }}
- {name: redis-password, mountPath: /secrets/redis-password, readOnly: true}
{{- end }}
{{- if .Values.redis.sentinelPasswordSecret }}
- {name: redis-sentinel-password, mountPath: /secrets/redis-sentinel-password, readOnly: true}
{{- end }}
{{- if .Values.redis.tls.caSecret }}
- {name: redis-ca, mountPath: /secrets/redis-ca, readOnly: true}
{{- end }}
{{- if .Values.redis.tls.clientSecret }}
- {name: redis-client, mountPath: /secrets/redis-client, readOnly: true}
{{- end }}
{{- end }}

{{- define "p2p.redisVolumes" -}}
{{- if .Values.trial.enabled }}
{{ include "p2p.secretVolume" (dict "name" "redis-password" "secret" (printf "%s-trial" (include "p2p.fullname" .)) "key" "password" "path" "password") }}
{{- else }}
{{- with .Values.redis.existingSecret }}
{{ include "p2p.secretVolume" (dict "name" "redis" "secret" . "key" $.Values.redis.key "path" "url") }}
{{- end }}
{{- with .Values.redis.passwordSecret }}
{{ include "p2p.secretVolume" (dict "name" "redis-password" "secret" . "key" $.Values.redis.passwordKey "path" "password") }}
{{- end }}
{{- with .Values.redis.sentinelPasswordSecret }}
{{ include "p2p.secretVolume" (dict "name" "redis-sentinel-password" "secret" . "key" $.Values.redis.sentinelPasswordKey "path" "password") }}
{{- end }}
{{- with .Values.redis.tls.caSecret }}
{{ include "p2p.secretVolume" (dict "name" "redis-ca" "secret" . "key" $.Values.redis.tls.caKey "path" "ca.crt") }}
{{- end }}
{{- with .Values.redis.tls.clientSecret }}
- name: redis-client
  secret:
    secretName: {{ . }}
    # Read by the pod's group only.
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{- define "p2p.secretVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    # Read by the pod's group only.
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: {{ .path }}}]
{{- end }}

{{/* Pods start anew when a secret of this chart changes; one that is named elsewhere is not seen here. */}}
{{- define "p2p.checksums" -}}
checksum/settings: {{ pick .Values "auth" "redis" "postgres" "trial" "logLevel" | toJson | sha256sum }}
{{- end }}
