// P2P beside a server of your own: it starts first, the program carries on without it where it
// fails, and SIGTERM shuts it down.
'use strict'

const http = require('node:http')
const { P2PCoordinator } = require('p2p-coordinator')

const p2p = new P2PCoordinator({
  signalingPort: Number(process.env.SIGNALING_PORT ?? 8080),
  peerId: 'my-server',
})
let usesP2P = false

async function startP2P() {
  try {
    await p2p.initialize()
    usesP2P = true
  } catch (error) {
    // The server works without: say what is wrong and what would help.
    console.warn(`${error.message} (${error.code}): ${error.fix}`)
    console.warn('Continuing without P2P functionality')
  }
}

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ usesP2P, health: p2p.healthCheck(), stats: p2p.getStats() }))
})

async function stop() {
  server.close()
  await p2p.shutdown()
  console.log('stopped')
  // Nothing is left to do, so the process ends by itself.
}

async function main() {
  await startP2P()
  p2p.on('connection', (connection) => {
    connection.on('message', (message) => connection.send(message))
  })
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`)
  })
}

main()
