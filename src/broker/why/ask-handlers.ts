import { tunnelRight } from '../../hooks/tunnel-right.ts'
import {
  noOpinion,
  type ExplainQuestion,
  type Handler,
  type PublishRequest,
  type RuleExplanation,
  type Session,
  type SubscribeRequest,
  type TunnelRequest,
  type Verdict,
} from '../../hooks/types.ts'
import { refusedBy } from '../../hooks/decision.ts'
import { step, type Opinion, type Step } from './step.ts'

/** A request as its auth method gets it; handlers may rewrite it. */
export type Asking =
  | { readonly action: 'publish'; readonly request: PublishRequest }
  | { readonly action: 'subscribe'; readonly request: SubscribeRequest }
  | { readonly action: 'serve' | 'open'; readonly request: TunnelRequest }

export interface HandlersQuestion {
  readonly handlers: readonly { readonly name: string; readonly handler: Handler }[]
  readonly session: Session
  /** For all of them. */
  readonly timeoutMs: number
  /** Looks at what one that allows has rewritten: says what is wrong. */
  readonly fault?: () => string | undefined
}

/** Of texts that come from handlers. */
const MAX_TEXT_CHARACTERS = 1_000

const NOT_ASKED = 'somebody before it has decided'
const METHOD = {
  publish: 'authPublish',
  subscribe: 'authSubscribe',
  serve: 'authTunnel',
  open: 'authTunnel',
} as const

/**
 * Each handler in turn, as the chain asks them (hooks/chain.ts), until one decides. Past the guard: nothing is
 * counted, nobody is told, and no slot is taken.
 */
export async function askHandlers(asking: Asking, question: HandlersQuestion): Promise<Step[]> {
  const { handlers, session, fault } = question
  const untilMs = performance.now() + question.timeoutMs
  const steps: Step[] = []
  let isDecided = false
  let isAsked = false
  for (const { name, handler } of handlers) {
    const call = callOf(handler, asking, session)
    if (call === undefined) {
      steps.push(step(name, 'none', `it has no ${METHOD[asking.action]}`))
      continue
    }
    isAsked = true
    if (isDecided) {
      steps.push(step(name, 'not asked', NOT_ASKED))
      continue
    }
    const said = explain(handler, session, questionOf(handler, asking))
    const answer = await answerOf(call, name, untilMs)
    const refused = asking.action === 'subscribe' ? asking.request.refused : undefined
    if (answer.opinion === 'allowed' && refused)
      Object.assign(answer, { opinion: 'refused', reason: textOf(refused) })
    const wrong = answer.opinion === 'allowed' ? fault?.() : undefined
    if (wrong !== undefined) Object.assign(answer, { opinion: 'failed', reason: wrong })
    isDecided = answer.opinion !== 'none'
    steps.push({
      by: name,
      opinion: answer.opinion,
      rule: said?.rule ?? null,
      reason: said?.reason ?? answer.reason ?? null,
      isCached: said?.isCached ?? false,
    })
  }
  if (!isAsked)
    steps.push(step('chain', 'allowed', `no handler has ${METHOD[asking.action]}: every client may`))
  else if (!isDecided) steps.push(step('chain', 'refused', 'no handler has an opinion'))
  return steps
}

/** No password is known, so authConnect is not asked; handlers explain what they will look at. */
export function explainConnect({ handlers, session }: Omit<HandlersQuestion, 'timeoutMs'>): Step[] {
  const steps: Step[] = []
  let isDecided = false
  let mayDecide = false
  for (const { name, handler } of handlers) {
    if (handler.authConnect === undefined) {
      steps.push(step(name, 'none', 'it has no authConnect'))
      continue
    }
    const said: RuleExplanation | undefined = isDecided
      ? undefined
      : explain(handler, session, { action: 'connect' })
    const opinion: Opinion = said?.opinion ?? 'not asked'
    const reason = isDecided ? NOT_ASKED : (said?.reason ?? 'it decides when the client connects')
    steps.push({ ...step(name, opinion, reason, said?.rule), isCached: said?.isCached ?? false })
    // One that is not asked may decide, or leave it to those after it.
    mayDecide ||= opinion === 'not asked'
    isDecided ||= opinion === 'allowed' || opinion === 'refused'
  }
  if (!isDecided && !mayDecide) steps.push(step('chain', 'refused', 'no handler has an opinion'))
  return steps
}

function callOf(handler: Handler, asking: Asking, session: Session): (() => Verdict) | undefined {
  switch (asking.action) {
    case 'publish':
      return handler.authPublish && (() => handler.authPublish!(session, asking.request))
    case 'subscribe':
      return handler.authSubscribe && (() => handler.authSubscribe!(session, [asking.request]))
    case 'serve':
    case 'open': {
      const right = tunnelRight(handler, asking.action)
      return right && (() => right(session, asking.request))
    }
    default:
      return asking satisfies never
  }
}

/** One without authTunnel is asked for the topic (tunnel-right.ts), and explains that. */
function questionOf(handler: Handler, asking: Asking): ExplainQuestion {
  const { topic } = asking.request
  switch (asking.action) {
    case 'publish':
      return { action: 'publish', topic, qos: asking.request.qos, retain: asking.request.retain }
    case 'subscribe': {
      const { qos, shareGroup } = asking.request
      return { action: 'subscribe', topic, qos, ...(shareGroup !== undefined && { shareGroup }) }
    }
    case 'serve':
    case 'open':
      if (handler.authTunnel !== undefined) return asking.request
      return asking.action === 'serve'
        ? { action: 'subscribe', topic, qos: 0 }
        : { action: 'publish', topic, qos: 0, retain: false }
    default:
      return asking satisfies never
  }
}

interface Answer {
  opinion: Opinion
  reason?: string
}

async function answerOf(call: () => Verdict, name: string, untilMs: number): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), Math.max(0, untilMs - performance.now()))
  })
  try {
    const verdict: unknown = await Promise.race([call(), late])
    if (verdict === undefined) return { opinion: 'allowed' }
    if (verdict === noOpinion) return { opinion: 'none' }
    if (verdict === 'late') return { opinion: 'failed', reason: 'it did not answer in time' }
    return { opinion: 'failed', reason: 'it returned neither nothing nor noOpinion' }
  } catch (error) {
    const { cause, reason } = refusedBy(name, error)
    if (cause === undefined) return { opinion: 'refused', reason: textOf(reason) }
    return {
      opinion: 'failed',
      reason: `it failed: ${textOf(error instanceof Error ? error.message : cause)}`,
    }
  } finally {
    clearTimeout(timer)
  }
}

/** A user's own, perhaps: nothing that it does wrong matters. */
function explain(handler: Handler, session: Session, question: ExplainQuestion): RuleExplanation | undefined {
  let said: unknown
  try {
    said = handler.explain?.(session, question)
  } catch {
    return undefined
  }
  if (typeof said !== 'object' || said === null) return undefined
  if (said instanceof Promise) {
    said.catch(() => undefined)
    return undefined
  }
  try {
    const { rule, reason, isCached, opinion } = said as RuleExplanation
    return {
      ...(typeof rule === 'string' && { rule: textOf(rule) }),
      ...(typeof reason === 'string' && { reason: textOf(reason) }),
      ...(isCached === true && { isCached }),
      ...((opinion === 'allowed' || opinion === 'refused' || opinion === 'none') && { opinion }),
    }
  } catch {
    return undefined
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT_CHARACTERS) : 'refused'
}
