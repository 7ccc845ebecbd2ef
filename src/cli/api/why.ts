import { Command } from 'commander'
import type { Explanation } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { printable } from '../table.ts'
import type { ApiClient } from './client.ts'
import { onApi, printJson, type ApiFlags } from './command.ts'

interface WhyFlags extends ApiFlags {
  readonly qos?: string
  readonly retain?: true
  readonly username?: string
  readonly listener?: string
  readonly address?: string
  readonly mountpoint?: string
}

const actions = ['publish', 'subscribe', 'open', 'connect']

const help = `
  tunnelmq why pump-7 publish sensors/7/state
  tunnelmq why laptop open pi7/ssh
  tunnelmq why pump-9 connect --username pump --listener tls-8883

It asks the real handlers, for the client as it is connected now; for one that is not, say who it would be. A password
is not asked for, so connect tells of all but that. Needs the scope trace. Exit code 0: allowed; 1: refused.`

/** `tunnelmq why`: the decision about something that a client does or would do, and what made it. */
export function whyCommand(env: Environment): Command {
  const command = new Command('why')
    .description('explain why a client may do something, or may not')
    .argument('<client>', 'client id')
    .argument('<action>', actions.join(', '))
    .argument('[topic]', 'topic, or filter; for open: agent/service')
    .option('--qos <0|1|2>', 'of the PUBLISH or subscription; default: 0')
    .option('--retain', 'of the PUBLISH')
    .option('--username <name>', 'of a client that is not connected')
    .option('--listener <name>', 'of a client that is not connected: whose handlers are asked')
    .option('--address <address>', 'of a client that is not connected')
    .option('--mountpoint <prefix>', "of the client's listener, if it has one")
    .addHelpText('after', help)
  return onApi(command, env, why)
}

async function why(api: ApiClient, flags: WhyFlags, client = '', action = '', topic?: string): Promise<void> {
  if (!actions.includes(action))
    throw new TunnelMQError(ErrorCode.usage, `${action}: it is one of ${actions.join(', ')}`)
  if ((action === 'connect') !== (topic === undefined))
    throw new TunnelMQError(
      ErrorCode.usage,
      action === 'connect' ? 'connect has no topic' : `${action} what? Name the topic`,
    )
  const { qos = '0', retain, username, listener, address, mountpoint } = flags
  if (!/^[012]$/.test(qos)) throw new TunnelMQError(ErrorCode.usage, `--qos ${qos}: it is 0, 1 or 2`)
  const body = { client, action, topic, qos: Number(qos), retain, username, listener, address, mountpoint }
  const told = await api.ask<Explanation>('POST', '/why', { body })
  if (flags.json === true) printJson([told])
  else
    process.stdout.write(
      sentences(told)
        .map((line) => `${printable(line)}\n`)
        .join(''),
    )
  process.exitCode = told.allowed ? 0 : 1
}

/** Who, from where, each handler with its rule, and what came of it. */
function sentences({ allowed, summary, client, steps, effective, pod }: Explanation): string[] {
  const who = [
    `${client.id} is ${client.state === 'unknown' ? 'not known here' : client.state}`,
    client.username === null ? 'without a user name' : `as user ${client.username}`,
    client.address === null ? undefined : `from ${client.address}${wayOf(client.addressFrom)}`,
    client.listener === null ? undefined : `at listener ${client.listener}`,
    `(pod ${pod})`,
  ]
  const width = Math.max(0, ...steps.map(({ by }) => by.length))
  const asked = steps.map(({ by, opinion, rule, reason, isCached }) => {
    const facts = [reason, rule === null ? null : `rule: ${rule}`, isCached ? 'from its cache' : null]
    const known = facts.filter((fact) => fact !== null)
    return `  ${by.padEnd(width)}  ${opinionWords[opinion]}${known.length === 0 ? '' : `: ${known.join('; ')}`}`
  })
  const { topic, qos, retain } = effective
  const changed = [
    topic === null ? undefined : `topic ${topic}`,
    qos === null ? undefined : `QoS ${qos}`,
    retain === null ? undefined : retain ? 'retained' : 'not retained',
  ].filter((word) => word !== undefined)
  return [
    `${allowed ? 'Allowed' : 'Refused'}: ${summary}`,
    who.filter((word) => word !== undefined).join(' '),
    ...(asked.length === 0 ? [] : ['Asked, in this order:', ...asked]),
    ...(allowed && changed.length > 0 ? [`Goes on as: ${changed.join(', ')}`] : []),
    ...(allowed ? [] : [advice(steps)]),
  ]
}

const opinionWords: Readonly<Record<Explanation['steps'][number]['opinion'], string>> = {
  allowed: 'allows it',
  refused: 'refuses it',
  none: 'has no opinion',
  failed: 'failed, which counts as a refusal',
  'not asked': 'was not asked',
}

const ways: Readonly<Record<string, string>> = {
  'proxy-v1': ', by a PROXY v1 header',
  'proxy-v2': ', by a PROXY v2 header',
  'x-forwarded-for': ', by X-Forwarded-For',
}

function wayOf(addressFrom: string | null): string {
  return ways[addressFrom ?? ''] ?? ''
}

/** Of steps that are no handlers. */
const adviceOn: Readonly<Record<string, string>> = {
  ban: '`tunnelmq ban remove` lets the address in again',
  protocol: 'the client has to send something else: no handler can allow it',
  limit: 'raise the limit in the configuration (docs/configuration.md)',
  chain: 'no handler has an opinion, which is a refusal: add a rule, or a handler (docs/handlers.md)',
  agent: 'start the agent, or look at `tunnelmq agents` for its name',
}

function advice(steps: Explanation['steps']): string {
  const decides = steps.find(({ opinion }) => opinion === 'failed' || opinion === 'refused')
  const { by = 'chain', opinion, rule = null } = decides ?? {}
  if (opinion === 'failed') return `To change it: mend ${by}; the log of the broker has its error`
  const known = adviceOn[by]
  if (known !== undefined) return `To change it: ${known}`
  return `To change it: ${by} decides${rule === null ? '' : `, see ${rule}`} (docs/handlers.md)`
}
