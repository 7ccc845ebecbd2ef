import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Outbound } from '../../../../src/tunnel/link/outbound.ts'
import type { Wire } from '../../../../src/tunnel/link/wire.ts'

function setUp(): { outbound: Outbound; writes: string[]; wire: Wire & { pendingBytes: number } } {
  const writes: string[] = []
  const wire = {
    pendingBytes: 0,
    write: (chunks: readonly Buffer[]) => void writes.push(chunks.join('+')),
    end() {},
    destroy() {},
  }
  return { outbound: new Outbound(wire), writes, wire }
}

const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

describe('what is written to a connection', () => {
  it('leaves in one write for what one callback wrote, as soon as that is over', async () => {
    const { outbound, writes } = setUp()
    outbound.write(Buffer.from('a'))
    outbound.write(Buffer.from('b'))
    expect(writes).toEqual([])
    await tick()
    expect(writes).toEqual(['a+b'])
  })

  it('waits for the end of the turn when something has left in it before', async () => {
    const { outbound, writes } = setUp()
    outbound.write(Buffer.from('a'))
    await tick()
    outbound.write(Buffer.from('b'))
    await tick()
    outbound.write(Buffer.from('c'))
    await tick()
    expect(writes).toEqual(['a'])
    await turn()
    expect(writes).toEqual(['a', 'b+c'])
  })

  it('leaves at once again in a later turn', async () => {
    const { outbound, writes } = setUp()
    outbound.write(Buffer.from('a'))
    await turn()
    await turn()
    outbound.write(Buffer.from('b'))
    await tick()
    expect(writes).toEqual(['a', 'b'])
  })

  it('is counted from its writing until the system has taken it', async () => {
    const { outbound, wire } = setUp()
    wire.pendingBytes = 10
    outbound.write(Buffer.alloc(5))
    expect(outbound.pendingBytes).toBe(15)
    await tick()
    expect(outbound.pendingBytes).toBe(10)
  })
})
