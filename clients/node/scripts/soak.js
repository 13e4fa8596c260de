// Opens and closes connections in one process, which is both peers of each, and prints what that
// costs: resident memory after the first hundred and at the end, and how long the event loop was
// held up meanwhile. Fails where that is over the bounds below, or anything of a closed connection
// is left. The coordinator runs beside it: it keeps every attempt for ten minutes on purpose, for
// reports that come late.
//
//     npm run soak [-- COUNT]
'use strict'

const { fork } = require('node:child_process')
const { monitorEventLoopDelay } = require('node:perf_hooks')
const { once } = require('node:events')
const { setTimeout: pause } = require('node:timers/promises')
const { P2PCoordinator } = require('..')

const COORDINATOR = 'coordinator'
const COUNT = Number(process.argv[2] ?? 1000)
const WARM_UP = 100
const AT_ONCE = 10
/** The coordinator takes 100 messages a second from one peer, and a connection needs several. */
const PACE_MS = 80
const MEMORY_MAX = 1.1
const DELAY_MAX_MS = 20

const round = (value, digits) => Number(value.toFixed(digits))
const mebibytes = (bytes) => round(bytes / 1024 / 1024, 1)

/** How many of the objects that it was told of are still there. */
function census() {
  let alive = 0
  const registry = new FinalizationRegistry(() => (alive -= 1))
  return {
    add(object) {
      alive += 1
      registry.register(object)
    },
    alive: () => alive,
  }
}

/** Resident memory once garbage is gone, on both sides of the addon. */
async function resident() {
  for (let count = 0; count < 5; count += 1) {
    global.gc()
    await pause(200)
  }
  return process.memoryUsage().rss
}

/** The process beside it: a coordinator until the one that measures has ended. */
async function coordinate() {
  const p2p = new P2PCoordinator({ signalingPort: 0 })
  await p2p.initialize()
  process.on('disconnect', () => p2p.shutdown())
  const tokens = ['alice', 'bob'].map((peer) => p2p.createToken(peer))
  process.send({ signalingUrl: p2p.signalingUrl, tokens })
}

async function measure() {
  const coordinator = fork(__filename, [COORDINATOR], { execArgv: [] })
  const [{ signalingUrl, tokens }] = await once(coordinator, 'message')
  const [alice, bob] = tokens.map((token) => new P2PCoordinator({ signalingUrl, token }))
  await Promise.all([alice.initialize(), bob.initialize()])
  const objects = census()
  bob.on('connection', (connection) => {
    objects.add(connection)
    connection.on('message', (message) => connection.send(message))
  })

  async function oneConnection() {
    const connection = await alice.connectToPeer('bob')
    objects.add(connection)
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
      objects_at_the_end: objects.alive(),
      connections_per_second: round((COUNT - WARM_UP) / seconds, 1),
      rss_after_first_hundred_mib: mebibytes(before),
      rss_at_the_end_mib: mebibytes(after),
      rss_ratio: round(ratio, 3),
      event_loop_delay_p50_ms: round(delay.percentile(50) / 1e6, 2),
      event_loop_delay_p99_ms: round(p99, 2),
      event_loop_delay_max_ms: round(delay.max / 1e6, 2),
    }),
  )
  await Promise.all([alice.shutdown(), bob.shutdown()])
  coordinator.disconnect()
  const left = stats.peers.connections + objects.alive()
  if (ratio > MEMORY_MAX || p99 > DELAY_MAX_MS || left > 0) {
    console.error(`over the bounds: memory ratio ${MEMORY_MAX}, delay p99 ${DELAY_MAX_MS} ms, nothing left`)
    process.exitCode = 1
  }
}

if (process.argv[2] === COORDINATOR) coordinate()
else measure()
