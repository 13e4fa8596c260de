// Our own programs, started on free ports and ended with the test that needs them.
'use strict'

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const { mkdtemp, rm, writeFile } = require('node:fs/promises')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { after } = require('node:test')
const { createInterface } = require('node:readline')

const coordinator =
  process.env.P2P_COORDINATOR ?? join(__dirname, '..', '..', '..', 'target', 'debug', 'coordinator')

/**
 * Starts `coordinator` with these arguments. `line(test)` resolves with the first line, of either
 * stream, that passes; `log()` is everything it has said on stderr, at the level TRACE.
 */
function start(t, args) {
  return program(t, coordinator, args)
}

/** The same of another program. */
function program(t, file, args) {
  const child = spawn(file, args, {
    env: { ...process.env, P2P_LOG: 'trace', NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'close')
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  }
  t.after(stop)
  const said = { out: [], err: [] }
  const waiting = new Set()
  for (const [name, stream] of [['out', child.stdout], ['err', child.stderr]]) {
    createInterface({ input: stream }).on('line', (line) => {
      said[name].push(line)
      for (const look of waiting) look()
    })
  }
  const line = (test) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = [...said.out, ...said.err].find(test)
        if (found === undefined) return
        waiting.delete(look)
        resolve(found)
      }
      waiting.add(look)
      look()
      ended.then(() => reject(new Error(`${file} ${args[0]} ended:\n${said.err.join('\n')}`)))
    })
  return { line, stop, log: () => said.err.join('\n') }
}

/** `coordinator dev`: `said` is its line of JSON, `origin` where its pages are. */
async function dev(t, more = []) {
  const args = ['dev', '--json', '--signaling', '127.0.0.1:0', '--relay', '127.0.0.1:0', ...more]
  const running = start(t, args)
  const said = JSON.parse(await running.line((line) => line.startsWith('{"admin_token"')))
  return { ...running, said, origin: new URL(said.test_page).origin }
}

/**
 * Like the context of a test, for what all tests of a file share: to be called outside of any. What
 * began last ends first.
 */
function shared() {
  const ends = []
  after(async () => {
    for (const end of ends.reverse()) await end()
  })
  return { after: (end) => ends.push(end) }
}

/** A folder that ends with the test. */
async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'p2p-browser-'))
  t.after(() => rm(path, { recursive: true, force: true, maxRetries: 5 }))
  return path
}

/** A file with a secret of this text. */
async function secretFile(path, name, text) {
  const file = join(path, name)
  await writeFile(file, `${text}\n`, { mode: 0o600 })
  return file
}

/** `coordinator signaling` with a secret of its own and these settings, and a token for alice. */
async function serving(t, settings) {
  const data = await folder(t)
  const jwt = await secretFile(data, 'jwt.txt', 'a secret of this test that is long enough')
  const own = ['--listen', '127.0.0.1:0', '--jwt-secret-file', jwt, '--data', data]
  const program = start(t, ['signaling', ...own, ...settings])
  const ready = await program.line((line) => line.startsWith('signaling ready on'))
  const minting = start(t, ['token', '--peer', 'alice', '--jwt-secret-file', jwt])
  const token = await minting.line((line) => line.startsWith('eyJ'))
  return { server: { ...program, origin: ready.split(' ').at(-1) }, token }
}

module.exports = { coordinator, dev, folder, program, secretFile, serving, shared, start }
