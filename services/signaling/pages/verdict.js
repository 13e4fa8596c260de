// What was measured, in one sentence that a person can act on, and what would help.

import { ms } from './elements.js'

/**
 * `network`: `{ mapping, answered, candidates }` of the NAT step, if it ran; `stun` and `relays`: the
 * steps of the servers, each `{ state, transport, url }`; `loop`: the step through the relay.
 */
export function verdict({ network, stun = [], relays = [], loop }) {
  const works = (steps) => steps.filter(({ state }) => state === 'ok' || state === 'note')
  const over = (transport) => works(relays).some((relay) => relay.transport === transport)
  const udp = works(stun).length > 0 || over('udp')
  const reached = udp || works(relays).length > 0
  const relayed = loop?.state === 'ok'
  const none = stun.length + relays.length === 0
  const sentence = reached ? `${outlook(udp, network)}; ${carries(relayed, relays, loop)}.` : none ? NOTHING : UNREACHED
  // Data gets through one way or the other; without UDP or a relay it is no more than that.
  const tone = udp && relayed ? 'good' : udp || relayed ? 'fair' : 'bad'
  return { tone, sentence, advice: advice({ udp, reached, none, network, relays, over, relayed }) }
}

const UNREACHED = 'No STUN or relay server was reached, so this browser gets through to nobody behind a NAT.'

const NOTHING = 'This server offers neither a STUN server nor a relay, so only browsers of one network find each other.'

const outlook = (udp, network) =>
  udp ? (DIRECT[network?.mapping] ?? DIRECT.unknown) : 'No UDP leaves this network, so there is no direct path from this browser'

function carries(relayed, relays, loop) {
  if (relayed) return `the relay carries data, ${ms(loop.value.rtt)} there and back`
  return relays.length === 0 ? 'no relay is offered for pairs that need one' : 'but the relay carries nothing, and pairs that need it fail'
}

const DIRECT = {
  local: 'This server runs on this very machine, where everything is direct; one elsewhere shows the NAT between',
  none: 'No NAT stands between this browser and the server: direct with nearly every network',
  'endpoint-independent': 'Direct with most networks, relay with symmetric NATs',
  'address-dependent': 'The NAT is symmetric: direct with open networks, relay with most others',
  unknown: 'UDP works and the kind of NAT is not known: direct with some networks, relay with the others',
}

function advice({ udp, reached, none, network, relays, over, relayed }) {
  const said = []
  if (!reached && !none) {
    said.push('Either the servers below are down, or this network lets nothing out to them: try it from another network. If it fails there too, look at the servers.')
    said.push('If only this network fails: let UDP out to port 3478, or TCP to a relay that listens on it or on TLS, port 443.')
  } else if (!udp && !none) {
    said.push('Let UDP out to port 3478 and above, or ask the network’s owner to: paths become direct and faster.')
  }
  if (network?.mapping === 'address-dependent') {
    said.push('The NAT gives every destination another port: UPnP or NAT-PMP on the router, or IPv6, make direct paths possible.')
  }
  if (network?.mapping === 'unknown' && network.answered > 0) {
    said.push('Operator: offer a second STUN server on another address (`--stun`), and this page can tell the kind of NAT.')
  }
  if (relays.length === 0) {
    said.push('Operator: offer a relay (`--relay`, `--turn-secret-file`). If there is one, this token lacks the scope `relay`.')
  } else if (udp && relayed && !over('tcp') && !over('tls')) {
    said.push('Operator: offer the relay over TCP and TLS as well (`--relay turn:HOST:3478?transport=tcp`, `turns:HOST:443`), for networks that let no UDP out.')
  }
  if (reached && relays.length > 0 && !relayed) said.push('Mend the relay first: the steps below name the cause.')
  return said
}
