/** What the endpoints need of a log: a constant message, the values in the fields. A pino logger is one. */
export interface TunnelLog {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Nothing of it is seen. */
export const silentLog: TunnelLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}
