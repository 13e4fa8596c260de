// Starts, connects to a second coordinator, shuts both down, and leaves the rest to Node.
'use strict'

const { P2PCoordinator } = require('../..')

async function main() {
  const one = new P2PCoordinator({ signalingPort: 0, peerId: 'one' })
  await one.initialize()
  const two = new P2PCoordinator({
    signalingUrl: one.signalingUrl,
    token: one.createToken('two'),
  })
  await two.initialize()
  const connection = await two.connectToPeer('one')
  connection.send('hello')
  await two.shutdown()
  await one.shutdown()
}

main()
