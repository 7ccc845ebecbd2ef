import type { ClientDetail } from '../../admin/api/resources.ts'
import { formatTable, terminalWidth } from '../table.ts'
import { bytesText, printFacts, printJson, shortTime, type ApiFlags } from './command.ts'

/** All that is known of one client. */
export function printClient(client: ClientDetail, flags: ApiFlags): void {
  if (flags.json === true) return printJson([client])
  const { certificate, tls, will, mqtt5 } = client
  printFacts([
    ['client', client.id],
    ['mountpoint', client.mountpoint],
    ['state', client.state],
    ['pod', client.pod],
    ['user', client.username],
    ['address', client.address === null ? null : `${client.address} port ${client.port ?? '?'}`],
    ['proxied by', client.proxiedBy],
    ['listener', client.listener],
    ['transport', client.transport],
    ['MQTT', client.protocolVersion],
    ['TLS', tls && `${tls.version} ${tls.cipher}`],
    ['certificate', certificate && `${certificate.subject} (by ${certificate.issuer})`],
    ['serves', client.serves && `agent ${client.serves}`],
    ['clean session', client.cleanSession ? 'yes' : 'no'],
    ['since', shortTime(client.connectedAt)],
    ['session ends', shortTime(client.expiresAt)],
    ['keep-alive', client.keepaliveSeconds === null ? null : `${client.keepaliveSeconds} s`],
    ['received', `${client.messagesReceived} messages, ${bytesText(client.bytesReceived)}`],
    ['sent', `${client.messagesSent} messages, ${bytesText(client.bytesSent)}`],
    ['inflight', client.inflightMessages],
    ['queued', `${client.queuedMessages} messages, ${bytesText(client.queuedBytes)}`],
    ['awaits PUBREL', client.awaitedReleases],
    ['agreed', mqtt5 && termsText(mqtt5)],
    ['properties', mqtt5 && pairsText(mqtt5.userProperties)],
    [
      'will',
      will &&
        `${will.topic}, QoS ${will.qos}, ${bytesText(will.bytes)}${will.retain ? ', retained' : ''}${will.delaySeconds > 0 ? `, after ${will.delaySeconds} s` : ''}`,
    ],
  ])
  if (client.subscriptionList.length === 0) return
  const rows = client.subscriptionList.map((one) => [
    one.filter,
    one.qos,
    one.shareGroup ?? '',
    subscriptionOptions(one),
  ])
  const headings = ['subscribed to', 'qos', 'group', 'options']
  process.stdout.write(`\n${formatTable(headings, rows, terminalWidth())}`)
}

/** What holds of what a client of MQTT 5 has asked for at CONNECT. */
function termsText(asked: NonNullable<ClientDetail['mqtt5']>): string {
  const { sessionExpirySeconds, receiveMaximum, maximumPacketBytes, topicAliasMaximum } = asked
  return [
    sessionExpirySeconds === null ? 'session never ends' : `session expiry ${sessionExpirySeconds} s`,
    `receive maximum ${receiveMaximum}`,
    `${topicAliasMaximum} topic aliases`,
    ...(maximumPacketBytes === null ? [] : [`packets of ${bytesText(maximumPacketBytes)} at most`]),
    ...(asked.authenticationMethod === null ? [] : [`authenticated by ${asked.authenticationMethod}`]),
  ].join(', ')
}

function pairsText(pairs: readonly { readonly name: string; readonly value: string }[]): string | null {
  return pairs.map(({ name, value }) => `${name}=${value}`).join(', ') || null
}

/** Of MQTT 5, and only what is not as in MQTT 3.1.1. */
function subscriptionOptions(subscription: ClientDetail['subscriptionList'][number]): string {
  const { noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } = subscription
  const said: string[] = []
  if (noLocal) said.push('no local')
  if (retainAsPublished) said.push('retain as published')
  if (retainHandling > 0) said.push(retainHandling === 1 ? 'retained if new' : 'none retained')
  if (subscriptionIdentifier !== null) said.push(`id ${subscriptionIdentifier}`)
  return said.join(', ')
}
