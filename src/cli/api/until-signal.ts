/** Aborted by SIGINT or SIGTERM, after which a second one ends the process as usual. Call `end` when it is over. */
export function untilSignal(): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController()
  const end = (): void => {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
  const stop = (): void => {
    end()
    controller.abort()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return { signal: controller.signal, end }
}
