#!/bin/sh
# A peer behind a router of the lab: one waits, the other calls it and says by which path it came through.
set -eu
ip route replace default via "$ROUTER"
P2P_TOKEN="$(coordinator token --peer "$PEER" --ttl 24h --jwt-secret-file /keys/jwt.txt)"
export P2P_TOKEN
if [ -z "${CALLS:-}" ]; then
  touch /tmp/ready
  exec p2p listen
fi
p2p netcheck
p2p ping "$CALLS" -c 5
touch /tmp/ready
trap 'exit 0' TERM INT
while :; do sleep 1; done
