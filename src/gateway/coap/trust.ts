/** How far the address that a request comes from is believed. */
export interface Trust {
  /** Of the answer. Infinity: the address is true. */
  readonly maxBytes: number
  /** Who needs more may be asked to show that the address is true. */
  readonly mayProve: boolean
}

/** The address may be forged, and this is not for anybody: {@link Trust.mayProve}. */
export class Unproven extends Error {}
