/** Time that passes only while the link takes frames. docs/tunnel-protocol.md 7.3 */
export class LinkClock {
  #lostMs = 0
  #stoppedAtMs: number | undefined = 0

  get isRunning(): boolean {
    return this.#stoppedAtMs === undefined
  }

  at(nowMs: number): number {
    return (this.#stoppedAtMs ?? nowMs) - this.#lostMs
  }

  stop(nowMs: number): void {
    this.#stoppedAtMs ??= nowMs
  }

  start(nowMs: number): void {
    if (this.#stoppedAtMs === undefined) return
    this.#lostMs += nowMs - this.#stoppedAtMs
    this.#stoppedAtMs = undefined
  }
}
