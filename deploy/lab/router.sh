#!/bin/sh
# A NAT between a LAN and the lab's internet. NAT is `cone` (a port is kept, so a mapping serves every
# destination) or `symmetric` (a new port for every destination).
set -eu
outside="$(ip -o -4 addr show | grep " $INTERNET" | head -n 1 | { read -r _ name _; echo "$name"; })"
case "${NAT:-cone}" in
  cone) how="masquerade" ;;
  symmetric) how="masquerade fully-random" ;;
  *) echo "NAT is cone or symmetric, not $NAT" >&2; exit 2 ;;
esac
nft -f - <<RULES
table ip lab {
  chain out { type nat hook postrouting priority srcnat; oifname "$outside" $how; }
  # What nobody asked for is dropped before the kernel remembers it: else the memory of a peer's first packet
  # would take the port that the answer to it needs.
  chain in {
    type filter hook input priority filter; policy accept;
    iifname "$outside" ct state new drop
  }
  chain through {
    type filter hook forward priority filter; policy drop;
    iifname != "$outside" accept
    ct state established,related accept
  }
}
RULES
echo "router: $NAT, ready"
touch /tmp/ready
# The shell itself takes the signal that ends the container.
trap 'exit 0' TERM INT
while :; do sleep 1; done
