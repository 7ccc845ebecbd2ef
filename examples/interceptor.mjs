// An interceptor: old sensors go on sending "21.5;40" to sensors/<name>, and everybody else gets
// {"temperature":21.5,"humidity":40}. In the configuration, at the listener of the sensors:
//
//   interceptors:
//     - file: ./examples/interceptor.mjs
//       at: after          # the handlers see, and allow, what the sensor has sent
//       options: { prefix: sensors/ }
//
// docs/interceptors.md has the rules.

/**
 * @param {{ prefix?: string }} options
 * @param {Pick<typeof import('tunnelmq'), 'AuthError'>} tools
 * @returns {import('tunnelmq').Interceptor}
 */
export default function createInterceptor({ prefix = 'sensors/' }, { AuthError }) {
  return {
    name: 'sensors',

    // Return nothing: the packet goes on. Another one: it takes its place. null: it is dropped. Throw: the connection ends.
    intercept(session, packet, direction) {
      if (packet.cmd !== 'publish' || !packet.topic.startsWith(prefix)) return undefined

      if (direction === 'up') {
        const [temperature, humidity] = packet.payload.toString().split(';').map(Number)
        // A sensor that is being switched on sends nothing: nobody needs to know.
        if (packet.payload.length === 0) return null
        if (!Number.isFinite(temperature)) throw new AuthError(`${session.id} sends no figures`)
        // Packets are frozen, and payloads shared: make a new one.
        return { ...packet, payload: Buffer.from(JSON.stringify({ temperature, humidity })) }
      }

      // Back again for those who read it on this listener.
      const { temperature, humidity } = JSON.parse(packet.payload.toString())
      return { ...packet, payload: Buffer.from(`${temperature};${humidity}`) }
    },
  }
}
