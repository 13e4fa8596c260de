// Starts a coordinator, prints where it is and tokens for the peers named on the command line, and
// never calls shutdown().
'use strict'

const { P2PCoordinator } = require('../..')

const p2p = new P2PCoordinator({ signalingPort: 0 })
p2p.initialize().then(() => {
  const tokens = process.argv.slice(2).map((peer) => p2p.createToken(peer))
  console.log(['ready', p2p.signalingUrl, ...tokens].join(' '))
})
