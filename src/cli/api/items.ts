import type { ApiClient } from './client.ts'

/** A list that has no pages. */
export async function itemsOf<Item>(
  api: ApiClient,
  path: string,
  query: Readonly<Record<string, string | number | undefined>> = {},
): Promise<readonly Item[]> {
  const answer = await api.ask<readonly Item[] | { readonly items: readonly Item[] }>('GET', path, { query })
  return 'items' in answer ? answer.items : answer
}
