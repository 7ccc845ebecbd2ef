import { lineError } from '../rights-file.ts'

/**
 * SHA-256 fingerprints, one a line, as `openssl x509 -fingerprint -sha256` prints them or without colons; what follows
 * a blank is a remark, as are lines that begin with `#`.
 */
export function parseFingerprints(text: string, file: string): ReadonlySet<string> {
  const fingerprints = new Set<string>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const [word = ''] = line.replace(/^sha256 fingerprint\s*=\s*/i, '').split(/\s/)
    const hex = word.replaceAll(':', '').toLowerCase()
    if (!/^[0-9a-f]{64}$/.test(hex))
      throw lineError(file, index + 1, 'is not a SHA-256 fingerprint: 64 hex digits, with or without colons')
    fingerprints.add(hex)
  }
  return fingerprints
}
