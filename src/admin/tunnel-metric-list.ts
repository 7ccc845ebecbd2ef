import { streamEnds, tunnelDropReasons } from '../tunnel/router/counters.ts'
import type { NumberMetric } from './metric-list.ts'
import type { BrokerReadModel, TunnelFigures } from './read-model.ts'
import { byKey, one, type Sample } from './samples.ts'

/** Without tunnels the metrics are there, and say nothing. */
const of =
  (read: (figures: TunnelFigures) => readonly Sample[]): NumberMetric['read'] =>
  (model: BrokerReadModel) => {
    const figures = model.tunnels()
    return figures === undefined ? [] : read(figures)
  }

export const tunnelMetrics: readonly NumberMetric[] = [
  {
    name: 'tunnelmq_tunnel_streams',
    type: 'gauge',
    help: 'Streams that are open or being opened.',
    labels: [],
    read: of(({ streams }) => one(streams)),
  },
  {
    name: 'tunnelmq_tunnel_agents',
    type: 'gauge',
    help: 'Agents that are connected and serve.',
    labels: [],
    read: of(({ agents }) => one(agents)),
  },
  {
    name: 'tunnelmq_tunnel_clients',
    type: 'gauge',
    help: 'Connections that may open streams.',
    labels: [],
    read: of(({ clients }) => one(clients)),
  },
  {
    name: 'tunnelmq_tunnel_shaped_flows',
    type: 'gauge',
    help: 'Directions of streams that wait for their rate (tunnel.bytesPerSecond...).',
    labels: [],
    read: of(({ shaped }) => one(shaped)),
  },
  {
    name: 'tunnelmq_tunnel_streams_opened_total',
    type: 'counter',
    help: 'Streams whose target was reached.',
    labels: [],
    read: of(({ counters }) => one(counters.opened)),
  },
  {
    name: 'tunnelmq_tunnel_streams_refused_total',
    type: 'counter',
    help: 'Streams that were not opened, by reason (docs/tunnel-protocol.md 8.8).',
    labels: ['reason'],
    read: of(({ counters }) => byKey('reason', counters.refused)),
  },
  {
    name: 'tunnelmq_tunnel_streams_ended_total',
    type: 'counter',
    help: `Streams that ended, by reason: ${streamEnds.join(', ')}. In order: closed.`,
    labels: ['reason'],
    read: of(({ counters }) => byKey('reason', counters.ended)),
  },
  {
    name: 'tunnelmq_tunnel_bytes_total',
    type: 'counter',
    help: 'Payload bytes of frames that were passed on: up is from clients, down is from agents.',
    labels: ['direction'],
    read: of(({ counters }) => byKey('direction', counters.bytes)),
  },
  {
    name: 'tunnelmq_tunnel_frames_total',
    type: 'counter',
    help: 'Frames that were passed on.',
    labels: ['direction'],
    read: of(({ counters }) => byKey('direction', counters.frames)),
  },
  {
    name: 'tunnelmq_tunnel_frames_dropped_total',
    type: 'counter',
    help: `Frames that were not passed on, by reason: ${tunnelDropReasons.join(', ')}.`,
    labels: ['reason'],
    read: of(({ counters }) => byKey('reason', counters.dropped)),
  },
]
