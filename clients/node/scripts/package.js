// Lays out what is published: the main package, which is JavaScript alone and names the packages of
// all platforms as optional, and the package of this platform, which holds its addon.
//
//     npm run package [-- FOLDER]      FOLDER/p2p-coordinator/ and FOLDER/PLATFORM/, for npm publish
//
// Build the addon for release before: npm run build -- --release.
'use strict'

const { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } = require('node:fs')
const { join, resolve } = require('node:path')
const manifest = require('../package.json')
const { PLATFORMS, packageOf, platform } = require('../lib/native')

const source = join(__dirname, '..')
const out = resolve(process.argv[2] ?? join(source, 'npm'))
const LICENSES = ['LICENSE-MIT', 'LICENSE-APACHE']

/** Makes one package's folder anew, with its manifest and the licenses. */
function lay(folder, { files, ...rest }) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const text = JSON.stringify({ ...rest, files: [...files, ...LICENSES] }, null, 2)
  writeFileSync(join(folder, 'package.json'), `${text}\n`)
  for (const file of LICENSES) copyFileSync(join(source, '..', '..', file), join(folder, file))
}

function mainPackage() {
  const folder = join(out, manifest.name)
  const { devDependencies, scripts, private: _, ...published } = manifest
  published.optionalDependencies = Object.fromEntries(
    PLATFORMS.map((one) => [packageOf(one), manifest.version]),
  )
  lay(folder, published)
  for (const file of ['README.md', ...manifest.files]) {
    cpSync(join(source, file), join(folder, file), { recursive: true })
  }
  return folder
}

function platformPackage() {
  const name = platform()
  const folder = join(out, name)
  const addon = `p2p-node.${name}.node`
  const { version, license, engines } = manifest
  lay(folder, {
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
  copyFileSync(join(source, addon), join(folder, addon))
  return folder
}

console.log(mainPackage())
console.log(platformPackage())
