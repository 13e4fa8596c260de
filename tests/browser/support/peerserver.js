// PeerServer as its README starts it, on a free port: what others take for the reference.
'use strict'

const { PeerServer } = require('peer')

const server = PeerServer({ port: 0, path: '/', host: '127.0.0.1', allow_discovery: true }, (server) => {
  console.log(`ready on ${server.address().port}`)
})
// Without a listener it dies of the first frame that is no JSON.
server.on('error', () => {})
