import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6 } from 'node:net'
import { findingsOf, messageOf, type Finding } from './finding.ts'
import type { Place } from './places.ts'
import { holderOfPort, type Holder } from './processes.ts'

const { ok, warn, fail, skipped } = findingsOf('port')

/** What an attempt to listen there has brought: nothing (it is free), or the code of the error. */
export interface PortFacts {
  readonly code: string | undefined
  readonly holder: Holder | undefined
}

/** Each port of the configuration: free, held by the broker, or by somebody else. */
export async function checkPorts(
  places: readonly Place[],
  isBrokerRunning: boolean,
): Promise<readonly Finding[]> {
  const found: Finding[] = []
  for (const place of places) {
    const code = place.port === 0 ? undefined : await tryToListen(place)
    const holder = code === 'EADDRINUSE' ? await holderOfPort(place.port, place.protocol) : undefined
    found.push(judgePort(place, { code, holder }, isBrokerRunning))
  }
  return found
}

/** Pure: what these facts mean. */
export function judgePort(place: Place, { code, holder }: PortFacts, isBrokerRunning: boolean): Finding {
  const at = `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`
  const what = `${place.name}: ${at}${place.protocol === 'udp' ? ' (UDP)' : ''}`
  if (place.port === 0) return skipped(`${what}: the system chooses it at the start`)
  const elsewhere = 'or choose another port in the configuration'
  switch (code) {
    case undefined:
      return isBrokerRunning
        ? warn(
            `${what} is free, though a broker runs`,
            'restart the broker: its configuration was changed since, or it is another one',
          )
        : ok(`${what} is free`)
    case 'EADDRINUSE':
      if (holder?.isBroker === true) return ok(`${what} is held by the broker (pid ${holder.pid})`)
      if (holder !== undefined)
        return fail(`${what} is held by ${holder.command} (pid ${holder.pid})`, `stop that, ${elsewhere}`)
      return isBrokerRunning
        ? ok(`${what} is held, by the broker as it seems`)
        : fail(
            `${what} is held by a process of another user`,
            `run this as root to see which, and stop it, ${elsewhere}`,
          )
    case 'EACCES':
      return fail(
        `${what} is not for this user: ports below 1024 need a right`,
        'AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or sysctl net.ipv4.ip_unprivileged_port_start=0 in a ' +
          `container, ${elsewhere}`,
      )
    case 'EADDRNOTAVAIL':
      return fail(
        `${what}: this machine has no such address`,
        'see `ip addr`; 0.0.0.0 or :: is every address',
      )
    default:
      return fail(`${what} cannot be listened on: ${code}`, 'compare the address with `ip addr`')
  }
}

async function tryToListen({ host, port, protocol }: Place): Promise<string | undefined> {
  if (protocol === 'udp') return tryToBind(host, port)
  const server = createServer()
  try {
    server.listen({ host, port, exclusive: true })
    await once(server, 'listening')
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? messageOf(error)
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

async function tryToBind(address: string, port: number): Promise<string | undefined> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  try {
    socket.bind({ address, port, exclusive: true })
    await once(socket, 'listening')
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? messageOf(error)
  } finally {
    socket.close()
  }
}
