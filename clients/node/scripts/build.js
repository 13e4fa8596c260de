// Builds the addon from the Rust sources beside it and puts it where `lib/native.js` looks first.
// `P2P_NODE_LIBRARY` names a library that is built already, as `cargo xtask test` has one.
'use strict'

const { execFileSync } = require('node:child_process')
const { copyFileSync, renameSync } = require('node:fs')
const { join } = require('node:path')
const { platform } = require('../lib/native')

const folder = join(__dirname, '..')

function build() {
  const args = ['build', '-p', 'p2p-node', '--message-format=json-render-diagnostics']
  if (process.argv.includes('--release')) args.push('--release')
  const messages = execFileSync(process.env.CARGO || 'cargo', args, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const artifact = messages
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .find((message) => message.target?.name === 'p2p_node' && message.filenames)
  return artifact.filenames.find((file) => /\.(so|dylib|dll)$/.test(file))
}

const built = process.env.P2P_NODE_LIBRARY || build()
const addon = join(folder, `p2p-node.${platform()}.node`)
// A process that has the old one open keeps it: the new one takes its name, not its place.
copyFileSync(built, `${addon}.new`)
renameSync(`${addon}.new`, addon)
console.log(`built ${addon}`)
