/** How links to other members come about. */

import type { ConnectionId, PeerKey } from "./protocol/id.js";
import type { Signal } from "./protocol/signal.js";
import type { Path } from "./stats.js";

/** Bytes of a frame that a guest may send: a message or a hello. */
export const GUEST_FRAME_BYTES_MAX = 1024 * 1024 + 17;
/** Bytes of a frame that a host may send: a welcome with the whole ownership table, or a state. */
export const HOST_FRAME_BYTES_MAX = 16 * 1024 * 1024 + 17;

/** A way to another member's process, proven to be that one. What is sent before it is up waits. */
export interface Conduit {
  /** Sends a frame in order. With `early`, copies of it go ahead. */
  push(frame: Uint8Array<ArrayBuffer>, early: boolean): void;
  /** Sends a frame with a state, in an order of its own. False: too many wait. */
  pushState(frame: Uint8Array<ArrayBuffer>): boolean;
  /** Sends a frame that may be lost, if the way is up. */
  datagram(frame: Uint8Array<ArrayBuffer>): void;
  /** States may come from now on. */
  wantStates(): void;
  /** Closes it once all that waits has gone out. */
  finish(): void;
  /** Closes it at once, without a word to its {@link ConduitEvents}. */
  close(): void;
  /** By which way it goes. */
  path(): Promise<Path>;
}

/** What a conduit tells. Nothing comes after `down`. */
export interface ConduitEvents {
  /** It is up. */
  up(): void;
  /** A frame came: in order, or as a datagram. */
  frame(bytes: Uint8Array, isDatagram: boolean): void;
  /** It could not be opened, or has ended. */
  down(why: string): void;
}

/** Makes conduits for one session. */
export interface Network {
  /** Opens one to this process of a member. `frameBytesMax`: bytes of a frame that it may send. */
  dial(peer: ConnectionId, peerKey: PeerKey, frameBytesMax: number, events: ConduitEvents): Conduit;
  /** A process of a member says something about a conduit, through the lobby; the lobby names this process for that member. */
  handleSignal(peer: ConnectionId, peerKey: PeerKey, signal: Signal): void;
  /** Closes all that there is. */
  close(): void;
}

/** Somebody opens a conduit to this process: it is taken by saying what becomes of it. */
export type Arrive = (peer: ConnectionId, peerKey: PeerKey, take: (events: ConduitEvents) => Conduit) => void;
