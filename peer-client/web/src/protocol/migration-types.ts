import type { ConnectionId, HostEpoch, Millis, PeerKey } from "./id.js";
import type { LeaveReason, LossCause, ParkReason } from "./message.js";

/** What the driver of a `Migration` has to do. `epoch` is always that of the peer's part when it was asked for. */
export type Effect =
  /** Open a link to this member, or take the one that is open, and say hello on it. Its certificate must have this fingerprint. */
  | { readonly kind: "dial"; readonly host: ConnectionId; readonly peerKey: PeerKey; readonly epoch: HostEpoch }
  /** Open a link to the successor, for later; then call `handleStandbyUp`. */
  | { readonly kind: "dial_standby"; readonly successor: ConnectionId; readonly peerKey: PeerKey; readonly epoch: HostEpoch }
  /** Close the link to this peer, if there is one. */
  | { readonly kind: "hang_up"; readonly peer: ConnectionId }
  /** Find the newest state (`takeover.ts`), then call `handleFetched` or `handleFetchFailed`. */
  | { readonly kind: "fetch"; readonly epoch: HostEpoch }
  /** Give the state that was found to the game, then call `handleRestored`. */
  | { readonly kind: "restore"; readonly epoch: HostEpoch }
  /** Tell the lobby that the game runs, then call `handleReady`. */
  | { readonly kind: "confirm_ready"; readonly epoch: HostEpoch }
  /** Show the relay the grant of this epoch. A browser has no relay to show it to. */
  | { readonly kind: "present_grant"; readonly epoch: HostEpoch }
  /** Let this guest in: ask the game, then welcome it. `returning`: the game knows it. */
  | { readonly kind: "admit"; readonly guest: ConnectionId; readonly returning: boolean }
  /** Ask the game for its state and upload it: the first snapshot of this epoch. */
  | { readonly kind: "upload"; readonly epoch: HostEpoch }
  /** Tell the lobby whether the host is heard. */
  | { readonly kind: "report"; readonly epoch: HostEpoch; readonly hearsHost: boolean }
  /** Answer the lobby's challenge with the guests that are heard. */
  | { readonly kind: "hears"; readonly epoch: HostEpoch; readonly guests: readonly ConnectionId[] }
  /** Something does not fit: ask the lobby for everything, then call `handleResync`. */
  | { readonly kind: "resync" }
  /** Tell the game. */
  | { readonly kind: "notify"; readonly notice: Notice };

/** What a game may want to know. It may ignore all of it. */
export type Notice =
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
  /** The link to the host is down, or nothing is heard on it. */
  | { readonly kind: "disconnected_from_host"; readonly host: ConnectionId }
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
  /** Nobody is host for now. */
  | { readonly kind: "parked"; readonly reason: ParkReason }
  /** This peer has no seat any more, or the lobby is closed. */
  | { readonly kind: "removed" };

/** What a peer is in its lobby. */
export type Role =
  /** The lobby has no host that this peer could follow. */
  | { readonly kind: "waiting" }
  /** It follows a host. */
  | { readonly kind: "guest"; readonly host: ConnectionId; readonly epoch: HostEpoch; readonly link: GuestLink }
  /** It was elected. */
  | { readonly kind: "becoming"; readonly epoch: HostEpoch; readonly stage: Stage }
  /** It runs the game. */
  | { readonly kind: "host"; readonly epoch: HostEpoch }
  /** It has no seat any more. */
  | { readonly kind: "out" };

/** A guest's link to its host. */
export type GuestLink =
  /** Being opened; or to be opened anew at this time, `undefined` while an attempt is under way. */
  | { readonly kind: "dialing"; readonly againAt: Millis | undefined }
  /** Welcomed: when the host was last heard, and what the lobby was told last. */
  | { readonly kind: "in_game"; readonly heardAt: Millis; readonly hears: boolean };

/** How far an elected host is. */
export type Stage =
  /** It needs the newest snapshot; or tries again at this time, `undefined` while an attempt is under way. */
  | { readonly kind: "fetching"; readonly againAt: Millis | undefined }
  /** The game restores it. */
  | { readonly kind: "restoring" };

/**
 * What becomes of a frame: it counts; it is from a host that is not host any more, or meant for one; or its sender knows a newer epoch
 * than this peer. Only the first changes anything.
 */
export type Admission = "accept" | "stale" | "ahead";

/** The lobby's answer to `ready`: this peer is host; another one is, by now; no answer, it may have been heard or not. */
export type ReadyAnswer = "confirmed" | "refused" | "unknown";
