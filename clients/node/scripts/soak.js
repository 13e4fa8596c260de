// Opens and closes connections in one process and prints what that costs: resident memory after
// the first hundred and at the end, and how long the event loop was held up meanwhile.
//
//     npm run soak [-- COUNT]
'use strict'

const { monitorEventLoopDelay } = require('node:perf_hooks')
const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { P2PCoordinator } = require('..')

const COUNT = Number(process.argv[2] ?? 1000)
const WARM_UP = 100
const AT_ONCE = 10
/** The coordinator takes 100 messages a second from one peer, and a connection needs several. */
const PACE_MS = 80
const MEMORY_MAX = 1.1
const DELAY_MAX_MS = 20

const mebibytes = (bytes) => Math.round((bytes / 1024 / 1024) * 10) / 10

/** Resident memory once garbage is gone, on both sides of the addon. */
async function resident() {
  for (let round = 0; round < 5; round += 1) {
    global.gc()
    await pause(200)
  }
  return process.memoryUsage().rss
}

async function main() {
  const alice = new P2PCoordinator({ signalingPort: 0, peerId: 'alice' })
  await alice.initialize()
  const token = alice.createToken('bob')
  const bob = new P2PCoordinator({ signalingUrl: alice.signalingUrl, token })
  await bob.initialize()
  bob.on('connection', (connection) => {
    connection.on('message', (message) => connection.send(message))
  })

  async function oneConnection() {
    const connection = await alice.connectToPeer('bob')
    const answer = once(connection, 'message')
    connection.send(Buffer.alloc(10_000, 7))
    await answer
    await connection.close()
  }
  async function connections(count) {
    let left = count
    let next = performance.now()
    const work = async () => {
      while (left-- > 0) {
        next += PACE_MS
        await pause(Math.max(0, next - performance.now()))
        await oneConnection()
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
  }

  await connections(WARM_UP)
  const before = await resident()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const started = performance.now()
  await connections(COUNT - WARM_UP)
  const seconds = (performance.now() - started) / 1000
  delay.disable()
  const after = await resident()
  const stats = alice.getStats()
  const [ratio, p99] = [after / before, delay.percentile(99) / 1e6]
  console.log(
    JSON.stringify({
      connections: stats.totalConnections,
      open_at_the_end: stats.peers.connections,
      connections_per_second: Math.round(((COUNT - WARM_UP) / seconds) * 10) / 10,
      rss_after_first_hundred_mib: mebibytes(before),
      rss_at_the_end_mib: mebibytes(after),
      rss_ratio: Math.round(ratio * 1000) / 1000,
      event_loop_delay_p50_ms: Math.round(delay.percentile(50) / 1e4) / 100,
      event_loop_delay_p99_ms: Math.round(p99 * 100) / 100,
      event_loop_delay_max_ms: Math.round(delay.max / 1e4) / 100,
    }),
  )
  await bob.shutdown()
  await alice.shutdown()
  if (ratio > MEMORY_MAX || p99 > DELAY_MAX_MS || stats.peers.connections > 0) {
    console.error(`over the bounds: memory ratio ${MEMORY_MAX}, delay p99 ${DELAY_MAX_MS} ms`)
    process.exitCode = 1
  }
}

main()
