// Signaling instances that share a Redis, and what stands in front of them.
'use strict'

const { execFile } = require('node:child_process')
const { createServer, connect } = require('node:net')
const { once } = require('node:events')
const { join } = require('node:path')
const { promisify } = require('node:util')

const { coordinator, folder, program, secretFile, start } = require('./programs')

const run = promisify(execFile)

/**
 * Two instances behind one Redis. `instance(more)` starts another one; `token(peer)` is a JWT that they
 * take.
 */
async function cluster(t) {
  const path = await folder(t)
  const secret = await secretFile(path, 'jwt', 'a secret of this test that is long enough')
  const socket = join(path, 'redis.sock')
  const redis = program(t, 'redis-server', [
    '--port', '0', '--unixsocket', socket, '--dir', path, '--save', '', '--appendonly', 'no',
  ])
  await redis.line((line) => /ready to accept connections/i.test(line))
  const instance = async (name) => {
    const running = start(t, [
      'signaling', '--listen', '127.0.0.1:0', '--jwt-secret-file', secret,
      '--redis', `redis+unix://${socket}`, '--data', join(path, name),
    ])
    const line = await running.line((line) => line.includes('signaling ready on http://'))
    return { ...running, port: Number(line.trim().split(':').at(-1)) }
  }
  const token = async (peer, more = []) => {
    const minted = await run(coordinator, ['token', '--peer', peer, '--jwt-secret-file', secret, ...more])
    return minted.stdout.trim()
  }
  return { instances: await Promise.all(['one', 'two'].map(instance)), token }
}

/** A load balancer with one instance behind it at a time: `to` is that one's port. */
async function balancer(t, to) {
  const self = { to }
  const sockets = new Set()
  const server = createServer((inner) => {
    const outer = connect(self.to, '127.0.0.1')
    for (const [one, other] of [[inner, outer], [outer, inner]]) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => { sockets.delete(one); other.destroy() })
      one.pipe(other)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  self.port = server.address().port
  return self
}

module.exports = { balancer, cluster }
