import { describe, expect, it } from 'vitest'
import { responseInformation } from '../../../src/broker/terms.ts'

describe('what topics for responses begin with', () => {
  const client = { id: 'c1', username: 'anna' }
  it.each([
    ['replies/{clientId}/', client, 'replies/c1/'],
    ['{username}/{clientId}/{clientId}', client, 'anna/c1/c1'],
    ['replies', client, 'replies'],
    ['', client, undefined],
    ['r/{username}', { id: 'c1', username: undefined }, undefined],
    ['r/{clientId}', { id: 'c1', username: undefined }, 'r/c1'],
    ['r/{username}', { id: 'c1', username: 'a/+/b' }, undefined],
    ['r/{clientId}', { id: 'x'.repeat(99), username: undefined }, undefined],
  ])('%s', (template, who, expected) => {
    expect(responseInformation(template, who, 64)).toBe(expected)
  })
})
