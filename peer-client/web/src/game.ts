/** What a game gives to the library, and gets from it. */

import type { ConnectionId, PlayerId } from "./protocol/id.js";
import type { Generation } from "./protocol/generation.js";
import type { GameObject } from "./protocol/objects.js";
import type { SessionEvent } from "./events.js";

/** How a message travels. */
export type Delivery =
  /** Has its effect once, after those sent before it, over any number of links and hosts. At most 1 MiB. */
  | "reliable"
  /** From the host only: as `reliable`, in an order of its own, and said only once the state that the game gives next is durable. */
  | "after_stable"
  /** May be lost, and may overtake others. At most {@link UNRELIABLE_BYTES_MAX} bytes. */
  | "unreliable";

/** To whom a message goes: guests reach the host alone; the host reaches one guest, or `everyone` who is in the game. */
export type Recipient = "host" | "everyone" | ConnectionId;

/** Bytes of an unreliable message: what fits into a datagram on any path. */
export const UNRELIABLE_BYTES_MAX = 1133;

/** A message of another peer's game. */
export interface Message {
  /** Who sent it: proven by the link. */
  readonly from: ConnectionId;
  /** How it came. */
  readonly delivery: Delivery;
  /** The game's bytes. Valid for as long as the game keeps them. */
  readonly payload: Uint8Array;
}

/** A game's state, as it is when it is given. */
export interface SavedState {
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in milliseconds; the pause of a migration is not counted. */
  readonly elapsedMs?: number;
  /** The scene that is loaded. At most 16 KiB as UTF-8. */
  readonly scene?: string;
  /** The game's own bytes. With seats and objects at most 16 MiB. Not to be changed afterwards. */
  readonly state: Uint8Array;
}

/** What has become of a game since it last gave its state, in the game's own form. */
export interface StateChange {
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in milliseconds. */
  readonly elapsedMs?: number;
  /** What {@link Restored.changes} is to hold. */
  readonly change: Uint8Array;
}

/** A seat, as it stands in a state. */
export interface RestoredSeat {
  /** The seat. */
  readonly connection: ConnectionId;
  /** Whose it is. */
  readonly player: PlayerId;
  /** It was in the game, and so is in its state. */
  readonly played: boolean;
  /** What only the host keeps of it. */
  readonly hostData: Uint8Array;
}

/** A state to go on from, checked; seats and objects have been restored already. */
export interface Restored {
  /** Where it stands among the states of this game. */
  readonly generation: Generation;
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in milliseconds. */
  readonly elapsedMs: number;
  /** The scene to load. */
  readonly scene: string;
  /** The seats. */
  readonly seats: readonly RestoredSeat[];
  /** Who owns what; what belongs to members that are not back yet is disabled. */
  readonly objects: ReadonlyMap<number, Readonly<GameObject>>;
  /** The game's own bytes. */
  readonly state: Uint8Array;
  /** What became of `state` since, as the game gave it: to be applied one after the other. */
  readonly changes: readonly Uint8Array[];
}

/** A player at the door. */
export interface Visitor {
  /** Its seat. */
  readonly connection: ConnectionId;
  /** Who. */
  readonly player: PlayerId;
  /** The name that it gave. */
  readonly name: string;
  /** The game knows it: it was let in before, here or before the state that this host went on from. */
  readonly returning: boolean;
  /** What its game wants to tell ({@link ClientOptions.returnPayload}). */
  readonly extra: Uint8Array;
}

/** Whether a player may come in; refused, with a reason that it is told. */
export type Verdict = "accept" | { readonly refuse: string };

/**
 * What a game answers and hears. Only {@link saveState}, {@link restoreState} and {@link onMessage} are needed. The same object serves host and
 * guest, since each may become the other.
 *
 * All are called from the session's own turns, never from within a call of the game to its session, in the order in which things
 * happened. What one throws is shown on the console and, of `restoreState`, means that the state cannot be used.
 */
export interface Game {
  /**
   * To the host: the whole state as it is now, or `undefined` to skip this one. What {@link onMessage} was given counts as part of it, so
   * that a message whose effect is put off to a later tick must be in the state as an intention.
   */
  saveState(): SavedState | undefined;

  /**
   * To the member that was elected: go on from this state, from an empty world; or anew, if there is none. Guests are let in once it has
   * returned, or its promise has. If it throws, another member is elected when the time to be ready is over.
   */
  restoreState(restored: Restored | undefined): void | Promise<void>;

  /** A message came: on the host from a guest, on a guest from the host; a new host also hears what it had still to say to the old one. */
  onMessage(message: Message): void;

  /** To the host: whether a player may come in, also one that returns. Without it everybody may. */
  acceptPlayer?(visitor: Visitor): Verdict | Promise<Verdict>;

  /** Something happened; may be ignored. */
  onEvent?(event: SessionEvent): void;
}
