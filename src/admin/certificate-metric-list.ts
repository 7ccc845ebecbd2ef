import { revocationRefusals, type RevocationListFigures } from '../counters.ts'
import type { NumberMetric } from './metric-list.ts'
import type { BrokerReadModel } from './read-model.ts'
import { byKey, one, type Sample } from './samples.ts'

const listsOf = ({ counters }: BrokerReadModel): readonly RevocationListFigures[] =>
  [...counters.revocation.lists].flatMap((read) => read())

/** Nothing where there is no list: an age of 0 would be a lie. */
const ofLists =
  (value: (lists: readonly RevocationListFigures[]) => number): NumberMetric['read'] =>
  (model): readonly Sample[] => {
    const result = value(listsOf(model))
    return Number.isFinite(result) ? one(result) : []
  }

/** Of the certificate handlers, all listeners together. */
export const certificateMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_certificates_refused_total',
    type: 'counter',
    help: `Connections whose client certificate does not count, by why: ${revocationRefusals.join(', ')}.`,
    labels: ['reason'],
    read: (model) => byKey('reason', model.counters.revocation.refused),
  },
  {
    name: 'tunnelmq_crl_entries',
    type: 'gauge',
    help: 'Revoked certificates of all revocation lists in memory.',
    labels: [],
    read: ofLists((lists) => lists.reduce((sum, { entries }) => sum + entries, 0)),
  },
  {
    name: 'tunnelmq_crl_age_seconds',
    type: 'gauge',
    help: 'Time since the oldest revocation list in memory was issued.',
    labels: [],
    read: ofLists(
      (lists) => (Date.now() - Math.min(...lists.map(({ thisUpdateMs }) => thisUpdateMs))) / 1_000,
    ),
  },
  {
    name: 'tunnelmq_crl_next_update_timestamp_seconds',
    type: 'gauge',
    help: 'Unix time at which the first of the revocation lists in memory goes out of date.',
    labels: [],
    read: ofLists((lists) => Math.min(...lists.map(({ nextUpdateMs = Infinity }) => nextUpdateMs)) / 1_000),
  },
  {
    name: 'tunnelmq_crl_fetches_total',
    type: 'counter',
    help: 'Revocation lists asked for over HTTP.',
    labels: [],
    read: (model) => one(model.counters.revocation.crlFetches),
  },
  {
    name: 'tunnelmq_crl_fetch_failures_total',
    type: 'counter',
    help: 'Revocation lists that could not be fetched, or were not to be believed.',
    labels: [],
    read: (model) => one(model.counters.revocation.crlFetchFailures),
  },
  {
    name: 'tunnelmq_ocsp_requests_total',
    type: 'counter',
    help: 'Questions to OCSP responders.',
    labels: [],
    read: (model) => one(model.counters.revocation.ocspRequests),
  },
  {
    name: 'tunnelmq_ocsp_failures_total',
    type: 'counter',
    help: 'Certificates about which no OCSP responder gave an answer that counts.',
    labels: [],
    read: (model) => one(model.counters.revocation.ocspFailures),
  },
  {
    name: 'tunnelmq_ocsp_cache_hits_total',
    type: 'counter',
    help: 'Connections decided by OCSP answers that were kept.',
    labels: [],
    read: (model) => one(model.counters.revocation.ocspCacheHits),
  },
]
