import type { NumberMetric } from './metric-list.ts'
import { one } from './samples.ts'

/** What the dynamic handler knows. */
export const identityMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_identities',
    type: 'gauge',
    help: 'Identities, groups and roles in the store.',
    labels: ['kind'],
    read(model) {
      const { identities = 0, groups = 0, roles = 0 } = model.identities() ?? {}
      return Object.entries({ identity: identities, group: groups, role: roles }).map(([kind, value]) => ({
        labels: { kind },
        value,
      }))
    },
  },
  {
    name: 'tunnelmq_identity_changes_total',
    type: 'counter',
    help: 'Changes of identities, groups and roles that this pod has taken over, by whichever pod they were made.',
    labels: [],
    read: (model) => one(model.identities()?.changes ?? 0),
  },
  {
    name: 'tunnelmq_identity_unreadable_total',
    type: 'counter',
    help: 'Stored identities, groups and roles that could not be read, and give no rights: damaged, or of a later version.',
    labels: [],
    read: (model) => one(model.identities()?.unreadable ?? 0),
  },
  {
    name: 'tunnelmq_identity_refusals_total',
    type: 'counter',
    help: 'CONNECTs that the dynamic handler has refused: wrong secret, disabled, expired key, client id of another.',
    labels: ['reason'],
    read: (model) =>
      Object.entries(model.identities()?.refused ?? {}).map(([reason, value]) => ({
        labels: { reason },
        value,
      })),
  },
]
