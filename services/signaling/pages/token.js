// Tokens, as a page gets and reads them. A page cannot verify one; the server does.

import { Fault } from './api.js'

/**
 * The token of `#token=…`, which it takes out of the address bar and so out of the history. A fragment
 * is never sent; a query would be, and would stand in logs.
 */
export function takeFromFragment() {
  const named = new URLSearchParams(location.hash.slice(1)).get('token')
  if (named === null) return ''
  history.replaceState(null, '', location.pathname + location.search)
  return named.trim()
}

/** Whether a token stands in the query, where it does not belong: it has been sent and logged. */
export const isInQuery = () => new URLSearchParams(location.search).has('token')

/** What the token says of itself. */
export function claims(token) {
  const parts = token.split('.')
  const fix = 'paste it whole, from its first letters (eyJ) to its last; `coordinator token` makes one'
  if (parts.length !== 3) {
    const found = `a JWT has three parts with dots between them, this has ${parts.length}`
    throw new Fault('This is no token', found, fix)
  }
  let said
  try {
    const bytes = Uint8Array.from(atob(base64(parts[1])), (letter) => letter.charCodeAt(0))
    said = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw new Fault('This is no token', 'its middle part is not JSON in base64url', fix)
  }
  if (typeof said?.sub !== 'string' || typeof said?.exp !== 'number') {
    const needs = 'it needs `sub`, the peer’s id, and `exp`, when it ends'
    throw new Fault('This token lacks what it needs', needs, 'let your backend mint it with both')
  }
  return said
}

/** Its scopes, as the server reads them. */
export function scopes({ scope }) {
  if (scope === undefined) return ['connect', 'relay']
  return Array.isArray(scope) ? scope : String(scope).split(/\s+/)
}

const base64 = (text) => text.replaceAll('-', '+').replaceAll('_', '/')

const KEY = 'p2p-admin-token'

/** The admin's token, kept as long as its tab: nothing of it outlives that or is seen by another. */
export const kept = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (token) => sessionStorage.setItem(KEY, token),
  forget: () => sessionStorage.removeItem(KEY),
}
