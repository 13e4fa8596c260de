// The package as others see it: both module systems, the declarations, the addon's choice.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { mkdtemp, readFile, rm } = require('node:fs/promises')
const { tmpdir } = require('node:os')
const path = require('node:path')
const { promisify } = require('node:util')
const { folder } = require('./support/programs')
const { loadAddon, packageOf, platform, PLATFORMS } = require('../lib/native')

const run = promisify(execFile)
const limit = { timeout: 120_000 }

test('both module systems get the same classes', async () => {
  const required = require('p2p-coordinator')
  const imported = await import('p2p-coordinator')
  for (const name of Object.keys(required)) assert.equal(imported[name], required[name], name)
  assert.equal(imported.default, required.P2PCoordinator)
})

test('typed programs compile, and wrong ones do not', limit, async () => {
  const tsc = path.join(folder, 'node_modules', 'typescript', 'bin', 'tsc')
  const strict = ['--strict', '--noEmit', '--target', 'es2022', '--skipLibCheck', 'false']
  const modules = ['--module', 'nodenext', '--moduleResolution', 'nodenext', '--types', 'node']
  const file = path.join('test', 'support', 'typed.mts')
  await run(process.execPath, [tsc, ...strict, ...modules, file], { cwd: folder })
})

test('a local build is loaded first, then the package of the platform', () => {
  const asked = []
  const missing = (id) => {
    asked.push(id)
    throw new Error(`Cannot find module '${id}'`)
  }
  assert.throws(
    () => loadAddon(missing),
    (error) => error.code === 'no_addon' && /npm run build/.test(error.fix),
  )
  assert.deepEqual(asked, [`../p2p-node.${platform()}.node`, packageOf(platform())])
  const addon = {}
  const only = (id) => (id === packageOf(platform()) ? addon : missing(id))
  assert.equal(loadAddon(only), addon)
})

test('this platform has a package', () => {
  assert.ok(PLATFORMS.includes(platform()), platform())
})

test('the platform package holds the addon and says where it fits', limit, async (t) => {
  const out = await mkdtemp(path.join(tmpdir(), 'p2p-package-'))
  t.after(() => rm(out, { recursive: true }))
  await run(process.execPath, ['scripts/package-platform.js', out], { cwd: folder })
  const manifest = JSON.parse(await readFile(path.join(out, platform(), 'package.json'), 'utf8'))
  assert.equal(manifest.name, packageOf(platform()))
  assert.deepEqual(manifest.os, [process.platform])
  assert.deepEqual(manifest.cpu, [process.arch])
  const addon = require(path.join(out, platform()))
  assert.equal(typeof addon.NativeClient.start, 'function')
  const main = JSON.parse(await readFile(path.join(out, 'package.json'), 'utf8'))
  assert.deepEqual(Object.keys(main.optionalDependencies), PLATFORMS.map(packageOf))
  assert.equal(main.optionalDependencies[manifest.name], manifest.version)
})
