// A typed program against the declarations; it is compiled, not run.
import P2P, { P2PCoordinator, P2PError, type Connection, type Health } from 'p2p-coordinator'

const p2p: P2P = new P2PCoordinator({ signalingPort: 8080, turnServers: [] })
// @ts-expect-error an unknown option
new P2PCoordinator({ signallingPort: 8080 })
// @ts-expect-error a wrong type
new P2PCoordinator({ signalingPort: '8080' })

await p2p.initialize()
const ip: string | null = p2p.getNATInfo().publicIP
const rate: string = p2p.getStats().performance.successRate
p2p.on('health', (health: Health) => console.log(health.issues.join(), ip, rate))
const connection: Connection = await p2p.connectToPeer('bob', { policy: 'relay' })
connection.on('message', (message) => {
  const text: string = typeof message === 'string' ? message : message.toString('hex')
  if (!connection.send(text)) connection.once('drain', () => {})
})
// @ts-expect-error an unknown event
connection.on('mesage', () => {})
// @ts-expect-error not bytes
connection.send(5)
const stream = await connection.openStream()
stream.end('bytes')
try {
  await p2p.shutdown()
} catch (error) {
  if (error instanceof P2PError) console.log(error.code, error.fix)
}
