// Finds the addon: the one built in this folder, or the one of this platform's own package.
'use strict'

const { P2PError } = require('./errors')

/** The platforms with a package of their own. */
const PLATFORMS = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'linux-x64-musl',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
]

/** The name of the platform that this process runs on. */
function platform() {
  const base = `${process.platform}-${process.arch}`
  if (process.platform === 'win32') return `${base}-msvc`
  if (process.platform !== 'linux') return base
  const glibc = process.report?.getReport?.().header?.glibcVersionRuntime
  return `${base}-${glibc ? 'gnu' : 'musl'}`
}

/** The package of a platform. */
const packageOf = (name) => `p2p-coordinator-${name}`

/**
 * Loads the addon: a local build wins over the platform's package.
 *
 * @param {(id: string) => any} load `require`, or a stand-in for it
 */
function loadAddon(load = require) {
  const name = platform()
  const tried = []
  for (const id of [`../p2p-node.${name}.node`, packageOf(name)]) {
    try {
      return load(id)
    } catch (error) {
      tried.push(`${id}: ${String(error?.message).split('\n')[0]}`)
    }
  }
  throw new P2PError(
    'no_addon',
    `the native addon for ${name} cannot be loaded (${tried.join('; ')})`,
    PLATFORMS.includes(name)
      ? `install again without --omit=optional, or build it: npm run build`
      : `there is no package for ${name}: build it with Rust installed: npm run build`,
  )
}

module.exports = { PLATFORMS, platform, packageOf, loadAddon }
