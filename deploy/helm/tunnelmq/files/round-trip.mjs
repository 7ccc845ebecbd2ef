// `helm test`: subscribes, publishes, and waits for what it has published. Runs in the image of the broker
// (`node --input-type=module -e`, in /opt/tunnelmq), against the service.
import { randomUUID } from 'node:crypto'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import mqtt from 'mqtt'

const { MQTT_HOST: host, MQTT_PORT: port, MQTT_TOPIC: topic, MQTT_USERNAME: username } = process.env
const password = process.env.MQTT_PASSWORD
// A listener may be for MQTT 5 alone.
const protocolVersion = process.env.MQTT_VERSION === '5' ? 5 : 4
const mayBeRefused = process.env.MAY_BE_REFUSED === 'true'
const payload = randomUUID()
/** Bad user name or password, and not authorized: of MQTT 3.1.1, and of MQTT 5. */
const refusals = [4, 5, 0x86, 0x87]

const give = (text, code) => {
  console.log(text)
  process.exit(code)
}
setTimeout(() => give(`no answer of ${host}:${port} within 30 seconds`, 1), 30_000)

// With the PROXY protocol, what comes without its header is refused: then once more with one that names nobody.
function attempt(withHeader) {
  const open = () => {
    const socket = connectTcp({ host, port: Number(port) })
    if (withHeader) socket.write('PROXY UNKNOWN\r\n')
    // The certificate is for the name by which clients come, and not for that of the service.
    return process.env.MQTT_TLS === 'true' ? connectTls({ socket, rejectUnauthorized: false }) : socket
  }
  const client = new mqtt.MqttClient(open, {
    clientId: `helm-test-${payload.slice(0, 8)}`,
    protocolVersion,
    reconnectPeriod: 0,
    ...(username && { username, password }),
  })
  let answered = false
  client.on('error', (error) => {
    if (!refusals.includes(error.code)) return
    answered = true
    if (mayBeRefused) give(`the broker answers, and refuses a client without a user (${error.message})`, 0)
    give(`the broker refuses the test's client: ${error.message}; see the values test.*`, 1)
  })
  client.on('close', () => {
    if (answered) return
    if (!withHeader) attempt(true)
    else give(`no MQTT at ${host}:${port}`, 1)
  })
  client.on('connect', () => {
    answered = true
    client.subscribe(topic, { qos: 1 }, (error, [granted] = []) => {
      if (error || granted.qos > 2) give(`may not subscribe to ${topic}; see the values test.* and acl`, 1)
      client.publish(topic, payload, { qos: 1 })
    })
  })
  client.on('message', (_topic, message) => {
    if (String(message) === payload) give(`published to ${topic} and got it back`, 0)
  })
}
attempt(false)
