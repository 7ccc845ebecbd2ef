import { Command } from 'commander'
import type { Environment } from '../config/overrides.ts'
import { ErrorCode, TunnelMQError } from '../errors.ts'
import { migrate, type MovedCounts } from '../store/migration/migrate.ts'
import { openSource, openTarget, parsePlace, type StorePlace } from './store-place.ts'
import { printCounts, type PrintFlags } from './store-print.ts'

const help = `
A store is a folder, redis://[user:password@]host:6379/0, config:FILE (the store of that configuration, for
Sentinel, TLS, and passwords that are not to stand in a command line), or, to copy from,
aedes+redis://host:6379/0: the data of aedes-persistence-redis 12.

No broker may use either of them meanwhile. Nothing changes at the source. The target is read back and compared;
when it is cut short, no broker starts on the target until it was run again to its end.

  tunnelmq store migrate --from /var/lib/tunnelmq --to redis://redis:6379/0
  tunnelmq store migrate --from config:/etc/tunnelmq/pods.yaml --to ./data
  tunnelmq store migrate --from aedes+redis://redis:6379/0 --to redis://redis:6379/1`

interface MigrateFlags extends PrintFlags {
  readonly from: string
  readonly to: string
  readonly fromPrefix?: string
  readonly toPrefix?: string
  readonly merge?: boolean
}

/** `tunnelmq store migrate`: sessions, queues, retained messages, wills and identities, from one store into another. */
export function migrateCommand(env: Environment): Command {
  return new Command('migrate')
    .description('copy everything from one store into another, and from aedes-persistence-redis')
    .requiredOption('--from <store>', 'what is read')
    .requiredOption('--to <store>', 'what is filled')
    .option('--from-prefix <prefix>', 'of the keys in the Redis that is read')
    .option('--to-prefix <prefix>', 'of the keys in the Redis that is filled; default: {tunnelmq}:')
    .option(
      '--merge',
      'into a store that holds something: what is there under the same name is left as it is',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action(async (flags: MigrateFlags) => run(flags, env))
}

async function run(flags: MigrateFlags, env: Environment): Promise<void> {
  const from = await parsePlace(flags.from, flags.fromPrefix, env)
  const to = await parsePlace(flags.to, flags.toPrefix, env)
  if (isSame(from, to)) throw new TunnelMQError(ErrorCode.usage, '--from and --to are the same store')
  const { session, limits } = to.config
  const source = await openSource(from, session.expiryMs)
  try {
    const target = await openTarget(to)
    try {
      process.stderr.write(`From ${source.name} to ${target.name}\n`)
      const counts = await migrate(source, target, {
        merge: flags.merge === true,
        expiryMs: session.expiryMs,
        maxInflight: limits.maxInflight,
        nowMs: Date.now(),
        onProgress: (so) => process.stderr.write(`${progress(so)} ...\n`),
      })
      printCounts({ ...counts }, flags)
      process.stderr.write('Read back, and the same.\n')
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

function progress({ sessions, queuedMessages, retainedMessages }: MovedCounts): string {
  return `${sessions} sessions, ${queuedMessages} queued, ${retainedMessages} retained`
}

function isSame(from: StorePlace, to: StorePlace): boolean {
  if (from.kind === 'embedded') return to.kind === 'embedded' && from.path === to.path
  return to.kind === from.kind && JSON.stringify(from.redis) === JSON.stringify(to.redis)
}
