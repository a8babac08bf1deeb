/**
 * Host or join a player-hosted browser game that outlives its host. README.md tells how; {@link Client} is where it begins.
 *
 * @packageDocumentation
 */

export { Client, type ClientOptions, type LobbyOptions } from "./client.js";
export { HostError, SendError, ServiceError, type HostProblem, type SendProblem } from "./errors.js";
export type { Migratability, MigrationTrace, Role, SessionEvent, StateSource } from "./events.js";
export {
  UNRELIABLE_BYTES_MAX,
  type Delivery,
  type Game,
  type Message,
  type Recipient,
  type Restored,
  type RestoredSeat,
  type SavedState,
  type StateChange,
  type Verdict,
  type Visitor,
} from "./game.js";
export { localIdentity, noIdentity, type Identity, type IdentityStore, type SavedSeat } from "./identity.js";
export type { LobbyFilter, LobbyQuery, LobbySettings, LobbySummary } from "./service.js";
export type { Entry, Session } from "./session.js";
export type { LinkStats, Path, SessionStats, StateStats } from "./stats.js";
export type { Generation } from "./protocol/generation.js";
export type { ConnectionId, HostEpoch, LobbyId, ObjectId, PlayerId } from "./protocol/id.js";
export type { Missing } from "./protocol/journal.js";
export type { LobbyView, MemberView } from "./protocol/message.js";
export type { GameObject } from "./protocol/objects.js";
