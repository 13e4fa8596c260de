// Joins a coordinator where not all is well, and prints what healthCheck() finds, as a line of JSON.
'use strict'

const { once } = require('node:events')
const { P2PCoordinator } = require('../..')

async function main() {
  const p2p = new P2PCoordinator({
    signalingUrl: process.env.P2P_URL,
    token: process.env.P2P_TOKEN,
    stunServers: process.env.P2P_STUN.split(','),
  })
  await p2p.initialize()
  while (p2p.healthCheck().healthy) await once(p2p, 'health')
  console.log(JSON.stringify(p2p.healthCheck()))
  await p2p.shutdown()
}

main()
