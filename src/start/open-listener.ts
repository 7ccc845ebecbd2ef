import type { Config, Limits, ListenerConfig } from '../config/schema.ts'
import type { BrokerCounters, Refusal } from '../counters.ts'
import type { OpenDoorClient } from '../broker/door/contract.ts'
import type { ListenerProfile } from '../broker/listener-profile.ts'
import type { Refusals } from '../broker/refusals.ts'
import type { CoapListener } from '../gateway/coap/listener.ts'
import type { Admission } from '../listeners/admission.ts'
import { openListener, type Listener, type ListenerEvents } from '../listeners/listener.ts'
import type { RefusedConnection } from '../listeners/lobby.ts'
import type { Log } from '../log.ts'
import type { TunnelRouter } from '../tunnel/router/router.ts'

interface ListenerContext {
  readonly admission: Admission
  readonly events: ListenerEvents
  readonly profile: ListenerProfile
  readonly openDoorClient: OpenDoorClient
  readonly counters: BrokerCounters
  readonly limits: Limits
  readonly log: Log
  readonly tunnels: TunnelRouter | undefined
  readonly tunnelConfig: Config['tunnel']
  /** Those that are opened are added. */
  readonly coapListeners: CoapListener[]
}

/** A listener of MQTT, or a door of another protocol, whose code is in memory only where there is one. */
export async function openListenerOrDoor(
  config: ListenerConfig,
  context: ListenerContext,
): Promise<Listener> {
  if (config.type === 'proxy') {
    const { tunnels, profile, openDoorClient, tunnelConfig, log } = context
    // The configuration was checked: with such a listener `tunnel.enabled` is on.
    const { createProxyDoor } = await import('../gateway/proxy/door.ts')
    const door = {
      config: config.proxy,
      tunnel: tunnelConfig,
      router: tunnels!,
      profile,
      openDoorClient,
      log,
    }
    return openListener(config, { ...context, visits: createProxyDoor(door) })
  }
  // Only now: who has no such door has none of its code in memory.
  if (config.type === 'coap') {
    const { openCoapListener } = await import('../gateway/coap/listener.ts')
    const listener = await openCoapListener(config, context)
    context.coapListeners.push(listener)
    return listener
  }
  if (!('http' in config)) return openListener(config, context)
  const { createHttpDoor } = await import('../gateway/http/door.ts')
  const { profile, openDoorClient: openClient, limits, log } = context
  const counters = context.counters.httpListener(profile.name)
  const http = createHttpDoor({ config: config.http, limits, profile, openClient, counters, log })
  return openListener(config, { ...context, http })
}

/** A connection that was not let in: counted, kept for those who look, and one line, in a form that fail2ban reads. */
export function logRefused(
  refusal: RefusedConnection,
  { counters, refusals, log }: { counters: BrokerCounters; refusals: Refusals; log: Log },
): void {
  const { address, port, listener, reason, detail, socketAddress } = refusal
  counters.refused[refusalOf(reason)]++
  const why = detail === undefined ? reason : `${reason}: ${detail}`
  refusals.note({ point: 'connection', address, listener, reason: why })
  log.info({ address, port, listener, reason, detail, socketAddress }, 'connection refused')
}

function refusalOf(reason: RefusedConnection['reason']): Refusal {
  if (reason === 'banned') return 'banned'
  if (reason.includes('rate')) return 'rate'
  if (reason.includes('connections') || reason === 'pending-limit') return 'max-connections'
  if (reason.startsWith('proxy')) return 'proxy-protocol'
  if (reason.startsWith('request')) return 'malformed'
  if (reason.startsWith('http')) return 'http'
  return reason.startsWith('tls') ? 'tls' : 'websocket'
}
