import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../../src/config/load.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))

interface Service {
  readonly image: string
  readonly build?: { readonly context: string; readonly dockerfile: string }
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly command?: readonly string[]
  readonly depends_on?: object
  readonly stop_grace_period?: string
}

const text = readFileSync(join(root, 'docker/compose.yaml'), 'utf8')
const compose = parse(text, { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
}
const brokers = Object.entries(compose.services).filter(([, { build }]) => build !== undefined)

describe('config/cluster.yaml', () => {
  it('loads as it is, without a warning', async () => {
    const { config, warnings } = await loadConfig({ file: join(root, 'config/cluster.yaml'), env: {} })
    expect(warnings).toEqual([])
    expect(config.store).toMatchObject({ type: 'redis', redis: { url: 'redis://127.0.0.1:6379/0' } })
    expect(config.shutdown.drainMs).toBeLessThan(config.shutdown.timeoutMs)
  })

  it('becomes a second pod by the variables that it names', async () => {
    const file = join(root, 'config/cluster.yaml')
    const words = [...readFileSync(file, 'utf8').matchAll(/(TUNNELMQ_[A-Z0-9_]+)=(\S+)/g)]
    const env = Object.fromEntries(words.map(([, name, value]) => [name ?? '', value ?? '']))
    const { config } = await loadConfig({ file, env })
    expect(config.listeners[0]).toMatchObject({ port: 1884 })
    expect(config).toMatchObject({ admin: { port: 8081 }, cluster: { podName: 'pod-2' } })
  })
})

describe('docker/compose.yaml', () => {
  it('has two brokers of one image, Redis and HAProxy', () => {
    expect(Object.keys(compose.services)).toEqual(['broker-1', 'broker-2', 'redis', 'haproxy'])
    expect(new Set(brokers.map(([, { image }]) => image)).size).toBe(1)
    for (const [, { depends_on = {} }] of Object.entries(compose.services)) {
      const names = Array.isArray(depends_on) ? (depends_on as string[]) : Object.keys(depends_on)
      for (const name of names) expect(compose.services).toHaveProperty(name)
    }
  })

  it('mounts files that are there, and volumes that it declares', () => {
    const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes)
    for (const source of mounts.map((mount) => mount.split(':')[0] ?? '')) {
      const isFile = source.startsWith('.')
      expect(isFile ? existsSync(join(root, 'docker', source)) : source in compose.volumes).toBe(true)
    }
    for (const [, { build }] of brokers) {
      expect(existsSync(join(root, 'docker', build?.context ?? '', build?.dockerfile ?? ''))).toBe(true)
    }
  })

  it('gives each broker a configuration that loads, and more time to stop than it takes', async () => {
    const names = new Set<string>()
    for (const [, { environment = {}, volumes = [], stop_grace_period }] of brokers) {
      const file = join(root, 'docker', volumes[0]?.split(':')[0] ?? '')
      const { config, warnings } = await loadConfig({ file, env: environment })
      names.add(config.cluster.podName)
      expect(config.store.redis.url).toBe('redis://redis:6379/0')
      expect(Number.parseInt(stop_grace_period ?? '', 10) * 1_000).toBeGreaterThan(config.shutdown.timeoutMs)
      // They are open to everyone who reaches HAProxy, and the file says so; the API is in their network alone.
      const places = warnings.map(({ path }) => path.join('.'))
      expect(places).toEqual(['listeners.0.allowAnonymous', 'listeners.1.allowAnonymous', 'admin.host'])
      expect(
        config.listeners.every((one) => 'proxyProtocol' in one && one.proxyProtocol === 'required'),
      ).toBe(true)
    }
    expect(names.size).toBe(brokers.length)
  })

  it('publishes on this machine only, and evicts nothing', () => {
    const ports = Object.values(compose.services).flatMap((service) => service.ports ?? [])
    expect(ports.every((port) => port.startsWith('127.0.0.1:'))).toBe(true)
    expect(compose.services['redis']?.command?.join(' ')).toMatch(
      /--appendonly yes.*--maxmemory-policy noeviction/,
    )
  })
})

describe('docker/Dockerfile', () => {
  const lines = readFileSync(join(root, 'docker/Dockerfile'), 'utf8').split('\n')

  it('copies what is there, and what its ignore file lets through', () => {
    const ignore = readFileSync(join(root, 'docker/Dockerfile.dockerignore'), 'utf8').split('\n')
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(' ').slice(1, -1))
    expect(copied.length).toBeGreaterThan(4)
    for (const path of copied) {
      expect(existsSync(join(root, path))).toBe(true)
      expect(ignore).toContain(`!${path}`)
    }
  })

  it('runs the program that is built, not as root, with the configuration that compose mounts', () => {
    expect(lines.filter((line) => /^USER [1-9]\d*:[1-9]\d*$/.test(line))).toHaveLength(1)
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      bin: { tunnelmq: string }
    }
    expect(lines.find((line) => line.startsWith('ENTRYPOINT'))).toContain(`/${bin.tunnelmq}"`)
    const mounted = brokers[0]?.[1].volumes?.[0]?.split(':')[1] ?? ''
    expect(lines.join('\n')).toContain(`TUNNELMQ_CONFIG=${mounted}`)
    expect(dirname(mounted)).toBe('/etc/tunnelmq')
  })
})
