// Text to the clipboard, on pages without TLS too.

/** Whether it got there. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // The clipboard is for secure contexts, and a page without TLS is one on localhost alone.
    const area = document.createElement('textarea')
    area.value = text
    area.setAttribute('readonly', '')
    document.body.append(area)
    area.select()
    const copied = document.execCommand('copy')
    area.remove()
    return copied
  }
}
