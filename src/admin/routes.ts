import { Hono } from 'hono'
import type { Log } from '../log.ts'
import type { Metrics } from './metrics.ts'
import type { BrokerReadModel } from './read-model.ts'

export interface RouteDependencies {
  readonly model: BrokerReadModel
  readonly metrics: Metrics
  readonly log: Log
}

/** `/live`: the process answers. `/ready`: clients may come. `/metrics`: figures. */
export function createRoutes({ model, metrics, log }: RouteDependencies): Hono {
  const app = new Hono()

  app.use(async (context, next) => {
    await next()
    context.header('cache-control', 'no-store')
    context.header('x-content-type-options', 'nosniff')
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

  app.get('/metrics', async (context) =>
    context.body(await metrics.render(), 200, { 'content-type': metrics.contentType }),
  )

  app.notFound((context) => context.json({ error: 'not found' }, 404))
  app.onError((error, context) => {
    log.error({ err: error, path: context.req.path }, 'admin request failed')
    return context.json({ error: 'internal error' }, 500)
  })
  return app
}
