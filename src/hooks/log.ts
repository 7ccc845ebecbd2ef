/** What handlers need of a log; a pino logger is one. */
export interface HandlerLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
