import type {
  Agent,
  AuditEntry,
  Ban,
  BanRequest,
  ClientDetail,
  ClientQuery,
  ClientRef,
  ClientSummary,
  DrainRequest,
  DrainState,
  Explanation,
  Listener,
  LogLevel,
  Overview,
  Page,
  Pod,
  QueueEntry,
  QueueQuery,
  Refusal,
  RetainedMessage,
  RetainedQuery,
  Stream,
  TraceBatch,
  TraceRequest,
  WhyRequest,
} from './api/resources.ts'
import type {
  Group,
  GroupRequest,
  IdentityChange,
  IdentityDetail,
  IdentityKeyMade,
  IdentityKeyRequest,
  IdentityPage,
  IdentityQuery,
  IdentityRequest,
  NameQuery,
  PasswordRequest,
  PasswordSet,
  Role,
  RoleRequest,
} from './api/identity-resources.ts'

type Later<T> = T | Promise<T>

/**
 * Identities, groups and roles, which the store keeps for all pods: any pod answers for all of them. Undefined or false:
 * there is none of that name. `atRevision`: of the record that is to be changed, TMQ_CHANGED if it has another by now;
 * undefined: whatever there is.
 */
export interface IdentityOperations {
  /** By name, ascending (code units); as groups and roles. */
  identities(query: IdentityQuery): Later<IdentityPage>
  identity(name: string): Later<IdentityDetail | undefined>
  /** Rejects with TMQ_EXISTS if there is one of that name. */
  createIdentity(request: IdentityRequest): Promise<IdentityDetail>
  changeIdentity(
    name: string,
    change: IdentityChange,
    atRevision?: number,
  ): Promise<IdentityDetail | undefined>
  deleteIdentity(name: string, atRevision?: number): Promise<boolean>
  setIdentityPassword(
    name: string,
    request: PasswordRequest,
    atRevision?: number,
  ): Promise<PasswordSet | undefined>
  /** False as well if it had none. */
  deleteIdentityPassword(name: string, atRevision?: number): Promise<boolean>
  createIdentityKey(name: string, request: IdentityKeyRequest): Promise<IdentityKeyMade | undefined>
  deleteIdentityKey(name: string, id: string): Promise<boolean>

  groups(query: NameQuery): Later<Page<Group>>
  group(name: string): Later<Group | undefined>
  /** Creates or replaces. */
  putGroup(name: string, request: GroupRequest, atRevision?: number): Promise<Group>
  /** Rejects with TMQ_EXISTS while it has members. */
  deleteGroup(name: string, atRevision?: number): Promise<boolean>
  roles(query: NameQuery): Later<Page<Role>>
  role(name: string): Later<Role | undefined>
  /** Creates or replaces. */
  putRole(name: string, request: RoleRequest, atRevision?: number): Promise<Role>
  /** Rejects with TMQ_EXISTS while an identity or a group has it. */
  deleteRole(name: string, atRevision?: number): Promise<boolean>
}

/**
 * What the API asks of one pod, about this pod. Arguments and results are JSON, because the question may come from
 * another pod (everywhere.ts). Errors are TunnelMQError: TMQ_USAGE is the asker's mistake (400), TMQ_STORE_UNAVAILABLE
 * and TMQ_TIMEOUT are 503, TMQ_EXISTS is 409, TMQ_CHANGED 412, anything else is ours (500). Nothing of it may hold up the data path: long walks are cut
 * into portions, and results have the bounds of their queries.
 */
export interface Operations extends IdentityOperations {
  overview(): Later<Overview>
  /**
   * By client id, ascending (code units), and then mountpoint; offline ones are known to every pod. `after` and `next` are
   * cursors of cursor.ts, so that pages of several pods can be merged.
   */
  clients(query: ClientQuery): Later<Page<ClientSummary>>
  /** Undefined: neither connected here nor stored. */
  client(ref: ClientRef): Later<ClientDetail | undefined>
  /** Wherever it is. False: it has no connection. */
  disconnect(ref: ClientRef): Promise<boolean>
  /** Ends its connection and removes its stored session with everything that waits. False: there was none. */
  removeSession(ref: ClientRef): Promise<boolean>
  /** Of a stored session, oldest first. `after` means the same at every pod, here and for retained messages. */
  queue(ref: ClientRef, query: QueueQuery): Later<Page<QueueEntry> | undefined>

  retained(query: RetainedQuery): Later<Page<RetainedMessage>>
  /** With the whole payload. */
  retainedMessage(topic: string): Later<RetainedMessage | undefined>
  /** Resolves when it is deleted as safely as it was stored. False: there was none. */
  deleteRetained(topic: string): Promise<boolean>

  agents(): Later<Agent[]>
  streams(): Later<Stream[]>
  /** RESET to both ends. False: it is not one of this pod. */
  cutStream(id: string): Later<boolean>

  listeners(): Later<Listener[]>
  /** Shared by pods on one Redis. */
  bans(): Later<Ban[]>
  ban(request: BanRequest): Later<Ban>
  unban(address: string): Later<boolean>
  /** Newest first. */
  refusals(limit: number): Later<Refusal[]>
  pod(): Later<Pod>
  /** Effective, without secrets. */
  config(): Later<unknown>

  logLevel(): Later<LogLevel>
  setLogLevel(level: LogLevel): Later<LogLevel>
  drainState(): Later<DrainState>
  /** No new connections, `/ready` 503, clients sent away spread over time. The process goes on. Idempotent. */
  drain(request: DrainRequest): Later<DrainState>
  /** Accepts again. */
  undrain(): Later<DrainState>

  why(request: WhyRequest): Promise<Explanation>
  startTrace(request: TraceRequest): Later<{ id: string }>
  /** Packets after that number; waits up to `waitMs` for the first. Undefined: there is no such trace any more. */
  readTrace(id: string, after: number, waitMs: number): Promise<TraceBatch | undefined>
  stopTrace(id: string): Later<boolean>
}

/** All that is asked of a pod: the broker's answers, and what the API itself keeps there. */
export interface PodOperations extends Operations {
  /** Newest first. */
  audit(limit: number): Later<AuditEntry[]>
}

export type OperationName = keyof PodOperations

/** `silentMs`: since its last beat. */
export type KnownPod = Pick<Pod, 'id' | 'name' | 'silentMs' | 'connected'>

/** The pods, as the API asks them. */
export interface PodCalls {
  readonly self: string
  /** That live, itself included. */
  pods(): readonly string[]
  /** What is known here of those, without asking them. */
  known(): readonly KnownPod[]
  /**
   * Calls an operation at a pod; arguments and result cross as JSON. Rejects with the pod's own error, with
   * TMQ_TIMEOUT after `admin.podTimeoutMs` (and the wait that a `readTrace` asks for), or TMQ_UNREACHABLE.
   */
  call<Name extends OperationName>(
    pod: string,
    operation: Name,
    ...args: Parameters<PodOperations[Name]>
  ): Promise<Awaited<ReturnType<PodOperations[Name]>>>
}
