// Starts a coordinator and never calls shutdown().
'use strict'

const { P2PCoordinator } = require('../..')

const p2p = new P2PCoordinator({ signalingPort: 0 })
p2p.initialize().then(() => console.log(`ready ${p2p.signalingUrl}`))
