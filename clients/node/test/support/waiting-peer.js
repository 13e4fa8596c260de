// Joins a coordinator, answers messages, and never calls shutdown(). When a connection has ended it
// prints what it knows of its network, what it has counted and how it is, as a line of JSON.
'use strict'

const { P2PCoordinator } = require('../..')

async function main() {
  const p2p = new P2PCoordinator({
    signalingUrl: process.env.P2P_URL,
    token: process.env.P2P_TOKEN,
  })
  p2p.on('connection', (connection) => {
    connection.on('message', (message) => connection.send(message))
    connection.on('close', () => {
      const [nat, stats, health] = [p2p.getNATInfo(), p2p.getStats(), p2p.healthCheck()]
      console.log(JSON.stringify({ peer: connection.peerId, nat, stats, health }))
    })
  })
  await p2p.initialize()
  console.log('ready')
}

main()
