/** Why this cannot be the mountpoint of a listener, or undefined. */
export function mountpointFault(mountpoint: string): string | undefined {
  return /[+#\0]/.test(mountpoint) || mountpoint.startsWith('$')
    ? `"${mountpoint}" cannot begin a topic: no +, #, NUL, and no $ at the start`
    : undefined
}
