// A program with a listener that throws, and a handler for what nobody catches.
'use strict'

const { P2PCoordinator } = require('../..')

process.on('uncaughtException', (error) => console.log(`uncaught: ${error.message}`))

async function main() {
  const alice = new P2PCoordinator({ signalingPort: 0, peerId: 'alice' })
  await alice.initialize()
  const bob = new P2PCoordinator({
    signalingUrl: alice.signalingUrl,
    token: alice.createToken('bob'),
  })
  await bob.initialize()
  bob.on('connection', (connection) => {
    connection.on('message', async (message) => {
      if (message !== 'two') return
      console.log(`last message: ${message}`)
      await bob.shutdown()
      await alice.shutdown()
    })
    connection.once('message', () => {
      throw new Error('my own')
    })
  })
  const thrown = new Promise((resolve) => process.once('uncaughtException', resolve))
  const connection = await alice.connectToPeer('bob')
  connection.send('one')
  // Messages that arrive together are told before what one of them has thrown.
  await thrown
  connection.send('two')
}

main()
