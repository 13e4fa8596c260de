// Programs of their own, started and watched.
'use strict'

const { spawn } = require('node:child_process')
const { createInterface } = require('node:readline')
const { join } = require('node:path')

const folder = join(__dirname, '..', '..')

/**
 * Runs a Node program in the package's folder. `line(text)` resolves with the next line of its
 * output that has the text; `ended` with its exit code, signal and all it said.
 */
function program(t, file, { args = [], env = {} } = {}) {
  const child = spawn(process.execPath, [file, ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  const lines = []
  const waiting = []
  let errors = ''
  child.stderr.on('data', (text) => (errors += text))
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(text)
    for (const waiter of [...waiting]) waiter()
  })
  const ended = new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output: lines.join('\n'), errors }))
  })
  const line = (text) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const at = lines.findIndex((one) => one.includes(text))
        if (at < 0) return
        waiting.splice(waiting.indexOf(look), 1)
        resolve(lines[at])
      }
      waiting.push(look)
      look()
      ended.then(({ output }) =>
        reject(new Error(`${file} ended without ${JSON.stringify(text)}:\n${output}\n${errors}`)),
      )
    })
  return { child, line, ended }
}

module.exports = { program, folder }
