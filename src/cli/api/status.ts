import { Command } from 'commander'
import type { Listener, Overview, Pod } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { bytesText, onApi, printFacts, printItems, printJson, shortTime, type Columns } from './command.ts'

const listenerColumns: Columns<Listener> = [
  ['listener', ({ name }) => name],
  ['url', ({ url }) => url],
  ['connections', ({ connections }) => connections],
  ['accepted', ({ accepted }) => accepted],
  ['in', ({ bytesReceived }) => bytesText(bytesReceived)],
  ['out', ({ bytesSent }) => bytesText(bytesSent)],
  ['mountpoint', ({ mountpoint }) => mountpoint],
  ['proxy', ({ proxyProtocol }) => proxyProtocol],
  ['certificate ends', ({ certificateExpiresAt }) => shortTime(certificateExpiresAt)],
  ['pod', ({ pod }) => pod],
]

const podColumns: Columns<Pod> = [
  ['pod', ({ id, isSelf }) => (isSelf ? `${id} *` : id)],
  ['name', ({ name }) => name],
  [
    'state',
    ({ isDraining, isReady }) =>
      isDraining ? 'draining' : isReady === null ? '?' : isReady ? 'ready' : 'not ready',
  ],
  ['connected', ({ connected }) => connected],
  ['up', ({ uptimeSeconds }) => (uptimeSeconds === null ? '' : duration(uptimeSeconds))],
  ['memory', ({ memoryBytes }) => (memoryBytes === null ? '' : bytesText(memoryBytes))],
  ['silent ms', ({ silentMs }) => silentMs],
  ['version', ({ version }) => version],
]

/** `tunnelmq status`: the broker in twenty lines. */
export function statusCommand(env: Environment): Command {
  const command = new Command('status')
    .alias('overview')
    .description('show how the broker is, in a few lines')
  return onApi(command, env, async (api, flags) => {
    const it = await api.ask<Overview>('GET', '/overview')
    if (flags.json === true) return printJson([it])
    printFacts([
      ['version', it.version],
      ['pod', it.podCount > 1 ? `${it.pod}, of ${it.podCount}` : it.pod],
      ['up', `${duration(it.uptimeSeconds)}, since ${shortTime(it.startedAt)}`],
      ['ready', it.isReady ? 'yes' : `no: ${it.notReadyReasons.join('; ')}`],
      ['draining', it.isDraining ? 'yes' : null],
      ['connections', it.connections],
      ['sessions', `${it.sessionsConnected} connected, ${it.sessionsStored} stored`],
      ['subscriptions', it.subscriptions],
      ['retained', `${it.retainedMessages} messages, ${bytesText(it.retainedBytes)}`],
      [
        'queued',
        `${it.queuedMessages} messages, ${bytesText(it.queuedBytes)}; ${it.inflightMessages} inflight`,
      ],
      ['tunnels', `${it.agents} agents, ${it.streams} streams`],
      ['banned', `${it.bannedAddresses} addresses`],
      ['received', `${it.totals.messagesReceived} messages, ${bytesText(it.totals.bytesReceived)}`],
      ['sent', `${it.totals.messagesSent} messages, ${bytesText(it.totals.bytesSent)}`],
      ['dropped', `${it.totals.messagesDropped} messages`],
      ['refused', `${it.totals.connectionsRefused} connections; ${it.totals.handlerRefusals} by handlers`],
      ['memory', bytesText(it.memoryBytes)],
    ])
  })
}

/** `tunnelmq listeners` */
export function listenersCommand(env: Environment): Command {
  const command = new Command('listeners').description('list the listeners')
  return onApi(command, env, async (api, flags) =>
    printItems(
      await api.ask<readonly Listener[]>('GET', '/listeners'),
      listenerColumns,
      flags,
      'there are no listeners',
    ),
  )
}

/** `tunnelmq pods` */
export function podsCommand(env: Environment): Command {
  const command = new Command('pods').description(
    'list the brokers that share a store; * is the one that was asked',
  )
  return onApi(command, env, async (api, flags) =>
    printItems(await api.ask<readonly Pod[]>('GET', '/pods'), podColumns, flags, 'there are no pods'),
  )
}

function duration(seconds: number): string {
  const whole = Math.floor(seconds)
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3_600) % 24,
    Math.floor(whole / 60) % 60,
  ]
  if (days > 0) return `${days} d ${hours} h`
  if (hours > 0) return `${hours} h ${minutes} min`
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`
}
