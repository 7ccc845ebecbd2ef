import type { Mistake } from './mistake.ts'
import { isLoopback } from './network-names.ts'
import type { AgentConfig, ClientConfig, EndpointConfig } from './tunnel-endpoint-schema.ts'
import {
  brokerFault,
  isEncrypted,
  nameFault,
  readForward,
  readTarget,
  topicPrefixFault,
} from './tunnel-endpoint-syntax.ts'

/** What the schema of an agent cannot say. */
export function checkAgent(config: AgentConfig): readonly Mistake[] {
  const services = Object.entries(config.services)
  const none: Mistake = {
    path: ['services'],
    message: 'has no service; an agent offers at least one: --service ssh=127.0.0.1:22',
  }
  return [
    ...mistake(['id'], nameFault(config.id)),
    ...checkConnection(config),
    ...(services.length === 0 ? [none] : []),
    ...services.flatMap(([name, { target }]) => [
      ...mistake(['services', name], nameFault(name)),
      ...mistake(['services', name, 'target'], faultOf(readTarget(target))),
    ]),
  ]
}

/** The same for a client. */
export function checkClient(config: ClientConfig): readonly Mistake[] {
  return [
    ...mistake(['id'], config.id === undefined ? undefined : nameFault(config.id)),
    ...checkConnection(config),
    ...config.forwards.flatMap((word, index) => mistake(['forwards', index], faultOf(readForward(word)))),
  ]
}

function checkConnection(config: EndpointConfig): Mistake[] {
  const { broker, topicPrefix, username, password, passwordFile, tls } = config
  const mistakes = [
    ...mistake(['broker'], brokerFault(broker)),
    ...mistake(['topicPrefix'], topicPrefixFault(topicPrefix)),
  ]
  if (password !== undefined && passwordFile !== undefined)
    mistakes.push({ path: ['passwordFile'], message: 'is set, and so is password' })
  // [MQTT-3.1.2-22]
  const secret = password === undefined ? 'passwordFile' : 'password'
  if (username === undefined && (password ?? passwordFile) !== undefined)
    mistakes.push({ path: [secret], message: 'needs a username' })
  if (tls.ca !== undefined && tls.caPem !== undefined)
    mistakes.push({ path: ['tls', 'caPem'], message: 'is set, and so is tls.ca' })
  if (tls.cert !== undefined && tls.key === undefined)
    mistakes.push({ path: ['tls', 'cert'], message: 'needs tls.key, the private key of the certificate' })
  if (tls.key !== undefined && tls.cert === undefined)
    mistakes.push({ path: ['tls', 'key'], message: 'needs tls.cert, the certificate of the key' })
  return mistakes
}

/** What is allowed, and yet hardly meant. */
export function warnOfConnection(config: EndpointConfig): readonly Mistake[] {
  const { broker, tls, password, passwordFile } = config
  if (isEncrypted(broker)) {
    const insecure = 'any certificate is taken: who stands between can read and change everything'
    return mistake(['tls', 'insecure'], tls.insecure ? insecure : undefined)
  }
  const isLocal =
    broker.startsWith('unix:') || isLoopback(new URL(broker).hostname.replace(/^\[(.*)\]$/, '$1'))
  const hasPassword = (password ?? passwordFile) !== undefined
  const hasTls = (tls.ca ?? tls.caPem ?? tls.cert) !== undefined || tls.insecure
  return [
    ...mistake(['broker'], hasPassword && !isLocal ? 'sends the password unencrypted' : undefined),
    ...mistake(['tls'], hasTls ? 'has no effect: the broker is not mqtts:// or wss://' : undefined),
  ]
}

function faultOf(result: object | string): string | undefined {
  return typeof result === 'string' ? result : undefined
}

function mistake(path: Mistake['path'], message: string | undefined): Mistake[] {
  return message === undefined ? [] : [{ path, message }]
}
