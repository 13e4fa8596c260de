// A relay of targeted messages on Socket.IO: a room for each peer, and the Redis adapter where a
// Redis is named, as its documentation says.
const { createServer } = require('node:http')
const { Server } = require('socket.io')

async function main() {
  const http = createServer()
  const io = new Server(http, { transports: ['websocket'] })
  const socket = process.argv[2]
  if (socket) {
    const { createAdapter } = require('@socket.io/redis-adapter')
    const { createClient } = require('redis')
    const publisher = createClient({ socket: { path: socket } })
    const subscriber = publisher.duplicate()
    await Promise.all([publisher.connect(), subscriber.connect()])
    io.adapter(createAdapter(publisher, subscriber))
  }
  io.on('connection', (socket) => {
    socket.join(socket.handshake.query.id)
    socket.on('m', (to, payload) => io.to(to).emit('m', payload))
  })
  http.listen(0, '127.0.0.1', () => console.log(`ready on 127.0.0.1:${http.address().port}`))
}

main()
