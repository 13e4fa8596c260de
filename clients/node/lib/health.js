// What is well and what is not, from what is known. Pure, so that every case can be told.
'use strict'

/**
 * @typedef {object} Known
 * @property {'new' | 'starting' | 'running' | 'stopping' | 'stopped'} state
 * @property {{ type: string, tcp?: object } | null} nat
 * @property {boolean} relayReady whether a relay has an allocation for this peer
 * @property {boolean} relayNamed whether any relay is configured or offered
 * @property {string[]} silentStun STUN servers that do not answer
 * @property {{ connected: boolean, cause: string | null, ended: string | null,
 *   port: number | null, peers: number }} signaling `ended` where it does not come back by itself
 * @property {string | null} registrationError
 */

/**
 * The answer of `healthCheck()`.
 *
 * @param {Known} known
 */
function assess(known) {
  const running = known.state === 'running'
  const issues = running ? found(known) : [`P2P is not running (${known.state})`]
  const natType = known.nat?.type ?? 'Unknown'
  return {
    healthy: issues.length === 0,
    services: {
      holePunching: { status: punching(running, natType, known.nat), natType },
      signaling: {
        status: !running ? 'stopped' : known.signaling.connected ? 'active' : 'disconnected',
        port: known.signaling.port,
        peers: known.signaling.peers,
      },
    },
    issues,
  }
}

function punching(running, natType, nat) {
  if (!running) return 'stopped'
  return natType === 'UDP Blocked' && !nat.tcp ? 'unavailable' : 'active'
}

function found({ nat, relayReady, relayNamed, silentStun, signaling, registrationError }) {
  const issues = []
  if (nat?.type === 'Symmetric' && !relayReady && !relayNamed) {
    issues.push('Symmetric NAT detected but no TURN servers configured')
  }
  if (nat?.type === 'UDP Blocked') {
    issues.push('UDP is blocked: no STUN server answers, so only what goes over TCP works')
  }
  if (relayNamed && !relayReady) {
    issues.push('No TURN server gives a relayed address')
  }
  for (const server of silentStun) {
    issues.push(`STUN server ${server} does not answer`)
  }
  if (!signaling.connected) {
    const cause = signaling.cause ?? 'no cause is known'
    const fix = signaling.ended ? '; registerPeer() registers again' : ''
    issues.push(`Signaling is disconnected: ${cause}${fix}`)
  }
  if (registrationError) {
    issues.push(`Registration failed: ${registrationError}`)
  }
  return issues
}

module.exports = { assess }
