import type { Seat } from './contract.ts'

/** Its field in the hash of its pod. No part of it has U+0000 [MQTT-1.5.3-2], so keys cannot collide. */
export function seatKeyOf({ role, mountpoint, name }: Seat): string {
  return `${role}\0${mountpoint}\0${name}`
}

export function encodeSeat(seat: Seat): string {
  const { mountpoint, name, role, username, address, port, isBroker } = seat
  return JSON.stringify({ mountpoint, name, role, username, address, port, isBroker })
}

/** Undefined for anything that {@link encodeSeat} would not have written. */
export function decodeSeat(json: string): Seat | undefined {
  const fields = parseObject(json)
  if (fields === undefined) return undefined
  const { mountpoint, name, role, username, address, port, isBroker } = fields
  const isSound =
    typeof mountpoint === 'string' &&
    typeof name === 'string' &&
    (role === 'serve' || role === 'answers') &&
    (username === undefined || typeof username === 'string') &&
    typeof address === 'string' &&
    typeof port === 'number' &&
    Number.isInteger(port) &&
    port >= 0 &&
    port <= 0xff_ff &&
    typeof isBroker === 'boolean'
  return isSound ? { mountpoint, name, role, username, address, port, isBroker } : undefined
}

function parseObject(json: string): Partial<Record<keyof Seat, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}
