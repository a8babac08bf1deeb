/** What a session tells its game. */

import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, HostEpoch, ObjectId } from "./protocol/id.js";
import type { GivenUp } from "./protocol/hand-over.js";
import type { Missing } from "./protocol/journal.js";
import type { LeaveReason, LossCause, ParkReason } from "./protocol/message.js";

/** What a peer is in its lobby. */
export type Role =
  /** The lobby has no host that this peer could follow. */
  | "waiting"
  /** It follows a host, and is not in its game (yet, or at the moment). */
  | "joining"
  /** It is in the game of its host. */
  | "guest"
  /** It was elected and restores the game. */
  | "becoming"
  /** It runs the game. */
  | "host"
  /** It ran the game, has given its last state, and another member is about to go on from it. If that fails it is host again. */
  | "handing_over";

/** Something that happened, told apart by `kind`. */
export type SessionEvent =
  /** Members, or what is known of them, changed. */
  | { readonly kind: "peers_updated" }
  /** The lobby has lost its host. */
  | { readonly kind: "host_lost"; readonly host: ConnectionId; readonly cause: LossCause }
  /** The lost host is still there: nothing has changed. */
  | { readonly kind: "host_returned"; readonly host: ConnectionId }
  /** A member was elected and restores the game. */
  | { readonly kind: "host_elected"; readonly host: ConnectionId; readonly epoch: HostEpoch }
  /** This peer is in the game of a new host. */
  | { readonly kind: "host_migrated"; readonly host: ConnectionId; readonly epoch: HostEpoch }
  /** This peer is in the game, for the first time or again at the same host. */
  | { readonly kind: "joined_game"; readonly host: ConnectionId; readonly epoch: HostEpoch }
  /** The host's game did not let this peer in. It is asked again after a while. */
  | { readonly kind: "refused_by_host"; readonly host: ConnectionId; readonly reason: string }
  /** The link to the host is down, or nothing is heard on it. */
  | { readonly kind: "disconnected_from_host"; readonly host: ConnectionId }
  /** The host is heard again on the same link: nothing was missed of what is reliable. */
  | { readonly kind: "reconnected_to_host"; readonly host: ConnectionId }
  /** The host said that it leaves. */
  | { readonly kind: "host_shut_down"; readonly host: ConnectionId }
  /** This peer runs the game now. */
  | { readonly kind: "became_host"; readonly epoch: HostEpoch }
  /** This peer was host, or elected, and another one is now. What it did since has no effect. */
  | { readonly kind: "demoted"; readonly epoch: HostEpoch }
  /** A player is in the game for the first time. */
  | { readonly kind: "player_joined"; readonly connection: ConnectionId }
  /** A player gave up its seat, or stayed away for too long. */
  | { readonly kind: "player_left"; readonly connection: ConnectionId; readonly reason: LeaveReason }
  /** A player is away; its seat is kept. */
  | { readonly kind: "player_disconnected"; readonly connection: ConnectionId }
  /** A player is back, with its connection id. */
  | { readonly kind: "player_reconnected"; readonly connection: ConnectionId }
  /** An object is enabled: its owner is back. */
  | { readonly kind: "object_reconnected"; readonly object: ObjectId; readonly owner: ConnectionId }
  /** An object has another owner; `undefined`: the host, whoever that is. */
  | { readonly kind: "authority_changed"; readonly object: ObjectId; readonly owner: ConnectionId | undefined }
  /** A state of this host is durable in the lobby: so many bytes were uploaded for it. */
  | { readonly kind: "snapshot_stored"; readonly generation: Generation; readonly tick: number; readonly bytes: number }
  /** A state of this host could not be stored. The next one is tried at the usual time. */
  | { readonly kind: "snapshot_failed"; readonly generation: Generation; readonly reason: string }
  /** Reliable messages of a member have no effect in the game that goes on, although their sender was told that they were taken. */
  | { readonly kind: "inputs_lost"; readonly who: ConnectionId; readonly numbers: Missing }
  /** This guest heard reliable messages of a host that the game that goes on knows nothing of: it is a little older. */
  | { readonly kind: "taken_back"; readonly numbers: Missing }
  /** This guest will not hear reliable messages that its host had for it: it was away for too long. */
  | { readonly kind: "never_heard"; readonly numbers: Missing }
  /** A migration is over for this peer: what took how long. */
  | { readonly kind: "migrated"; readonly trace: MigrationTrace }
  /** How well the game would survive now the loss of this host. Once a second. */
  | { readonly kind: "migratability"; readonly report: Migratability }
  /** This host begins to hand over. */
  | { readonly kind: "hand_over_begun"; readonly to: ConnectionId }
  /** The hand-over came to nothing: this host goes on, as if it had not begun. */
  | { readonly kind: "hand_over_failed"; readonly to: ConnectionId; readonly why: GivenUp }
  /** Nobody is host for now. */
  | { readonly kind: "parked"; readonly reason: ParkReason }
  /** The event socket to the lobby is down. Play goes on, and it is opened anew. */
  | { readonly kind: "lobby_unreachable" }
  /** The event socket to the lobby is up again. */
  | { readonly kind: "lobby_reachable" }
  /** This peer has no seat any more, or the lobby is closed. The last event of its session. */
  | { readonly kind: "removed" }
  /** Another process, or another session, of the same player took the seat over. The last event of its session. */
  | { readonly kind: "replaced" }
  /** This peer has left as it was asked to. The last event of its session. */
  | { readonly kind: "left" };

/** Where a new host's state came from: held by itself, fetched from the lobby, sent by another member, or there was none. */
export type StateSource = "warm" | "lobby" | "member" | "nothing";

/** One migration, as one peer saw it. All times in milliseconds from the last sign of the old host that this peer had. */
export interface MigrationTrace {
  /** Who was host, if this peer knows. */
  readonly from: ConnectionId | undefined;
  /** Who is now. */
  readonly to: ConnectionId;
  /** At which epoch. */
  readonly epoch: HostEpoch;
  /** The old host handed over. */
  readonly planned: boolean;
  /** This peer was told, or noticed, that the old host is lost. */
  readonly noticedMs: number | undefined;
  /** It was told who is elected. */
  readonly electedMs: number | undefined;
  /** The new host only: it had found the newest state. */
  readonly foundMs: number | undefined;
  /** The new host only: its game had restored it. */
  readonly restoredMs: number | undefined;
  /** It was in the new host's game; the new host: it ran the game. */
  readonly resumedMs: number;
  /** The new host only: where its state came from. */
  readonly source: StateSource | undefined;
  /** The new host only: which state. */
  readonly generation: Generation | undefined;
  /** The new host only: ticks that the old host had announced and that are lost. */
  readonly ticksLost: number;
  /** Reliable messages that were said again, by this peer to the new host, or by the new host to itself. */
  readonly saidAgain: number;
}

/** How well the game would survive the loss of this host, now. */
export interface Migratability {
  /** Who would be elected; `undefined`: nobody could. */
  readonly successor: ConnectionId | undefined;
  /** It holds a state, and goes on from it at once. */
  readonly isWarm: boolean;
  /** How far its state is behind, in ticks that the game has given. Meaningful if it is warm. */
  readonly lagTicks: number;
  /** For how long it has lacked the oldest of them, in milliseconds. */
  readonly lagMs: number;
  /** Since when the newest durable state was given, in milliseconds; `undefined`: nothing is durable yet. */
  readonly durableAgeMs: number | undefined;
  /** What would be lost of the game's time: the lag of a warm successor, else the age of the durable state. */
  readonly predictedLossMs: number | undefined;
  /** How long the game would stand still if this process died; `undefined`: nobody could take over. */
  readonly predictedPauseMs: number | undefined;
}
