// A chat for two. The first one opens it and prints how the other one joins:
//
//     node examples/chat.js alice
//     node examples/chat.js bob ws://127.0.0.1:8080 TOKEN alice
'use strict'

const readline = require('node:readline')
const { P2PCoordinator } = require('p2p-coordinator')

const [name, signalingUrl, token, friend] = process.argv.slice(2)
const lines = readline.createInterface({ input: process.stdin })

function talk(p2p, connection) {
  console.log(`* ${connection.peerId} is here (${connection.path?.method ?? 'connecting'})`)
  connection.on('message', (text) => console.log(`${connection.peerId}: ${text}`))
  connection.on('close', (reason) => {
    console.log(`* ${connection.peerId} has gone (${reason})`)
    lines.close()
  })
  lines.on('line', (text) => connection.send(text))
  lines.on('close', () => p2p.shutdown())
}

async function main() {
  const join = signalingUrl ? { signalingUrl, token } : {}
  const port = signalingUrl ? {} : { signalingPort: Number(process.env.SIGNALING_PORT ?? 8080) }
  const p2p = new P2PCoordinator({ peerId: name, ...join, ...port })
  await p2p.initialize()
  if (friend) {
    talk(p2p, await p2p.connectToPeer(friend))
    return
  }
  p2p.once('connection', (connection) => talk(p2p, connection))
  const example = p2p.createToken('bob', { ttl: 3600 })
  console.log(`join with: node examples/chat.js bob ${p2p.signalingUrl} ${example} ${name}`)
}

main().catch((error) => {
  console.error(`${error.message}\n  ${error.fix ?? ''}`)
  process.exitCode = 1
})
