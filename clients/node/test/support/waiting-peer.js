// Joins a coordinator, answers messages, and never calls shutdown().
'use strict'

const { P2PCoordinator } = require('../..')

async function main() {
  const p2p = new P2PCoordinator({
    signalingUrl: process.env.P2P_URL,
    token: process.env.P2P_TOKEN,
  })
  p2p.on('connection', (connection) => {
    connection.on('message', (message) => connection.send(message))
  })
  await p2p.initialize()
  console.log('ready')
}

main()
