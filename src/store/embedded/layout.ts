import { ErrorCode, TunnelMQError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { versionKey } from './keys.ts'
import type { Level } from './level.ts'

/**
 * What `m version` says. A program refuses a layout that is later than its own as a whole: it would take what it does not
 * know for damaged, and set it aside. So it is raised with every change that the programs before it cannot read.
 *
 *   1  before MQTT 5
 *   2  session expiry intervals, delays of wills, properties of MQTT 5
 */
export const LAYOUT = 2
/** Those from here on are read as they are; the broker that opens one raises it. */
const OLDEST_LAYOUT = 1
/** In its place while `tunnelmq store migrate` fills the store. */
export const UNFINISHED = Buffer.from('migrating')

/** Throws TMQ_STORE, and changes nothing, when it is one that this program does not read. */
export async function readLayout(level: Level, path: string): Promise<number | 'missing' | 'unfinished'> {
  const value = await level.get(versionKey)
  if (value === undefined) return 'missing'
  if (value.equals(UNFINISHED)) return 'unfinished'
  const layout = value.length === 1 ? (value[0] ?? 0) : Number.NaN
  if (layout >= OLDEST_LAYOUT && layout <= LAYOUT) return layout
  const name = Number.isNaN(layout) ? value.toString('hex') : layout
  throw new TunnelMQError(
    ErrorCode.store,
    `The store ${path} has layout ${name}, and this TunnelMQ reads ${OLDEST_LAYOUT} to ${LAYOUT}: use the version that wrote it, or a later one. Nothing was changed`,
  )
}

/** To be read: throws TMQ_STORE when it is not a finished store that this program reads. */
export async function checkLayout(level: Level, path: string): Promise<number | 'missing'> {
  const layout = await readLayout(level, path)
  if (layout === 'unfinished') {
    throw new TunnelMQError(
      ErrorCode.store,
      `The migration into ${path} is not finished: run \`tunnelmq store migrate\` again, or delete the folder`,
    )
  }
  if (layout !== 'missing') return layout
  const all = { from: Buffer.of(0), before: Buffer.of(0xff) }
  for await (const _ of level.scan(all, { maxCount: 1, maxBytes: 1 })) {
    throw new TunnelMQError(ErrorCode.store, `${path} holds a LevelDB that is not a TunnelMQ store`)
  }
  return layout
}

/** To be written: as {@link checkLayout}, and marks a new store as ours, and an older one as read by this program on. */
export async function takeLayout(level: Level, path: string, log?: Log): Promise<void> {
  const layout = await checkLayout(level, path)
  if (layout === LAYOUT) return
  const batch = level.begin()
  batch.put(versionKey, Buffer.of(LAYOUT))
  await batch.write(true)
  if (layout !== 'missing')
    log?.warn(
      { path, from: layout, to: LAYOUT },
      'store raised to a later layout: earlier versions refuse it',
    )
}
