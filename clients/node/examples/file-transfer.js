// Sends a file with a progress bar. The receiver starts first and prints how to send to it:
//
//     node examples/file-transfer.js receive FOLDER
//     node examples/file-transfer.js send FILE ws://127.0.0.1:8080 TOKEN
'use strict'

const { createHash } = require('node:crypto')
const { createReadStream, createWriteStream } = require('node:fs')
const { stat } = require('node:fs/promises')
const { once } = require('node:events')
const { basename, join } = require('node:path')
const { Transform } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { P2PCoordinator } = require('p2p-coordinator')

/** Counts and hashes what passes, and draws a bar of it. */
function progress(name, size) {
  const hash = createHash('sha256')
  let done = 0
  let drawn = -1
  const counter = new Transform({
    transform(chunk, _encoding, next) {
      hash.update(chunk)
      done += chunk.length
      const percent = size === 0 ? 100 : Math.floor((done / size) * 100)
      if (percent !== drawn) draw(percent)
      next(null, chunk)
    },
  })
  function draw(percent) {
    drawn = percent
    const bar = '#'.repeat(percent / 4).padEnd(25, '.')
    process.stderr.write(`\r${name} [${bar}] ${percent} %${percent === 100 ? '\n' : ''}`)
  }
  return { counter, digest: () => hash.digest('hex'), bytes: () => done }
}

async function receive(folder) {
  const p2p = new P2PCoordinator({
    signalingPort: Number(process.env.SIGNALING_PORT ?? 8080),
    peerId: 'receiver',
  })
  await p2p.initialize()
  const token = p2p.createToken('sender', { ttl: 3600 })
  console.log(`send with: node examples/file-transfer.js send FILE ${p2p.signalingUrl} ${token}`)

  const [connection] = await once(p2p, 'connection')
  const [header] = await once(connection, 'message')
  const { name, size } = JSON.parse(header)
  // A name from elsewhere must not lead out of the folder.
  const file = join(folder, basename(name))
  const arriving = once(connection, 'stream')
  connection.send('ready')
  const [stream] = await arriving
  const { counter, digest, bytes } = progress(basename(name), size)
  await pipeline(stream, counter, createWriteStream(file))
  stream.end()
  const answer = { bytes: bytes(), sha256: digest() }
  connection.send(JSON.stringify(answer))
  console.log(`received ${file}: ${answer.bytes} bytes, sha256 ${answer.sha256}`)
  await once(connection, 'close')
  await p2p.shutdown()
}

async function send(file, signalingUrl, token) {
  const p2p = new P2PCoordinator({ signalingUrl, token })
  await p2p.initialize()
  const connection = await p2p.connectToPeer('receiver')
  const { size } = await stat(file)
  const ready = once(connection, 'message')
  connection.send(JSON.stringify({ name: basename(file), size }))
  await ready
  const answered = once(connection, 'message')
  const { counter, digest } = progress(basename(file), size)
  const stream = await connection.openStream()
  const ended = once(stream.resume(), 'end')
  await pipeline(createReadStream(file), counter, stream)
  const [[answer]] = await Promise.all([answered, ended])
  const { bytes, sha256 } = JSON.parse(answer)
  const whole = bytes === size && sha256 === digest()
  console.log(`${whole ? 'sent' : 'NOT sent'} ${file} (${connection.path?.method})`)
  await connection.close('done')
  await p2p.shutdown()
  if (!whole) process.exitCode = 1
}

const [verb, path, ...server] = process.argv.slice(2)
const work = verb === 'receive' ? receive(path) : send(path, ...server)
work.catch((error) => {
  console.error(`${error.message}\n  ${error.fix ?? ''}`)
  process.exit(1)
})
