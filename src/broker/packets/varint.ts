// Variable byte integers (MQTT 3.1.1, 2.2.3; MQTT 5, 1.5.5): lengths, and identifiers of subscriptions.

/** Bytes that it takes. */
export function varintBytes(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4
}

/** Returns the offset behind it. */
export function writeVarint(target: Buffer, offset: number, value: number): number {
  while (value > 127) {
    target[offset++] = (value & 127) | 128
    value >>>= 7
  }
  target[offset++] = value
  return offset
}
