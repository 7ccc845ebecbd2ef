import type { Explanation } from '../../admin/api/resources.ts'

export type Step = Explanation['steps'][number]
export type Opinion = Step['opinion']

/** One rule or handler, and what it says. */
export function step(by: string, opinion: Opinion, reason?: string, rule?: string): Step {
  return { by, opinion, rule: rule ?? null, reason: reason ?? null, isCached: false }
}

/** It ends the request, whatever others say. */
export function isAgainst({ opinion }: Step): boolean {
  return opinion === 'refused' || opinion === 'failed'
}
