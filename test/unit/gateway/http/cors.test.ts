import type { IncomingMessage, ServerResponse } from 'node:http'
import { expect, it } from 'vitest'
import { createCors } from '../../../../src/gateway/http/cors.ts'

function allow(
  allowed: readonly string[],
  headers: Record<string, string>,
): [boolean, Record<string, string>] {
  const set: Record<string, string> = {}
  const note = (name: string, value: string): void => void (set[name] = value)
  const response = { setHeader: note, appendHeader: note }
  const cors = createCors(allowed)
  return [cors.allow({ headers } as IncomingMessage, response as unknown as ServerResponse), set]
}

it('any origin may where the list says so, and never with credentials of browsers', () => {
  const origin = 'https://any.example'
  expect(allow(['*'], { origin })).toEqual([true, { Vary: 'Origin', 'Access-Control-Allow-Origin': '*' }])
})

it('an empty list sets no header at all', () => {
  expect(allow([], {})).toEqual([true, {}])
  expect(allow([], { origin: 'https://any.example', host: 'broker:80' })).toEqual([false, {}])
  expect(allow([], { origin: 'http://broker:81', host: 'Broker:81' })).toEqual([true, {}])
})
