// docs/node.md has every option with its default, every event and every code.
'use strict'

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { readFileSync } = require('node:fs')
const path = require('node:path')
const { folder } = require('./support/programs')
const { OPTIONS } = require('../lib/options')

const page = readFileSync(path.join(folder, '..', '..', 'docs', 'node.md'), 'utf8')
const declarations = readFileSync(path.join(folder, 'index.d.ts'), 'utf8')

/** The members of an interface in the declarations. */
function membersOf(name) {
  const [, body] = new RegExp(`interface ${name} \\{\\n([\\s\\S]*?)\\n\\}`).exec(declarations)
  return [...body.matchAll(/^ {2}(\w+)\??:/gm)].map(([, member]) => member)
}

test('every option is on the page and in the declarations, with its default', () => {
  const names = Object.keys(OPTIONS)
  assert.deepEqual(membersOf('P2POptions').sort(), [...names].sort())
  for (const name of names) {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` |`))
    assert.ok(row, `${name} has no row`)
    const { fallback } = OPTIONS[name]
    if (fallback === undefined) continue
    const shown = JSON.stringify(fallback).replaceAll('"', "'")
    assert.ok(row.includes(`| \`${shown}\` |`), `${row} does not say ${shown}`)
  }
})

test('every event is on the page', () => {
  for (const event of [...membersOf('ConnectionEvents'), ...membersOf('CoordinatorEvents')]) {
    assert.match(page, new RegExp(`\\| \`${event}\` \\|`), event)
  }
})

test('every code is on the page', () => {
  const [, list] = /For programs: ([\s\S]*?), or the code/.exec(declarations)
  const codes = [...list.matchAll(/`(\w+)`/g)].map(([, code]) => code)
  assert.ok(codes.length > 10)
  for (const code of codes) assert.match(page, new RegExp(`\`${code}\``), code)
})

test('the first program of the page is the one of the package’s README', () => {
  const program = (text) => /```js\n([\s\S]*?)```/.exec(text)[1]
  const readme = readFileSync(path.join(folder, 'README.md'), 'utf8')
  assert.equal(program(readme), program(page))
})
