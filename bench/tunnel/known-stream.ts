import { createCipheriv } from 'node:crypto'

/**
 * The bytes that all bulk streams carry. Both ends know them, so every byte is compared where it arrives; that is one
 * memcmp of what the cache still holds, where a hash would take more time than the tunnel.
 */

/** A prime: what was lost, doubled or swapped in pieces of any usual size does not look like the right place. */
const PERIOD_BYTES = 1_048_583
/** What one write holds, and the most that one comparison covers. */
export const PIECE_BYTES = 65_536

// Not compressible, the same in each process, and with its beginning again at its end so that each piece is one slice.
const period = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(
  Buffer.alloc(PERIOD_BYTES),
)
const known = Buffer.concat([period, period.subarray(0, PIECE_BYTES)])

/** The piece at this place of the stream. Shared: do not change it. */
export function pieceAt(position: number): Buffer {
  const at = position % PERIOD_BYTES
  return known.subarray(at, at + PIECE_BYTES)
}

/** Whether these are the bytes from this place on. */
export function isRight(position: number, bytes: Buffer): boolean {
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, bytes.length)
    const at = (position + start) % PERIOD_BYTES
    if (known.compare(bytes, start, end, at, at + end - start) !== 0) return false
  }
  return true
}
