{{/* What one value demands of another. Each message says what to do. */}}
{{- define "p2p.check" -}}
{{- $v := .Values -}}
{{- if and (not $v.auth.generate) (not $v.auth.jwt.existingSecret) (not $v.auth.jwt.jwksUrl) -}}
{{- fail "\n\nNo secret to verify tokens with.\n  Fix: make one and name it in auth.jwt.existingSecret:\n    coordinator secret jwt.txt\n    kubectl create secret generic p2p-jwt --from-file=jwt.txt\n  or name your issuer in auth.jwt.jwksUrl, or set auth.generate=true to have both secrets made by this chart." -}}
{{- end -}}
{{- $wantsTurn := or (include "p2p.hasRelay" .) $v.relay.uris -}}
{{- if and $wantsTurn (not $v.auth.generate) (not $v.auth.turn.existingSecret) -}}
{{- fail "\n\nNo secret to make relay credentials with.\n  Fix: make one and name it in auth.turn.existingSecret:\n    coordinator secret turn.txt\n    kubectl create secret generic p2p-turn --from-file=turn.txt\n  or set auth.generate=true, or relay.enabled=false." -}}
{{- end -}}
{{- $several := or $v.signaling.autoscaling.enabled (gt (int $v.signaling.replicas) 1) -}}
{{- if and $several (not (include "p2p.hasRedis" .)) -}}
{{- fail "\n\nSeveral signaling instances, and no Redis that they share: peers of different instances would not find each other.\n  Fix: name one in redis.existingSecret or redis.url, or set signaling.replicas=1, or trial.enabled=true for a first look." -}}
{{- end -}}
{{- if and $v.redis.url $v.redis.existingSecret -}}
{{- fail "\n\nredis.url and redis.existingSecret are both set.\n  Fix: keep one of them." -}}
{{- end -}}
{{- if and $v.trial.enabled (or $v.redis.sentinelPasswordSecret $v.redis.tls.caSecret $v.redis.tls.clientSecret) -}}
{{- fail "\n\ntrial.enabled starts a Redis of its own, without TLS and without Sentinels, and secrets for one with them are named.\n  Fix: set trial.enabled=false, or take redis.tls and redis.sentinelPasswordSecret out." -}}
{{- end -}}
{{- if and $v.redis.url (or $v.redis.tls.caSecret $v.redis.tls.clientSecret) (not (hasPrefix "rediss" $v.redis.url)) -}}
{{- fail "\n\nredis.tls names certificates, and redis.url does not ask for TLS.\n  Fix: begin redis.url with rediss." -}}
{{- end -}}
{{- if and $v.redis.url $v.redis.sentinelPasswordSecret (not (contains "sentinel://" $v.redis.url)) -}}
{{- fail "\n\nredis.sentinelPasswordSecret is set, and redis.url names no Sentinels.\n  Fix: write redis.url as redis+sentinel://HOST:26379,HOST:26379/SERVICE." -}}
{{- end -}}
{{- if and $v.postgres.url $v.postgres.existingSecret -}}
{{- fail "\n\npostgres.url and postgres.existingSecret are both set.\n  Fix: keep one of them." -}}
{{- end -}}
{{- if and $v.trial.enabled (or $v.redis.url $v.redis.existingSecret $v.postgres.url $v.postgres.existingSecret) -}}
{{- fail "\n\ntrial.enabled starts a Redis and a PostgreSQL of its own, and one of yours is named as well.\n  Fix: set trial.enabled=false." -}}
{{- end -}}
{{- range $name, $settings := dict "redis" $v.redis "postgres" $v.postgres -}}
{{- if and $settings.passwordSecret (not $settings.url) -}}
{{- fail (printf "\n\n%s.passwordSecret has a password, and %s.url is not set.\n  Fix: set %s.url to the URL without its password." $name $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (include "p2p.hasRelay" .) (not (include "p2p.offersRelays" .)) -}}
{{- fail "\n\nRelays run, and nobody is told where.\n  Fix: set relay.uris to the addresses that clients reach them at, such as turn:turn.example.org:3478, or name a Redis and let relay.register tell it." -}}
{{- end -}}
{{- if and $v.relay.enabled (eq $v.relay.exposure "external") (not $v.relay.uris) -}}
{{- fail "\n\nrelay.exposure is external, and relay.uris names no relay.\n  Fix: set relay.uris, or relay.enabled=false." -}}
{{- end -}}
{{- if and (eq $v.relay.exposure "hostNetwork") (eq $v.relay.kind "Deployment") (not $v.relay.nodeSelector) (not $v.relay.affinity) -}}
{{- fail "\n\nA Deployment of relays on the host's network may put two on one node, where their ports collide.\n  Fix: leave relay.kind empty for a DaemonSet, or set relay.affinity to keep them apart." -}}
{{- end -}}
{{- if and (eq $v.relay.exposure "gateway") (not $v.relay.gateway.parentRefs) -}}
{{- fail "\n\nrelay.exposure is gateway, and relay.gateway.parentRefs names none.\n  Fix: name the Gateway with a UDP listener." -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "\n\nhttpRoute.enabled, and httpRoute.parentRefs names no Gateway.\n  Fix: name one." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "\n\ningress.enabled, and ingress.host is empty.\n  Fix: set the host name that clients connect to." -}}
{{- end -}}
{{- if and $v.signaling.autoscaling.enabled (not $v.signaling.autoscaling.targetConnections) (not $v.signaling.autoscaling.targetCPUUtilizationPercentage) -}}
{{- fail "\n\nsignaling.autoscaling has no target.\n  Fix: set targetConnections or targetCPUUtilizationPercentage." -}}
{{- end -}}
{{- if gt (int $v.signaling.autoscaling.minReplicas) (int $v.signaling.autoscaling.maxReplicas) -}}
{{- fail "\n\nsignaling.autoscaling.minReplicas is above maxReplicas.\n  Fix: lower it." -}}
{{- end -}}
{{- if and $v.monitoring.prometheusRule.enabled (not $v.monitoring.prometheusRule.runbookUrl) -}}
{{- fail "\n\nmonitoring.prometheusRule.runbookUrl is empty: an alert without its runbook wakes somebody for nothing.\n  Fix: set it to the URL of your copy of docs/operations/runbooks.md." -}}
{{- end -}}
{{- end }}
