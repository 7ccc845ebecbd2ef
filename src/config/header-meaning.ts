import type { ConfigPath, Mistake } from './mistake.ts'

/** What is no HTTP header: Node throws at it, with each request that has it. RFC 9110, 5.1 and 5.5. */
export function checkHeaders(headers: Readonly<Record<string, string>>, path: ConfigPath): Mistake[] {
  const badName = Object.keys(headers).find((name) => !/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name))
  const badValue = Object.entries(headers).find(([, value]) => /[^\t\x20-\x7e\x80-\xff]/.test(value))
  const mistakes: Mistake[] = []
  if (badName !== undefined)
    mistakes.push({ path: [...path, badName], message: 'is not a name of an HTTP header' })
  if (badValue !== undefined)
    mistakes.push({
      path: [...path, badValue[0]],
      message: 'has a character that no HTTP header may have, such as the end of a line',
    })
  return mistakes
}
