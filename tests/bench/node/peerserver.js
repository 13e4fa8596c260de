// PeerServer as its README starts it, on a free port.
const { PeerServer } = require('peer')
PeerServer({ port: 0, path: '/', concurrent_limit: 100000, host: '127.0.0.1' }, (server) => {
  console.log(`ready on 127.0.0.1:${server.address().port}`)
})
