declare module 'aedes-persistence/abstract.js' {
  /** Aedes' own suite for persistences; it takes `test` of node:test, or what looks like it. */
  export default function abstractPersistence(options: {
    test: typeof import('./node-test-bridge.ts').nodeTest
    persistence(): Promise<object>
    testAsync: true
  }): void
}
