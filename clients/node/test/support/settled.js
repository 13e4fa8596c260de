// Joins a coordinator, connects to a peer, waits until the connection has the path that it is to
// have, and prints what there is to know then, as a line of JSON.
//
//     P2P_URL=… P2P_TOKEN=… node settled.js PEER direct|relay
'use strict'

const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { P2PCoordinator } = require('../..')

async function main() {
  const p2p = new P2PCoordinator({
    signalingUrl: process.env.P2P_URL,
    token: process.env.P2P_TOKEN,
    maxRetries: 0,
  })
  await p2p.initialize()
  const [peer, kind] = process.argv.slice(2)
  const connection = await p2p.connectToPeer(peer)
  while (connection.path?.kind !== kind || connection.verdict?.outcome !== kind) await pause(20)
  const sent = 'to the other side and back'
  const answer = once(connection, 'message')
  connection.send(sent)
  const [received] = await answer
  const { path, verdict } = connection
  const [nat, strategy] = [p2p.getNATInfo(), p2p.getRecommendedStrategy()]
  const [stats, health] = [p2p.getStats(), p2p.healthCheck()]
  await p2p.shutdown()
  console.log(
    JSON.stringify({ nat, strategy, path, verdict, stats, health, answered: received === sent }),
  )
}

main()
