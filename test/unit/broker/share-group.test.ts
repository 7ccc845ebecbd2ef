import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BrokerParts, type PartsClient } from '../../support/broker-parts.ts'

const filter = '$share/g/t'

interface World {
  readonly parts: BrokerParts
  readonly members: readonly PartsClient[]
}

/** Members of one group; each is `stored` or `clean`. */
async function group(kinds: readonly ('stored' | 'clean')[], maxInflight = 4): Promise<World> {
  const parts = await BrokerParts.open({ maxInflight })
  const members: PartsClient[] = []
  for (const [index, kind] of kinds.entries()) {
    const member = await parts.connect(`member${index}`, kind === 'clean')
    await member.subscribe(filter, 1)
    members.push(member)
  }
  return { parts, members }
}

function numbers(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => String(index + from))
}

async function publishAll(parts: BrokerParts, texts: readonly string[], qos: 0 | 1 | 2 = 1): Promise<void> {
  await Promise.all(texts.map((text) => parts.publish('t', text, qos)))
  await parts.quiet()
}

/** Payloads and identifiers that a member has got, unacknowledged. */
function taken(member: PartsClient): { payload: string; id: number; dup: boolean }[] {
  return member
    .packets()
    .filter((packet) => packet.cmd === 'publish')
    .map(({ payload, messageId, dup }) => ({ payload: payload.toString(), id: messageId!, dup }))
}

function payloadsOf(member: PartsClient): string[] {
  return taken(member).map(({ payload }) => payload)
}

/** Takes and acknowledges until nothing comes any more. */
async function takeAll({ parts, members }: World): Promise<string[][]> {
  const got: string[][] = members.map(() => [])
  for (let more = true; more;) {
    await parts.quiet()
    const news = members.map((member) =>
      member.connection.phase === 'open' ? member.takeAndAcknowledge() : [],
    )
    news.forEach((payloads, index) => got[index]!.push(...payloads))
    more = news.some((payloads) => payloads.length > 0)
  }
  return got
}

describe('a message to a shared subscription', () => {
  it.each([0, 1] as const)('goes to one member, in turn (QoS %i)', async (qos) => {
    const { parts, members } = await group(['clean', 'stored', 'clean'])
    await publishAll(parts, numbers(6), qos)
    expect(members.map(payloadsOf)).toEqual([
      ['1', '4'],
      ['2', '5'],
      ['3', '6'],
    ])
  })

  it('is at QoS 1 where QoS 2 was published, and at QoS 0 to a member that has asked for that', async () => {
    const { parts, members } = await group(['stored'])
    await publishAll(parts, ['x'], 2)
    expect(members[0]!.received()).toEqual(['publish t=x qos1 #65534'])
    members[0]!.acknowledge('puback', 65_534)
    await members[0]!.subscribe(filter, 0)
    await publishAll(parts, ['y'], 1)
    expect(members[0]!.received()).toEqual(['publish t=y qos0'])
    expect(parts.store.stats().queuedMessages).toBe(0)
  })

  it('waits for a member that subscribes again', async () => {
    const { parts, members } = await group(['stored'], 1)
    await publishAll(parts, ['1', '2'])
    await members[0]!.subscribe(filter, 1)
    expect(await takeAll({ parts, members })).toEqual([['1', '2']])
    members[0]!.lose()
    await publishAll(parts, ['3'])
    // In the store, not in memory only.
    expect(parts.store.groups.get('g/t')!.queuedCount).toBe(1)
  })

  it('goes to the members that have room, while others are full', async () => {
    const { parts, members } = await group(['clean', 'clean'], 2)
    const [idle, busy] = members as [PartsClient, PartsClient]
    await publishAll(parts, numbers(6))
    expect(payloadsOf(idle)).toEqual(['1', '3'])
    const first = taken(busy)
    expect(first.map(({ payload }) => payload)).toEqual(['2', '4'])
    for (const { id } of first) busy.acknowledge('puback', id)
    expect(payloadsOf(busy)).toEqual(['5', '6'])
    expect(payloadsOf(idle)).toEqual([])
  })

  it('at QoS 0 is dropped and counted when no member is there', async () => {
    const { parts, members } = await group(['stored'])
    members[0]!.lose()
    await publishAll(parts, ['x'], 0)
    expect(parts.counters.dropped['not-delivered']).toBe(1)
  })

  it('is not lost with its member: what it has not acknowledged goes to another, in order', async () => {
    for (const kinds of [
      ['clean', 'clean'],
      ['stored', 'stored'],
    ] as const) {
      const { parts, members } = await group(kinds)
      const [leaving, staying] = members as [PartsClient, PartsClient]
      await publishAll(parts, numbers(8))
      const [first] = taken(leaving)
      expect(first!.payload).toBe('1')
      leaving.acknowledge('puback', first!.id)
      const { connection } = staying
      for (const { id } of taken(staying)) staying.acknowledge('puback', id)
      leaving.lose()
      await parts.quiet()
      expect(connection.phase).toBe('open')
      expect(staying.takeAndAcknowledge()).toEqual(['3', '5', '7'])
    }
  })

  it('has an identifier that is no other message of the member has', async () => {
    const { parts, members } = await group(['clean'], 10)
    const [member] = members as [PartsClient]
    await member.subscribe('other', 1)
    await publishAll(parts, numbers(3))
    await Promise.all(numbers(3).map((text) => parts.publish('other', text, 1)))
    await parts.quiet()
    const ids = taken(member).map(({ id }) => id)
    expect(ids).toHaveLength(6)
    expect(new Set(ids).size).toBe(6)
  })
})

describe('the queue of a shared subscription', () => {
  it('is bounded in memory, and counts what it drops', async () => {
    const parts = await BrokerParts.open({ maxInflight: 1, queueMaxMessages: 2 })
    const member = await parts.connect('member', true)
    await member.subscribe(filter, 1)
    await publishAll(parts, numbers(5))
    expect(parts.counters.dropped['queue-full']).toBe(2)
    expect((await takeAll({ parts, members: [member] }))[0]).toEqual(['1', '2', '3'])
  })

  it('waits in the store while nobody is there, longer than what is kept in memory', async () => {
    const { parts, members } = await group(['stored', 'stored'])
    for (const member of members) member.lose()
    await publishAll(parts, numbers(500))
    expect(parts.store.groups.get('g/t')).toMatchObject({ queuedCount: 500 })
    const back = await parts.connect('member1')
    expect((await takeAll({ parts, members: [back] }))[0]).toEqual(numbers(500))
    expect(parts.store.groups.get('g/t')).toMatchObject({ queuedCount: 0 })
  })

  it('is there again after a restart of the broker', async () => {
    const { parts, members } = await group(['stored'])
    await publishAll(parts, numbers(3))
    const [first] = taken(members[0]!)
    members[0]!.acknowledge('puback', first!.id)
    const next = await BrokerParts.open({ store: parts.store })
    await next.sessions.restore(Date.now())
    const back = await next.connect('member0')
    expect((await takeAll({ parts: next, members: [back] }))[0]).toEqual(['2', '3'])
  })

  it('loses nothing when it moves from memory into the store', async () => {
    const { parts, members } = await group(['clean'], 2)
    const [clean] = members as [PartsClient]
    await publishAll(parts, numbers(5))
    const stored = await parts.connect('stored')
    await stored.subscribe(filter, 1)
    await publishAll(parts, numbers(5, 6))
    clean.lose()
    const all = await takeAll({ parts, members: [stored] })
    // What the clean member had been sent and had not acknowledged comes back with the rest.
    expect(all[0]!.toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(10))
  })

  it('stays stored for clean members when those that could come back are gone, and ends with its last member', async () => {
    const world = await group(['stored', 'clean'])
    const { parts, members } = world
    // More than is kept in memory beside the store.
    await publishAll(parts, numbers(500))
    members[0]!.lose()
    await parts.sessions.remove(parts.sessions.get('member0')!)
    await publishAll(parts, ['501'])
    const [, rest] = await takeAll(world)
    expect(rest!.toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(501))
    members[1]!.lose()
    await parts.quiet()
    expect(parts.store.groups.size).toBe(0)
    expect(parts.subscriptions.groupCount).toBe(0)
    expect(parts.subscriptions.match('t')).toEqual([])
    expect(parts.failures).toEqual([])
  })
})

describe('members that come and go', () => {
  const anyStep = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 5 }) }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), which: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('lose' as const), which: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('return' as const), which: fc.nat(2) }) },
  )

  it('get every message, and none of them twice unless a connection was lost before its acknowledgement', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 30, size: 'max' }), async (steps) => {
        const world = await group(['stored', 'stored', 'stored'])
        const { parts } = world
        const members = [...world.members]
        const acknowledged: string[] = []
        let published = 0
        const isOpen = (which: number): boolean => members[which]!.connection.phase === 'open'
        const bringBack = async (which: number): Promise<void> => {
          if (!isOpen(which)) members[which] = await parts.connect(`member${which}`)
        }
        for (const step of steps) {
          if (step.kind === 'publish') {
            await publishAll(parts, numbers(step.count, published + 1))
            published += step.count
          } else if (step.kind === 'acknowledge') {
            if (isOpen(step.which)) acknowledged.push(...members[step.which]!.takeAndAcknowledge())
          } else if (step.kind === 'lose') {
            if (isOpen(step.which)) members[step.which]!.lose()
          } else await bringBack(step.which)
          await parts.quiet()
        }
        for (const which of members.keys()) await bringBack(which)
        const rest = await takeAll({ parts, members })
        expect([...acknowledged, ...rest.flat()].toSorted((a, b) => Number(a) - Number(b))).toEqual(
          numbers(published),
        )
        expect(parts.store.groups.get('g/t')).toMatchObject({ queuedCount: 0 })
      }),
      { numRuns: 60 },
    )
  })
})
