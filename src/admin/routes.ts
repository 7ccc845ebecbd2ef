import { Hono } from 'hono'
import type { Log } from '../log.ts'
import type { Api, RequestEnvironment } from './api/api.ts'
import { demandScope, type Guard } from './api/guard.ts'
import { ApiError, problemResponse } from './api/problem.ts'
import { serveDashboard } from './dashboard-files.ts'
import type { Metrics } from './metrics.ts'
import type { BrokerReadModel } from './read-model.ts'

export interface RouteDependencies {
  readonly model: BrokerReadModel
  readonly metrics: Metrics
  readonly log: Log
  /** Of /api/v1; asked for with the first request to it. */
  readonly api?: (() => Promise<Api>) | undefined
  /** /metrics needs a key. */
  readonly metricsGuard?: Guard | undefined
  readonly hasDashboard?: boolean
}

interface Types {
  Bindings: RequestEnvironment
}

/** What a page of another site must not make of our answers. */
const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
}

/** `/live`: the process answers. `/ready`: clients may come. `/metrics`: figures. Beside them API and dashboard. */
export function createRoutes(dependencies: RouteDependencies): Hono<Types> {
  const { model, metrics, log, api, metricsGuard, hasDashboard = false } = dependencies
  const app = new Hono<Types>()

  app.use(async (context, next) => {
    await next()
    const { headers } = context.res
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-store')
    if (!headers.has('content-security-policy'))
      headers.set('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
    for (const [name, value] of Object.entries(securityHeaders)) headers.set(name, value)
  })

  app.get('/live', (context) => {
    const uptimeSeconds = Math.floor((Date.now() - model.startedAtMs) / 1_000)
    return context.json({ status: 'live', version: model.version, uptimeSeconds })
  })

  app.get('/ready', (context) => {
    const reasons = model.notReadyReasons()
    if (reasons.length === 0) return context.json({ status: 'ready' })
    return context.json({ status: 'not ready', reasons }, 503)
  })

  app.get('/metrics', async (context) => {
    if (metricsGuard !== undefined) {
      const authorization = context.req.header('authorization') ?? null
      demandScope(metricsGuard.identify(authorization, context.env.address), 'read')
    }
    return context.body(await metrics.render(), 200, { 'content-type': metrics.contentType })
  })

  if (api !== undefined)
    app.all('/api/v1/*', async (context) => (await api()).fetch(context.req.raw, context.env))
  if (hasDashboard) serveDashboard(app)

  app.notFound((context) => context.json({ error: 'not found' }, 404))
  app.onError((error, context) => {
    if (error instanceof ApiError) return problemResponse(error)
    log.error({ err: error, path: context.req.path }, 'admin request failed')
    return context.json({ error: 'internal error' }, 500)
  })
  return app
}
