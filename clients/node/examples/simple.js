// The first program: initialize, look around, connect, look at the figures, shut down.
'use strict'

const { P2PCoordinator } = require('p2p-coordinator')

async function main() {
  const p2p = new P2PCoordinator({ signalingPort: 8080, stunServers: ['stun:stun.example.org:3478'],
    turnServers: [{ urls: 'turn:turn.example.org:3478', username: 'user', credential: 'pass' }],
    localPort: 0, keepAliveInterval: 25000, connectionTimeout: 30000, maxRetries: 3, enableDetailedLogging: false })
  await p2p.initialize()                               // detects the NAT, starts (or joins) signaling, becomes discoverable
  console.log(p2p.getNATInfo())                        // { type: 'Full Cone', publicIP: '1.2.3.4', publicPort: 8080, … }
  console.log(p2p.getRecommendedStrategy())            // { method: 'udp-hole-punch', successRate: 85, … }
  p2p.registerPeer('my-peer-id', { name: 'My Server' })
  const connection = await p2p.connectToPeer('other-peer-id')
  console.log(connection.path)
  console.log(p2p.getStats())
  console.log(p2p.healthCheck())
  await p2p.shutdown()
}

main()
