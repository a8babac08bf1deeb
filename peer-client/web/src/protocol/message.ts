/*
 * What travels on the lobby's event socket, both ways, as JSON; and the lobby as its members see it. Field names as on the wire; what
 * may be absent there is optional here. `message.rs` says what each of them means.
 */

import type { ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId, Timestamp } from "./id.js";
import type { Signal } from "./signal.js";

/** A value of a lobby's or a member's data. */
export interface DataValue {
  readonly value: string;
  /** Who sees it; `member` if it is absent. */
  readonly visibility?: "public" | "member" | "private";
  /** What lobbies are found by it: `s1` to `s5`, `n1` to `n5`. */
  readonly index?: string | null;
}

/** Values by their keys. */
export type Data = Readonly<Record<string, DataValue>>;
/** What becomes of values: a key with `null` is removed, one that is not named stays. */
export type DataPatch = Readonly<Record<string, DataValue | null>>;

/** Whether a member is connected, and since when. */
export interface Presence {
  readonly state: "connected" | "disconnected";
  readonly since: Timestamp;
}

/** A member, to the other members. */
export interface MemberView {
  readonly connection: ConnectionId;
  readonly player: PlayerId;
  readonly name: string;
  /** The fingerprint that its links prove. */
  readonly peer_key: PeerKey;
  /** It consents to being host. */
  readonly can_host: boolean;
  /** Where it can be reached without the relay. */
  readonly direct_address?: string | null;
  /** It runs in a browser: WebRTC is the only way to it. */
  readonly browser?: boolean;
  readonly joined_at: Timestamp;
  readonly presence: Presence;
  readonly data?: Data;
}

/** What a game sets for its lobby. Times in milliseconds. */
export interface Settings {
  readonly election_delay_ms: number;
  readonly removal_delay_ms: number;
  readonly ready_timeout_ms: number;
  readonly max_members: number;
  readonly visibility: "public" | "private";
  readonly locked: boolean;
  /** No player is to learn another's address: all that they say to each other goes through relays. */
  readonly relay_only?: boolean;
}

/** Why a host was lost. */
export type LossCause = "disconnected" | "silent" | "restarted" | "left" | "replaced";
/** Why a lobby has no host and elects none. */
export type ParkReason = "nobody_eligible" | "too_many_failed_elections";
/** Why a member lost its seat. */
export type LeaveReason = "left" | "removed" | "kicked" | "banned";

/** Where the lobby's authority is. */
export type HostState =
  | { readonly state: "present"; readonly host: ConnectionId; readonly since: Timestamp }
  | { readonly state: "vouched"; readonly host: ConnectionId; readonly since: Timestamp; readonly until: Timestamp }
  | {
      readonly state: "lost";
      readonly host: ConnectionId;
      readonly since: Timestamp;
      readonly cause: LossCause;
      readonly lost_at: Timestamp;
      readonly deadline: Timestamp;
    }
  | { readonly state: "elected"; readonly host: ConnectionId; readonly ready_by: Timestamp; readonly tried: readonly ConnectionId[] }
  | {
      readonly state: "parked";
      readonly reason: ParkReason;
      readonly former?: ConnectionId | null;
      readonly until?: Timestamp | null;
    };

/** A hand-over that the host has been asked to prepare. */
export interface AskedHandOver {
  readonly to: ConnectionId;
  readonly until: Timestamp;
}

/** A lobby, to its members. */
export interface LobbyView {
  readonly id: LobbyId;
  readonly name: string;
  readonly join_code: JoinCode;
  readonly build_id: string;
  readonly settings: Settings;
  readonly created_at: Timestamp;
  readonly epoch: HostEpoch;
  readonly host: HostState;
  readonly hand_over?: AskedHandOver | null;
  /** Who would be elected now. */
  readonly successor?: ConnectionId | null;
  /** All members, in the order of their connection ids. */
  readonly members: readonly MemberView[];
  /** The newest event that this view contains. */
  readonly seq: EventSeq;
  readonly closed: boolean;
  readonly updated_at?: Timestamp;
  readonly has_password?: boolean;
  readonly data?: Data;
}

/** The outcome of an election, with its reasons. */
export interface Ranking {
  readonly places: readonly {
    readonly connection: ConnectionId;
    readonly because: "not_failed" | "longer_connected" | "lower_connection_id" | "last" | "chosen";
  }[];
  readonly excluded: readonly { readonly connection: ConnectionId; readonly because: "no_consent" | "disconnected" }[];
}

/** What happened. Members are named by their connection ids, never by a position. */
export type EventBody =
  | { readonly kind: "member_joined" | "member_changed"; readonly member: MemberView }
  | {
      readonly kind: "member_connected";
      readonly connection: ConnectionId;
      readonly peer_key: PeerKey;
      readonly restarted: boolean;
    }
  | { readonly kind: "member_disconnected"; readonly connection: ConnectionId }
  | { readonly kind: "member_left"; readonly connection: ConnectionId; readonly player?: PlayerId; readonly reason: LeaveReason }
  | { readonly kind: "host_lost"; readonly host: ConnectionId; readonly cause: LossCause; readonly deadline: Timestamp }
  | { readonly kind: "host_returned" | "host_vouched" | "host_ready" | "election_failed"; readonly host: ConnectionId }
  | { readonly kind: "host_elected"; readonly host: ConnectionId; readonly ready_by: Timestamp; readonly ranking: Ranking }
  | { readonly kind: "host_parked"; readonly reason: ParkReason; readonly until?: Timestamp | null }
  | { readonly kind: "hand_over_asked"; readonly to: ConnectionId; readonly until: Timestamp }
  | { readonly kind: "hand_over_ended" | "hidden" | "lobby_closed" }
  | { readonly kind: "successor_changed"; readonly successor?: ConnectionId | null }
  | { readonly kind: "lobby_changed"; readonly name: string; readonly settings: Settings; readonly has_password: boolean }
  | { readonly kind: "data_changed" | "private_data_changed"; readonly data: DataPatch }
  | {
      readonly kind: "member_data_changed" | "member_private_data_changed";
      readonly connection: ConnectionId;
      readonly data: DataPatch;
    }
  | { readonly kind: "join_code_changed"; readonly join_code: JoinCode }
  | { readonly kind: "player_banned"; readonly player: PlayerId; readonly until?: Timestamp | null }
  | { readonly kind: "player_unbanned"; readonly player: PlayerId };

/** Something that happened in a lobby. It was saved before anybody saw it. */
export type LobbyEvent = EventBody & {
  /** Its number in the lobby: from 1, without gaps. */
  readonly seq: EventSeq;
  /** When, on the service's clock. */
  readonly at: Timestamp;
  /** The host epoch after it. */
  readonly epoch: HostEpoch;
};

/** Why the service closes an event socket. */
export type CloseReason =
  | "too_many_messages"
  | "message_too_large"
  | "malformed"
  | "no_hello"
  | "kicked"
  | "banned"
  | "not_member"
  | "lease_expired"
  | "replaced"
  | "lobby_closed"
  | "too_slow"
  | "going_away";

/** From the service, on the event socket. */
export type ServerMessage =
  | ({ readonly type: "event" } & LobbyEvent)
  | { readonly type: "resync"; readonly lobby: LobbyView }
  | { readonly type: "challenge"; readonly epoch: HostEpoch }
  | { readonly type: "signal"; readonly from: ConnectionId; readonly peer_key: PeerKey; readonly signal: Signal }
  | { readonly type: "closing"; readonly reason: CloseReason; readonly retry_after_ms?: number | null };

/** From a member, on the event socket. */
export type ClientMessage =
  | { readonly type: "hello"; readonly peer_key: PeerKey; readonly after?: EventSeq; readonly form?: "events" | "lobby" }
  | { readonly type: "report"; readonly epoch: HostEpoch; readonly hears_host: boolean }
  | { readonly type: "hears"; readonly epoch: HostEpoch; readonly guests: readonly ConnectionId[] }
  | { readonly type: "signal"; readonly to: ConnectionId; readonly peer_key: PeerKey; readonly signal: Signal };
