import { expect, it } from 'vitest'
import { asApiError } from '../../../src/admin/api/problem.ts'
import { ErrorCode, TunnelMQError } from '../../../src/errors.ts'

it('tells who has asked what is wrong: their mistake, what passes, and what the log has to say', () => {
  const statusOf = (code: ErrorCode): number => asApiError(new TunnelMQError(code, 'why')).status
  const codes = Object.values(ErrorCode)
  expect(codes.filter((code) => statusOf(code) === 400)).toEqual(['TMQ_USAGE'])
  expect(codes.filter((code) => statusOf(code) === 503)).toEqual([
    'TMQ_LISTEN',
    'TMQ_STORE_UNAVAILABLE',
    'TMQ_LIMIT',
    'TMQ_TIMEOUT',
    'TMQ_STOPPED',
    'TMQ_UNREACHABLE',
  ])
  const busy = new TunnelMQError('TMQ_LISTEN', 'tcp-1883: the port is in use')
  expect(asApiError(busy, ['draining'])).toMatchObject({
    message: 'tcp-1883: the port is in use (draining)',
    code: 'TMQ_LISTEN',
    headers: { 'retry-after': '1' },
  })
  expect(asApiError(new Error('s3cret')).message).not.toContain('s3cret')
})
