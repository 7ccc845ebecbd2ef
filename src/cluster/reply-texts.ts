import type { ScriptReply } from '../store/redis/contract.ts'

/** Members of a set, or keys. */
export function decodeTexts(reply: ScriptReply): string[] {
  return Array.isArray(reply) ? reply.map(String) : []
}

/** Fields of a hash. */
export function decodePairs(reply: ScriptReply): Map<string, string> {
  const texts = decodeTexts(reply)
  const pairs = new Map<string, string>()
  for (let at = 0; at + 1 < texts.length; at += 2) pairs.set(texts[at] ?? '', texts[at + 1] ?? '')
  return pairs
}
