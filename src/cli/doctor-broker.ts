import type { ClientDetail, Listener, Refusal } from '../admin/api/resources.ts'
import type { Environment } from '../config/overrides.ts'
import type { BrokerApi, BrokerView } from '../doctor/broker-view.ts'
import { messageOf } from '../doctor/finding.ts'
import { createApiClient } from './api/client.ts'
import type { ApiFlags } from './api/command.ts'
import { apiTarget, localUrl } from './api/target.ts'
import type { Config } from '../config/schema.ts'

const TIMEOUT_MS = 5_000
const REFUSALS = 100

interface Health {
  readonly version: string
  readonly notReadyReasons: readonly string[]
}

/** The broker that runs, asked as the doctor needs it; undefined: none answers at its admin address. */
export async function viewBroker(
  flags: ApiFlags,
  config: Config,
  env: Environment,
): Promise<BrokerView | undefined> {
  const url = adminUrl(flags, config, env)
  const health = url === undefined ? undefined : await askHealth(url)
  if (url === undefined || health === undefined) return undefined
  const { api, noApi } = await openBrokerApi(flags, env)
  return { adminUrl: url.origin, ...health, api, noApi }
}

function adminUrl(flags: ApiFlags, config: Config, env: Environment): URL | undefined {
  const said = flags.apiUrl ?? (env['TUNNELMQ_API_URL'] || undefined)
  if (said !== undefined) return URL.canParse(said) ? new URL(said) : undefined
  try {
    return localUrl(config)
  } catch {
    return undefined
  }
}

/** /live and /ready, which need no key. */
async function askHealth(url: URL): Promise<Health | undefined> {
  try {
    const [live, ready] = await Promise.all(['/live', '/ready'].map((path) => getJson(url, path)))
    if (live?.['status'] !== 'live' && typeof live?.['version'] !== 'string') return undefined
    const reasons = ready?.['reasons']
    return {
      version: String(live['version']),
      notReadyReasons: Array.isArray(reasons) ? reasons.map(String) : [],
    }
  } catch {
    return undefined
  }
}

async function getJson(url: URL, path: string): Promise<Record<string, unknown> | undefined> {
  const answer = await fetch(new URL(path, url), { signal: AbortSignal.timeout(TIMEOUT_MS) })
  return (await answer.json()) as Record<string, unknown>
}

async function openBrokerApi(
  flags: ApiFlags,
  env: Environment,
): Promise<Pick<BrokerView, 'api' | 'noApi'>> {
  try {
    const client = createApiClient(await apiTarget(flags, env), flags.pod)
    const listeners = await client.ask<readonly Listener[]>('GET', '/listeners')
    const api: BrokerApi = {
      client: (id) => client.find<ClientDetail>(`/clients/${encodeURIComponent(id)}`),
      listeners: () => Promise.resolve(listeners),
      refusals: () => client.ask<readonly Refusal[]>('GET', '/refusals', { query: { limit: REFUSALS } }),
    }
    return { api, noApi: '' }
  } catch (error) {
    return { api: undefined, noApi: messageOf(error) }
  }
}
