import { webhookFaults } from '../counters.ts'
import type { NumberMetric } from './metric-list.ts'

/** Of the handlers that ask others: `http` and `jwt`. All listeners with such a handler count together. */
export const handlerMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_webhook_requests_total',
    type: 'counter',
    help: 'Requests of the handler http to an endpoint: questions and notifications.',
    labels: ['handler', 'endpoint'],
    read: ({ counters }) =>
      counters.webhookEndpoints.map(({ handler, endpoint, requests }) => ({
        labels: { handler, endpoint },
        value: requests,
      })),
  },
  {
    name: 'tunnelmq_webhook_failures_total',
    type: 'counter',
    help: `Requests that were in vain, by kind: ${webhookFaults.join(', ')}.`,
    labels: ['handler', 'endpoint', 'kind'],
    read: ({ counters }) =>
      counters.webhookEndpoints.flatMap(({ handler, endpoint, failures }) =>
        Object.entries(failures).map(([kind, value]) => ({ labels: { handler, endpoint, kind }, value })),
      ),
  },
  {
    name: 'tunnelmq_webhook_endpoints_left_out',
    type: 'gauge',
    help: 'The endpoint has failed too often in a row and is left out for breaker.cooldownMs: by so many listeners.',
    labels: ['handler', 'endpoint'],
    read: ({ counters }) =>
      counters.webhookEndpoints.map(({ handler, endpoint, leftOut }) => ({
        labels: { handler, endpoint },
        value: leftOut,
      })),
  },
  {
    name: 'tunnelmq_webhook_cache_hits_total',
    type: 'counter',
    help: 'Questions that were answered from memory.',
    labels: ['handler'],
    read: ({ counters }) =>
      counters.webhooks.map(({ handler, cacheHits }) => ({ labels: { handler }, value: cacheHits })),
  },
  {
    name: 'tunnelmq_webhook_cache_misses_total',
    type: 'counter',
    help: 'Questions for which nothing was in memory.',
    labels: ['handler'],
    read: ({ counters }) =>
      counters.webhooks.map(({ handler, cacheMisses }) => ({ labels: { handler }, value: cacheMisses })),
  },
  {
    name: 'tunnelmq_webhook_cache_entries',
    type: 'gauge',
    help: 'Answers in memory. Bound: cache.maxEntries, for each listener.',
    labels: ['handler'],
    read: ({ counters }) =>
      counters.webhooks.map(({ handler, cacheEntries }) => ({ labels: { handler }, value: cacheEntries })),
  },
  {
    name: 'tunnelmq_webhook_queued_notifications',
    type: 'gauge',
    help: 'Notifications that wait. Bound: notify.maxQueued, for each listener.',
    labels: ['handler'],
    read: ({ counters }) =>
      counters.webhooks.map(({ handler, queued }) => ({ labels: { handler }, value: queued })),
  },
  {
    name: 'tunnelmq_webhook_notifications_dropped_total',
    type: 'counter',
    help: 'Notifications that were dropped: no room in the queue, or no endpoint took them.',
    labels: ['handler'],
    read: ({ counters }) =>
      counters.webhooks.map(({ handler, dropped }) => ({ labels: { handler }, value: dropped })),
  },
  {
    name: 'tunnelmq_jwks_fetches_total',
    type: 'counter',
    help: 'Fetches of a key set by the handler jwt, by result: ok, failed.',
    labels: ['handler', 'result'],
    read: ({ counters }) =>
      counters.keySets.flatMap(({ handler, fetched, failed }) => [
        { labels: { handler, result: 'ok' }, value: fetched },
        { labels: { handler, result: 'failed' }, value: failed },
      ]),
  },
]
