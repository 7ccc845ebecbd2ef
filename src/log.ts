import { pino, type DestinationStream } from 'pino'
import { createRequire } from 'node:module'
import type pinoPretty from 'pino-pretty'
import type { Config } from './config/schema.ts'

/** Bytes of log lines that wait for a reader of standard output that has stalled; more are dropped. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

export interface LogMethod {
  (fields: object, message: string): void
  (message: string): void
}

/** Events with fields: a constant message, the values in the fields. Any pino logger is one. */
export interface Log {
  /** Lowest level that is logged; loggers that were made by `child` follow it. Undefined: it cannot be changed. */
  level?: string
  readonly trace: LogMethod
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  readonly fatal: LogMethod
  /** A logger that adds these fields to each event: one for each connection. */
  child(fields: Record<string, unknown>): Log
  /** Spares the making of fields that nobody will see. */
  isLevelEnabled(level: LogLevel): boolean
  /** Calls back when everything logged so far has been written. */
  flush(done?: (error?: Error) => void): void
}

/** Where secrets could come into a log by way of an object that is logged whole. */
const redactedPaths = ['password', 'passphrase', 'secret', 'token', 'authorization', 'cookie'].flatMap(
  (key) => [key, `*.${key}`, `*.*.${key}`],
)

/** The format that `auto` stands for on this standard output. */
export function resolveLogFormat(format: Config['log']['format'], isTerminal: boolean): 'json' | 'pretty' {
  if (format !== 'auto') return format
  return isTerminal ? 'pretty' : 'json'
}

/** The log of the process, on standard output unless a destination is given. */
export function createLog(config: Config['log'], destination?: DestinationStream): Log {
  const format = resolveLogFormat(config.format, destination === undefined && process.stdout.isTTY)
  return pino(
    {
      level: config.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[secret]' },
      serializers: { err: readableError },
      hooks: { streamWrite: format === 'pretty' ? escapedTwice : escapedOnce },
    },
    format === 'pretty' ? prettyStream(destination) : (destination ?? standardOutput()),
  )
}

/**
 * What JSON leaves as it is, and a terminal does not: C1 controls, which begin escape sequences as ESC does, and
 * marks that turn text around. Clients may have them in their ids and names [MQTT-1.5.3].
 */
// oxlint-disable-next-line no-control-regex -- that is what is looked for
const DECEPTIVE = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** The same JSON, in characters that any terminal may be shown. */
function escapedOnce(line: string): string {
  return line.replace(DECEPTIVE, unicodeEscape)
}

/** For a reader that parses the line, and prints what it finds. */
function escapedTwice(line: string): string {
  return line.replace(DECEPTIVE, (character) => `\\${unicodeEscape(character)}`)
}

/** A handler's error may quote its client, and its stack is printed line by line, not as JSON. */
function readableError(error: Error): unknown {
  const fields: unknown = pino.stdSerializers.err(error)
  if (typeof fields === 'object' && fields !== null && 'stack' in fields && typeof fields.stack === 'string')
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
    fields.stack = fields.stack.replace(/[\u0000-\u0009\u000b-\u001f]/g, unicodeEscape)
  return fields
}

/** Nothing of it is seen: for tests, and for programs that embed the broker without a log. */
export function createSilentLog(): Log {
  // Also when it is given a level.
  return pino({ level: 'silent' }, { write() {} })
}

/** Resolves when everything logged so far has been written, or after `timeoutMs`. */
export function flushLog(log: Log, timeoutMs = 1_000): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs)
    log.flush(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

// Not synchronous: a reader that has stalled (a paused pager, a stuck collector) must not stop the broker.
function standardOutput(): DestinationStream {
  return pino.destination({ dest: 1, sync: false, minLength: 1, maxLength: MAX_WAITING_BYTES })
}

function prettyStream(destination: DestinationStream | undefined): DestinationStream {
  return loadPretty()({
    colorize: destination === undefined && process.stdout.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    sync: true,
    ...(destination === undefined
      ? { destination: 1 }
      : { destination: destination as NodeJS.WritableStream }),
  })
}

// Where nobody reads the log it is not loaded: it is half a hundred files.
function loadPretty(): typeof pinoPretty {
  return createRequire(import.meta.url)('pino-pretty') as typeof pinoPretty
}
