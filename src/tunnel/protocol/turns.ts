/** A place in {@link Turns}; its owner has one for each line that it can stand in. */
export class Turn<T> {
  readonly owner: T
  line: Turns<T> | undefined
  before: Turn<T> | undefined
  behind: Turn<T> | undefined

  constructor(owner: T) {
    this.owner = owner
  }
}

/** Who is waiting for a turn: a linked list through the waiting ones, so that leaving costs nothing. */
export class Turns<T> {
  #first: Turn<T> | undefined
  #last: Turn<T> | undefined

  get first(): T | undefined {
    return this.#first?.owner
  }

  /** At the end; who waits already, in this line or another, keeps that place. */
  join(turn: Turn<T>): void {
    if (turn.line !== undefined) return
    turn.line = this
    turn.before = this.#last
    if (this.#last === undefined) this.#first = turn
    else this.#last.behind = turn
    this.#last = turn
  }

  static leave<T>(turn: Turn<T>): void {
    if (turn.line !== undefined) turn.line.#remove(turn)
  }

  #remove(turn: Turn<T>): void {
    if (turn.before === undefined) this.#first = turn.behind
    else turn.before.behind = turn.behind
    if (turn.behind === undefined) this.#last = turn.before
    else turn.behind.before = turn.before
    turn.line = turn.before = turn.behind = undefined
  }
}
