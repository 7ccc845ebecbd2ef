import type { PodFigures } from './contract.ts'

/** Figures of a pod as JSON, in the hash `podinfo`. */
export function encodeFigures(figures: PodFigures): string {
  return JSON.stringify(figures)
}

const COUNTS = [
  'connected',
  'connectedClean',
  'packetsReceived',
  'packetsSent',
  'publishReceived',
  'publishSent',
  'publishDropped',
  'bytesReceived',
  'bytesSent',
  'connectionsAccepted',
] as const satisfies readonly (keyof PodFigures)[]

/** Undefined for anything that {@link encodeFigures} would not have written. */
export function decodeFigures(text: string): PodFigures | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const fields = value as Record<string, unknown>
  const { name } = fields
  if (typeof name !== 'string') return undefined
  const counts: Record<string, number> = {}
  for (const key of COUNTS) {
    const count = fields[key]
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) return undefined
    counts[key] = count
  }
  return { name, ...(counts as Omit<PodFigures, 'name'>) }
}
