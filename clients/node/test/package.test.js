// The package as others see it: both module systems, the declarations, the addon's choice.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } = require('node:fs/promises')
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

test('what is published: the main package, and one with the addon for this platform', limit, async (t) => {
  const out = await mkdtemp(path.join(tmpdir(), 'p2p-package-'))
  t.after(() => rm(out, { recursive: true }))
  await run(process.execPath, ['scripts/package.js', out], { cwd: folder })
  const read = async (name) => JSON.parse(await readFile(path.join(out, name, 'package.json'), 'utf8'))

  const addon = await read(platform())
  assert.equal(addon.name, packageOf(platform()))
  assert.deepEqual(addon.os, [process.platform])
  assert.deepEqual(addon.cpu, [process.arch])
  const main = await read('p2p-coordinator')
  assert.deepEqual(Object.keys(main.optionalDependencies), PLATFORMS.map(packageOf))
  assert.equal(main.optionalDependencies[addon.name], addon.version)
  assert.equal(main.private, undefined)

  const licenses = ['LICENSE-APACHE', 'LICENSE-MIT']
  const file = `p2p-node.${platform()}.node`
  assert.deepEqual(addon.files, [file, 'LICENSE-MIT', 'LICENSE-APACHE'])
  const there = await readdir(path.join(out, platform()))
  assert.deepEqual(there.sort(), [...licenses, file, 'package.json'].sort())
  const folderOfMain = path.join(out, 'p2p-coordinator')
  const options = ['pack', folderOfMain, '--json', '--pack-destination', out]
  const [packed] = JSON.parse((await run('npm', options, { cwd: out })).stdout)
  const library = (await readdir(path.join(folder, 'lib'))).map((name) => `lib/${name}`)
  const entries = ['README.md', 'index.js', 'index.mjs', 'index.d.ts', 'index.d.mts']
  const expected = [...licenses, 'package.json', ...entries, ...library]
  assert.deepEqual(packed.files.map((one) => one.path).sort(), expected.sort())

  // A program elsewhere installs it, gets the package of its platform with it, and needs no more.
  const project = path.join(out, 'project')
  await mkdir(project)
  await writeFile(path.join(project, 'package.json'), '{"private":true}')
  const quiet = ['--no-audit', '--no-fund', '--no-package-lock', '--omit=optional', '--offline']
  await run('npm', ['install', ...quiet, path.join(out, packed.filename)], { cwd: project })
  await rename(path.join(out, platform()), path.join(project, 'node_modules', addon.name))
  const program = `
    import P2PCoordinator, { P2PError } from 'p2p-coordinator'
    const p2p = new P2PCoordinator({ signalingPort: 0 })
    await p2p.initialize()
    console.log(P2PError.name, p2p.healthCheck().healthy)
    await p2p.shutdown()`
  await writeFile(path.join(project, 'program.mjs'), program)
  const { stdout } = await run(process.execPath, ['program.mjs'], { cwd: project })
  assert.equal(stdout, 'P2PError true\n')
})
