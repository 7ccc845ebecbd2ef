import { readdirSync, readFileSync } from 'node:fs'
import type { Role, TunnelProcess } from './plan.ts'

/** The process and what it has started: sshd works in children, one for each connection. */
export function withDescendants(role: Role, pid: number | undefined): readonly TunnelProcess[] {
  if (pid === undefined) return []
  const parents = parentsOfAll()
  const family = new Set([pid])
  // A child has a higher pid than its parent, or comes in a later pass.
  for (let size = 0; size !== family.size;) {
    size = family.size
    for (const [child, parent] of parents) if (family.has(parent)) family.add(child)
  }
  return [...family].map((member) => ({ role, pid: member }))
}

function parentsOfAll(): readonly (readonly [pid: number, parent: number])[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        const parent = parentOf(name)
        return parent === undefined ? [] : [[Number(name), parent] as const]
      })
  } catch {
    return [] // no /proc on this system
  }
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command in parentheses may hold blanks; behind it come the state and the parent.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined // ended meanwhile
  }
}
