import { Command } from 'commander'
import type { TracePacket, TracePage } from '../../admin/api/resources.ts'
import type { Environment } from '../../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../../errors.ts'
import { parseDuration } from '../duration.ts'
import { printable } from '../table.ts'
import type { ApiClient } from './client.ts'
import { bytesText, onApi, printJson, type ApiFlags } from './command.ts'
import { untilSignal } from './until-signal.ts'

interface TraceFlags extends ApiFlags {
  readonly topic?: string
  readonly payload?: true
  readonly mountpoint?: string
  readonly for?: string
}

/** One request waits so long for a packet. */
const WAIT_MS = 5_000
const SHOWN_PAYLOAD_CHARS = 80

const help = `
  tunnelmq trace pump-7
  tunnelmq trace pump-7 --payload --json > packets.jsonl
  tunnelmq trace --topic 'sensors/+/alarm' --for 30s

A client need not be connected: its CONNECT is shown, and why it ends. What comes faster than the broker's bound
(admin.tracePacketsPerSecond) is counted, not shown: a trace does not slow the broker down. Needs the scope trace.`

/** `tunnelmq trace`: packets as they come and go, until Ctrl-C. */
export function traceCommand(env: Environment): Command {
  const command = new Command('trace')
    .description('show the packets of a client, or on a topic, as they come and go')
    .argument('[client]', 'client id')
    .option('--topic <filter>', 'packets of any client on these topics')
    .option('--payload', 'with the beginning of payloads')
    .option('--mountpoint <prefix>', "of the client's listener, if it has one")
    .option('--for <duration>', 'end after this; default: with Ctrl-C')
    .addHelpText('after', help)
  return onApi(command, env, trace)
}

async function trace(api: ApiClient, flags: TraceFlags, client?: string): Promise<void> {
  const { topic, mountpoint } = flags
  if ((client === undefined) === (topic === undefined))
    throw new TunnelMQError(ErrorCode.usage, 'name a client, or --topic FILTER')
  const lasts = flags.for === undefined ? undefined : AbortSignal.timeout(parseDuration('--for', flags.for))
  const body = { client, topic, mountpoint, payload: flags.payload === true }
  const { id } = await api.ask<{ id: string }>('POST', '/traces', { body })
  const { signal, end } = untilSignal()
  const stop = lasts === undefined ? signal : AbortSignal.any([signal, lasts])
  process.stderr.write(
    `tracing ${client ?? topic}; Ctrl-C ends it\n`.replace(/^.*/, (line) => printable(line)),
  )
  try {
    await show(api, flags, `/traces/${encodeURIComponent(id)}`, stop)
  } finally {
    end()
  }
}

async function show(api: ApiClient, flags: TraceFlags, path: string, signal: AbortSignal): Promise<void> {
  let after: string | undefined
  let missed = 0
  let isOpen = true
  try {
    while (isOpen && !signal.aborted) {
      const query = { after, waitMs: WAIT_MS }
      const batch = await api.find<TracePage>(path, { query, waitMs: WAIT_MS, signal })
      if (batch === undefined) break
      if (flags.json === true) printJson(batch.packets)
      else process.stdout.write(batch.packets.map((packet) => `${lineOf(packet)}\n`).join(''))
      if (batch.missed > 0)
        process.stderr.write(`${batch.missed} packets are not shown: they came faster than a trace takes\n`)
      after = batch.next
      missed += batch.missed
      isOpen = batch.isOpen
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    // It would end by itself, when nobody reads it.
    if (signal.aborted) await api.act('DELETE', path).catch(() => undefined)
  }
  if (!signal.aborted) process.stderr.write('the broker has ended the trace\n')
  else if (missed > 0) process.stderr.write(`${missed} packets in all were not shown\n`)
}

/** `12:00:01.123  in   PUBLISH  pump-7  a/b  QoS 1  retain  12 B  ...` */
function lineOf(packet: TracePacket): string {
  const { at, direction, type, client, topic, qos, retain, dup, messageId, bytes, detail, payload } = packet
  const words = [
    at.slice(11, 23),
    direction === 'in' ? '->' : '<-',
    type.padEnd(11),
    client,
    topic,
    qos === null ? null : `QoS ${qos}`,
    retain === true ? 'retain' : null,
    dup === true ? 'dup' : null,
    messageId === null ? null : `id ${messageId}`,
    bytesText(bytes),
    detail,
    payload === null ? null : `"${Buffer.from(payload, 'base64').toString().slice(0, SHOWN_PAYLOAD_CHARS)}"`,
  ]
  return words
    .filter((word) => word !== null)
    .map((word) => printable(word))
    .join('  ')
}
