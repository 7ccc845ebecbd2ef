import type { Command } from 'commander'
import type { Environment } from '../../config/overrides.ts'
import { parseCount } from '../duration.ts'
import { onApi, printItems, type ApiFlags, type Columns } from './command.ts'
import { sayMore, walkPages } from './pages.ts'

interface ListFlags extends ApiFlags {
  readonly limit?: string
}

/** Adds `list`: all at this path of the API, a line each. */
export function listCommand<Item>(
  command: Command,
  env: Environment,
  { path, columns, none }: { path: string; columns: Columns<Item>; none: string },
): void {
  onApi(
    command
      .command('list')
      .description('list them')
      .option('-n, --limit <count>', 'at most so many; default: 100'),
    env,
    async (api, flags: ListFlags) => {
      const found = await walkPages<Item>(api, path, {}, parseCount('--limit', flags.limit ?? '100'))
      printItems(found?.items ?? [], columns, flags, none)
      if (found !== undefined) sayMore(found)
    },
  )
}
