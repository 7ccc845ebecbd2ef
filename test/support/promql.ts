import { parser } from '@prometheus-io/lezer-promql'

export interface Matcher {
  readonly label: string
  readonly op: string
  readonly value: string
}

/** One place in an expression that reads series. */
export interface Selector {
  readonly metric: string
  readonly matchers: readonly Matcher[]
  /** `rate(x[5m])`, and not `x`. */
  readonly isRange: boolean
  /** Functions and aggregations around it, the innermost first. */
  readonly within: readonly string[]
}

export interface Expression {
  readonly selectors: readonly Selector[]
  /** Of `by`, `without`, `on`, `ignoring`, `group_left`. */
  readonly groupingLabels: readonly string[]
  /** Text at each place that is no PromQL. */
  readonly errors: readonly string[]
}

type Node = ReturnType<typeof parser.parse>['topNode']

/** What an expression of PromQL reads and how. Variables of Grafana have to be replaced before. */
export function readPromql(text: string): Expression {
  const textOf = ({ from, to }: Node) => text.slice(from, to)
  const selectors: Selector[] = []
  const groupingLabels: string[] = []
  const errors: string[] = []
  parser.parse(text).iterate({
    enter({ node }) {
      if (node.type.isError) errors.push(`${text.slice(0, node.from)}⚠${text.slice(node.from)}`)
      if (node.name === 'GroupingLabels')
        groupingLabels.push(...node.getChildren('LabelName').map((label) => textOf(label)))
      if (node.name === 'VectorSelector')
        selectors.push({
          metric: textOf(node.getChild('Identifier') ?? node),
          matchers: (node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []).map(
            (matcher) => ({
              label: textOf(matcher.getChild('LabelName') ?? matcher),
              op: textOf(matcher.getChild('MatchOp') ?? matcher),
              value: textOf(matcher.getChild('StringLiteral') ?? matcher).slice(1, -1),
            }),
          ),
          isRange: node.parent?.name === 'MatrixSelector',
          within: callersOf(node).map((name) => textOf(name)),
        })
    },
  })
  return { selectors, groupingLabels, errors }
}

function callersOf(node: Node): Node[] {
  const callers: Node[] = []
  for (let outer = node.parent; outer !== null; outer = outer.parent) {
    const name = outer.getChild('FunctionIdentifier') ?? outer.getChild('AggregateOp')
    if (name !== null) callers.push(name)
  }
  return callers
}
