import type { Page } from '../../admin/api/resources.ts'
import type { ApiClient } from './client.ts'

/** The API gives at most so many at once. */
const MAX_PAGE = 1_000

export interface Walked<Item> {
  readonly items: readonly Item[]
  /** There are more than were asked for. */
  readonly hasMore: boolean
  readonly total: number | null
}

/** Walks the pages of a list until there are `limit` items. Undefined: 404. */
export async function walkPages<Item>(
  api: ApiClient,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  limit: number,
): Promise<Walked<Item> | undefined> {
  const items: Item[] = []
  let after: string | undefined
  for (;;) {
    const asked = { ...query, after, limit: Math.min(MAX_PAGE, limit - items.length) }
    const page = await api.find<Page<Item>>(path, { query: asked })
    if (page === undefined) return undefined
    items.push(...page.items)
    const hasMore = page.next !== null
    if (!hasMore || items.length >= limit) return { items, hasMore, total: page.total }
    after = page.next ?? undefined
  }
}

/** Beside the output, so that a pipe does not see it. */
export function sayMore({ items, hasMore, total }: Walked<unknown>): void {
  if (!hasMore) return
  const of = total === null ? '' : ` of ${total}`
  process.stderr.write(`these are ${items.length}${of}; there are more: --limit\n`)
}
