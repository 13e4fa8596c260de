// Lays out what is published: the package of this platform with its addon, and the main package's
// manifest, which names the packages of all platforms as optional.
//
//     node scripts/package-platform.js [FOLDER]      FOLDER/PLATFORM/ and FOLDER/package.json
'use strict'

const { copyFileSync, mkdirSync, writeFileSync } = require('node:fs')
const { join, resolve } = require('node:path')
const manifest = require('../package.json')
const { PLATFORMS, packageOf, platform } = require('../lib/native')

const out = resolve(process.argv[2] ?? join(__dirname, '..', 'npm'))
const name = platform()
const addon = `p2p-node.${name}.node`
const write = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)

mkdirSync(join(out, name), { recursive: true })
copyFileSync(join(__dirname, '..', addon), join(out, name, addon))
const { version, license, engines } = manifest
write(join(out, name, 'package.json'), {
  name: packageOf(name),
  version,
  description: `The native addon of ${manifest.name} for ${name}.`,
  license,
  engines,
  main: addon,
  files: [addon],
  os: [process.platform],
  cpu: [process.arch],
  ...(name.endsWith('-gnu') && { libc: ['glibc'] }),
  ...(name.endsWith('-musl') && { libc: ['musl'] }),
})
const { devDependencies, scripts, private: _, ...published } = manifest
published.optionalDependencies = Object.fromEntries(
  PLATFORMS.map((one) => [packageOf(one), version]),
)
write(join(out, 'package.json'), published)
console.log(`${packageOf(name)} ${version} in ${join(out, name)}`)
