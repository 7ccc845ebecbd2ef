import type { ClientDetail, Listener, Refusal } from '../admin/api/resources.ts'
import type { Environment } from '../config/overrides.ts'
import type { Config } from '../config/schema.ts'
import type { BrokerApi, BrokerView } from '../doctor/broker-view.ts'
import { messageOf } from '../doctor/finding.ts'
import { askHealth, createApiClient } from './api/client.ts'
import type { ApiFlags } from './api/command.ts'
import { readLocalKey } from './api/local-broker.ts'
import { apiPlace, apiTarget, type ApiPlace } from './api/target.ts'

const TIMEOUT_MS = 5_000
const REFUSALS = 100

/** The broker that runs, asked as the doctor needs it; undefined: none answers at its admin address. */
export async function viewBroker(
  flags: ApiFlags,
  config: Config,
  env: Environment,
): Promise<BrokerView | undefined> {
  try {
    const place = await apiPlace(flags, env, config)
    const health = await healthOf(place)
    if (health === undefined) return undefined
    const { pid } = await readLocalKey(config.admin.localKeyFile)
    return { adminUrl: place.url.origin, ...health, pid, ...(await openBrokerApi(flags, env)) }
  } catch {
    // No address, or nobody there: the checks say what that means.
    return undefined
  }
}

async function healthOf(
  place: ApiPlace,
): Promise<Pick<BrokerView, 'version' | 'notReadyReasons'> | undefined> {
  const live = (await askHealth(place, '/live', TIMEOUT_MS)) as { status?: unknown; version?: unknown }
  if (live.status !== 'live') return undefined
  const ready = (await askHealth(place, '/ready', TIMEOUT_MS)) as { reasons?: unknown }
  const reasons = Array.isArray(ready.reasons) ? ready.reasons : []
  return { version: String(live.version), notReadyReasons: reasons.map(String) }
}

async function openBrokerApi(flags: ApiFlags, env: Environment): Promise<Pick<BrokerView, 'api' | 'noApi'>> {
  try {
    const client = createApiClient(await apiTarget(flags, env), flags.pod)
    const api: BrokerApi = {
      client: (id) => client.find<ClientDetail>(`/clients/${encodeURIComponent(id)}`),
      refusals: () => client.ask<readonly Refusal[]>('GET', '/refusals', { query: { limit: REFUSALS } }),
    }
    // Whether the key may read is seen by reading.
    await client.ask<readonly Listener[]>('GET', '/listeners')
    return { api, noApi: '' }
  } catch (error) {
    return { api: undefined, noApi: messageOf(error) }
  }
}
