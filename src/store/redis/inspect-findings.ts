import type { Repair, StoreProblem } from '../inspection.ts'
import type { DirectCommand, DirectRedis } from './direct.ts'

/** A damaged value, which is kept in the hash `aside` before it is removed. */
export interface Damaged {
  readonly name: string
  readonly field: Buffer | string
  /** Undefined: the field says all. */
  readonly value?: Buffer
  /** It is the value of the field of a hash, which is read when it is mended. */
  readonly from?: 'hash'
}

interface Finding extends StoreProblem {
  readonly mend: readonly DirectCommand[]
  readonly damaged: Damaged | undefined
}

/** Problems of a Redis, each with the commands that mend it. */
export interface Findings {
  readonly problems: readonly StoreProblem[]
  add(what: string, repair: Repair, mend?: DirectCommand, damaged?: Damaged, more?: DirectCommand): void
  /** How many there are; `forget` takes those away that came after. */
  mark(): number
  forget(mark: number): void
  /** In order; gives the number of mended problems. */
  mend(): Promise<number>
}

export function findings(redis: DirectRedis): Findings {
  const all: Finding[] = []
  return {
    problems: all,
    add(what, repair, mend, damaged, more) {
      const commands = [mend, more].filter((command) => command !== undefined)
      all.push({ what, repair: commands.length === 0 ? 'none' : repair, mend: commands, damaged })
    },
    mark: () => all.length,
    forget: (mark) => void all.splice(mark),
    async mend() {
      const mendable = all.filter(({ mend }) => mend.length > 0)
      for (const { mend, damaged } of mendable) {
        if (damaged !== undefined) await setAside(redis, damaged)
        await redis.commands(mend)
      }
      return mendable.length
    },
  }
}

async function setAside(redis: DirectRedis, { name, field, value, from }: Damaged): Promise<void> {
  const read = from === 'hash' ? await redis.command('hget', redis.key(name), field) : undefined
  const kept = Buffer.isBuffer(read) ? read : (value ?? Buffer.alloc(0))
  const label = Buffer.concat([Buffer.from(`${name} `), Buffer.from(field)])
  await redis.command('hset', redis.key('aside'), label, kept)
}
