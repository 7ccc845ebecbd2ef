import { Command } from 'commander'
import type { Environment } from '../config/overrides.ts'
import { repairLevel } from '../store/embedded/level.ts'
import type { StoreInspector } from '../store/inspection.ts'
import { migrateCommand } from './store-migrate.ts'
import { inspectPlace, type PlaceFlags, placeOf, type StorePlace } from './store-place.ts'
import { printProblems, printQueue, printSessions, printStats, type QueueFlags } from './store-print.ts'

const help = `
The embedded store: the broker must not be running, it has the store to itself. Redis: pods may run, and are not
joined; what they change meanwhile may be shown as it was, or as it is. Repairs need them stopped.

  tunnelmq store stats --path ./data
  tunnelmq store queue pump-7 --config /etc/tunnelmq.yaml --json
  tunnelmq store sessions --redis redis://127.0.0.1:6379/0
  tunnelmq store check --path ./data --repair`

interface StoreFlags extends PlaceFlags, QueueFlags {
  readonly repair?: boolean
}

/** `tunnelmq store`: looks into a store, without being a broker, and moves what is stored. */
export function storeCommand(env: Environment): Command {
  const command = new Command('store').description('look into a store, check it, and move what is stored')
  subcommand(command, 'stats', 'show how much is stored').action(async (flags: StoreFlags) => {
    await withStore(await placeOf(flags, env), async (store) => printStats(await store.inspect(), flags))
  })
  subcommand(command, 'sessions', 'list the sessions').action(async (flags: StoreFlags) => {
    await withStore(await placeOf(flags, env), async (store) => {
      printSessions((await store.inspect()).sessions, flags)
    })
  })
  subcommand(command, 'queue', 'list what waits for a session')
    .argument('<client>', 'client id; with --group, <group>/<filter>')
    .option('--group', 'the queue of a shared subscription')
    .option('--mountpoint <prefix>', "of the client's listener, if it has one")
    .option('-n, --limit <count>', 'at most so many, oldest first', '100')
    .action(async (client: string, flags: StoreFlags) => {
      await withStore(await placeOf(flags, env), (store) => printQueue(store, client, flags))
    })
  subcommand(command, 'check', 'read every key and value; exit code 1 if something is wrong')
    .option('--repair', 'delete what has no owner, set damaged values aside, mend damaged files')
    .action(async (flags: StoreFlags) => check(await placeOf(flags, env), flags))
  return command.addCommand(migrateCommand(env)).addHelpText('after', help)
}

function subcommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('-p, --path <folder>', 'folder of an embedded store')
    .option('-r, --redis <url>', 'redis://host:6379/0 of pods; with Sentinel or TLS files: --config')
    .option('--prefix <prefix>', 'of the keys, with --redis; default: {tunnelmq}:')
    .option('-c, --config <file>', 'configuration file, whose store is used')
    .option('--json', 'print JSON')
}

async function withStore(
  place: StorePlace,
  use: (store: StoreInspector) => Promise<void> | void,
): Promise<void> {
  const store = await inspectPlace(place)
  try {
    await use(store)
  } finally {
    await store.close()
  }
}

async function check(place: StorePlace, flags: StoreFlags): Promise<void> {
  try {
    await withStore(place, (store) => checkValues(store, flags))
  } catch (error) {
    if (place.kind !== 'embedded' || flags.repair !== true || !isDamage(error)) throw error
    process.stderr.write(`${error.message}\nMending the files of ${place.path} ...\n`)
    await repairLevel(place.path)
    await withStore(place, (store) => checkValues(store, flags))
  }
}

async function checkValues(store: StoreInspector, flags: StoreFlags): Promise<void> {
  const found = await store.inspect()
  const mended = flags.repair === true ? await store.repair() : 0
  if (mended < found.problems.length) process.exitCode = 1
  printProblems(found, mended, flags)
}

/** Damage of LevelDB's own files, which it can mend; not a lock, or a folder that is not there. */
function isDamage(error: unknown): error is Error {
  return error instanceof Error && /corrupt|damaged|missing files/i.test(error.message)
}
