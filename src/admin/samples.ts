/** A value with its labels. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export const one = (value: number): readonly Sample[] => [{ labels: {}, value }]

export const byKey = (label: string, counts: Readonly<Record<string, number>>): readonly Sample[] =>
  Object.entries(counts).map(([key, value]) => ({ labels: { [label]: key }, value }))
