declare module 'aedes-persistence-redis' {
  /** Options of ioredis. */
  export default function createPersistence(options: {
    readonly host: string
    readonly port?: number
  }): unknown
}
