/** What one look has shown. */
export interface Finding {
  /** Of what kind it is: `tls`, `redis`. */
  readonly check: string
  readonly state: FindingState
  /** What was seen, in one line. */
  readonly seen: string
  /** What to do about it; null where there is nothing. */
  readonly todo: string | null
}

/** `skipped`: it could not be looked at, or there is nothing to look at, which `seen` says. */
export type FindingState = 'ok' | 'warn' | 'fail' | 'skipped'

/** Makes the findings of one check. */
export interface Findings {
  readonly ok: (seen: string) => Finding
  readonly warn: (seen: string, todo: string) => Finding
  readonly fail: (seen: string, todo: string) => Finding
  readonly skipped: (seen: string) => Finding
}

export function findingsOf(check: string): Findings {
  return {
    ok: (seen) => ({ check, state: 'ok', seen, todo: null }),
    warn: (seen, todo) => ({ check, state: 'warn', seen, todo }),
    fail: (seen, todo) => ({ check, state: 'fail', seen, todo }),
    skipped: (seen) => ({ check, state: 'skipped', seen, todo: null }),
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The middle one; of none, 0. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

/** `0.42 ms`, `9.8 ms`, `120 ms` */
export function msText(ms: number): string {
  return `${ms < 1 ? ms.toFixed(2) : ms < 20 ? ms.toFixed(1) : Math.round(ms)} ms`
}

/** `12 MiB` */
export function mebibytes(bytes: number): string {
  const value = bytes / 1_048_576
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} MiB`
}
