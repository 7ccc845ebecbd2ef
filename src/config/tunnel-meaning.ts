import type { ConfigPath, Mistake } from './mistake.ts'
import { mountpointFault } from './mountpoint.ts'
import { isCidrOrAddress, isHost, splitHostPort } from './network-names.ts'
import type { Config } from './schema.ts'
import type { TunnelConfig, TunnelListenConfig, TunnelServiceConfig } from './tunnel-schema.ts'

/** What the schema of `tunnel` cannot say. */
export function checkTunnel(tunnel: TunnelConfig): readonly Mistake[] {
  return [
    ...tunnel.listen.flatMap((listen, index) => checkListen(listen, index, tunnel)),
    ...Object.entries(tunnel.services).flatMap(([name, service]) => checkService(service, name)),
  ]
}

function checkListen(listen: TunnelListenConfig, index: number, tunnel: TunnelConfig): Mistake[] {
  const at = (...keys: (string | number)[]): ConfigPath => ['tunnel', 'listen', index, ...keys]
  const mistakes: Mistake[] = []
  const { host, port } = splitHostPort(listen.bind)
  if (host !== '' && !isHost(host))
    mistakes.push({ path: at('bind'), message: `"${host}" is not an address or host name` })
  if (port > 65_535) mistakes.push({ path: at('bind'), message: `${port} is not a port: 0 to 65535` })
  for (const key of ['allow', 'trustedProxies'] as const) {
    for (const [entry, network] of listen[key].entries()) {
      if (isCidrOrAddress(network)) continue
      const message = `"${network}" is not an address or CIDR, such as 10.0.0.0/8 or fd00::/8`
      mistakes.push({ path: at(key, entry), message })
    }
  }
  if (listen.proxyProtocol === 'trusted' && listen.trustedProxies.length === 0)
    mistakes.push({
      path: at('proxyProtocol'),
      message: '"trusted" needs trustedProxies, and there are none',
    })
  const fault = mountpointFault(listen.mountpoint)
  if (fault !== undefined) mistakes.push({ path: at('mountpoint'), message: fault })
  return [...mistakes, ...checkOwnService(listen, at('to'), tunnel)]
}

/** Of the broker's own services it is known which there are. */
function checkOwnService(
  { to, mountpoint }: TunnelListenConfig,
  path: ConfigPath,
  tunnel: TunnelConfig,
): Mistake[] {
  const [agent, service = ''] = to.split('/')
  if (agent !== tunnel.name) return []
  const found = Object.hasOwn(tunnel.services, service) ? tunnel.services[service] : undefined
  if (found?.mountpoint === mountpoint) return []
  const where = found === undefined ? '' : ' at this mountpoint'
  return [
    { path, message: `the broker itself is "${agent}", and tunnel.services has no "${service}"${where}` },
  ]
}

function checkService({ target, mountpoint }: TunnelServiceConfig, name: string): Mistake[] {
  const path: ConfigPath = ['tunnel', 'services', name]
  const mistakes: Mistake[] = []
  if (!target.startsWith('unix:')) {
    const { host, port } = splitHostPort(target)
    if (!isHost(host))
      mistakes.push({ path: [...path, 'target'], message: `"${host}" is not an address or host name` })
    if (port < 1 || port > 65_535)
      mistakes.push({ path: [...path, 'target'], message: `${port} is not a port: 1 to 65535` })
  }
  const fault = mountpointFault(mountpoint)
  if (fault !== undefined) mistakes.push({ path: [...path, 'mountpoint'], message: fault })
  return mistakes
}

/** What is allowed, and yet hardly meant. */
export function warnOfTunnel({ tunnel, listeners }: Config): readonly Mistake[] {
  const services = Object.entries(tunnel.services)
  if (!tunnel.enabled) {
    const keys = [
      ...(tunnel.listen.length > 0 ? ['listen'] : []),
      ...(services.length > 0 ? ['services'] : []),
    ]
    return keys.map((key) => ({
      path: ['tunnel', key],
      message: 'has no effect while tunnel.enabled is off',
    }))
  }
  const mountpoints = new Set(listeners.map(({ mountpoint }) => mountpoint))
  const nobody = (path: ConfigPath, mountpoint: string): Mistake[] =>
    mountpoints.has(mountpoint)
      ? []
      : [{ path: [...path, 'mountpoint'], message: `no listener has the mountpoint "${mountpoint}"` }]
  return [
    ...tunnel.listen.flatMap((listen, index) => {
      const path = ['tunnel', 'listen', index]
      const unused = listen.trustedProxies.length > 0 && listen.proxyProtocol === 'off'
      const message = 'has no effect while proxyProtocol is off'
      return [
        ...nobody(path, listen.mountpoint),
        ...(unused ? [{ path: [...path, 'trustedProxies'], message }] : []),
      ]
    }),
    ...services.flatMap(([name, { mountpoint }]) => nobody(['tunnel', 'services', name], mountpoint)),
  ]
}
