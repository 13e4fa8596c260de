#!/bin/sh
# Signaling and a relay of the lab's own, at an address that both LANs reach through their routers.
set -eu
here="$(ip -o -4 addr show | grep " $INTERNET" | head -n 1 | { read -r _ _ _ address _; echo "${address%/*}"; })"
coordinator relay --listen "udp://$here:3478" --port-range 50000-50099 --allow-peer "$INTERNET.0/24" \
  --turn-secret-file /keys/turn.txt --admin-listen 127.0.0.1:9091 &
relay=$!
coordinator signaling --listen "$here:8080" --admin-listen 127.0.0.1:9090 --data /tmp/data \
  --jwt-secret-file /keys/jwt.txt --turn-secret-file /keys/turn.txt --relay "turn:$here:3478" &
signaling=$!
trap 'kill "$relay" "$signaling"; wait; exit 0' TERM INT
wait "$relay" "$signaling"
echo "server: a part of it ended by itself" >&2
exit 1
