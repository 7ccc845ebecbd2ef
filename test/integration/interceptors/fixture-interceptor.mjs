// Adds its name to the payload of each message, both ways; in capitals once it was reloaded.
export default function createInterceptor({ name }) {
  let sign = name
  return {
    name,
    intercept(_session, packet, direction) {
      if (packet.cmd !== 'publish') return undefined
      const isFirstDown = direction === 'down' && !packet.payload.includes('-')
      const added = Buffer.from(isFirstDown ? `-${sign}` : sign)
      return { ...packet, payload: Buffer.concat([packet.payload, added]) }
    },
    reload() {
      sign = name.toUpperCase()
      return Promise.resolve()
    },
  }
}
