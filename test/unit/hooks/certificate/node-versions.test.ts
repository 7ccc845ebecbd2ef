import { expect, it } from 'vitest'
import { tellsIntermediates } from '../../../../src/hooks/certificate/revocation.ts'

it('knows the versions of Node that do not tell what clients send', () => {
  expect(['24.21.0', '26.8.0', '26.9.1'].map(tellsIntermediates)).toEqual([false, false, false])
  expect(['20.20.2', '22.21.0', '24.20.0', '24.22.0', '26.7.0', '26.10.0'].every(tellsIntermediates)).toBe(
    true,
  )
})
