import type { ConnectionId, HostEpoch, StreamId } from "./id.js";
import { JOURNAL_BYTES_MAX, JOURNAL_MESSAGES_MAX, STRETCHES_MAX } from "./limits.js";

/*
 * Reliable messages that survive their link, and the host that they were meant for. `journal.rs` tells the whole story: each peer
 * numbers what it says, from 1, and keeps it until whoever needs it again cannot. On a new link both sides say how far they have got,
 * and the rest is said again.
 */

/** What is said down, from host to guest, in two streams of numbers: at once, or once the state that it came from is durable. */
export type Class = "reliable" | "after_stable";

/** What becomes of a message that came: the game is to have it, it came before, or one before it is missing. */
export type Receipt = "next" | "repeated" | "gap";

/** A range of numbers. `to` may be unknown: how many a process that is gone had still to say. */
export interface Missing {
  readonly from: number;
  readonly to: number | undefined;
}

/** Since the host of this epoch a stream of numbers goes on after this one. */
export interface Stretch {
  /** Whose numbers come next. */
  readonly epoch: HostEpoch;
  /** The newest number of the hosts before it that still counts. */
  readonly after: number;
}

/** What a guest says of its streams in its hello. */
export interface Offer {
  /** Its process. */
  readonly stream: StreamId;
  /** The oldest that it can say again. */
  readonly oldest: number;
  /** The newest that it has received. */
  readonly received: number;
  /** The same, of those after stable. */
  readonly receivedStable: number;
  /** By which hosts it was told what it received; of at most `STRETCHES_MAX` of them. */
  readonly stretches: readonly Stretch[];
}

/** What a host says of a guest's streams in its welcome. */
export interface Position {
  /** Whose numbers come. */
  readonly epoch: HostEpoch;
  /** The newest that it has, or that is in the state that it goes on from. */
  readonly received: number;
  /** The newest of those that the guest has received that are of this history. */
  readonly common: number;
  /** The oldest that it says again, or the next. */
  readonly oldest: number;
  /** The oldest after stable that it can say. */
  readonly oldestStable: number;
}

/** What a guest finds out from a welcome. */
export interface Resumed {
  /** Its messages after this one are to be said again. */
  readonly sayAfter: number;
  /** Of its messages, those that are neither in the host's state nor here. */
  readonly inputsLost: Missing | undefined;
  /** Of the host's, those that it heard and that are not of the history that goes on. */
  readonly takenBack: Missing | undefined;
  /** Of the host's, those that it will never hear. */
  readonly neverHeard: Missing | undefined;
}

/** Messages that may have to be said again. */
export interface Said {
  /** The number of the first, or of the next. */
  readonly first: number;
  /** They. */
  readonly messages: readonly Uint8Array[];
}

/** What a state says of one seat's streams. */
export interface LedgerEntry {
  /** The seat. */
  readonly connection: ConnectionId;
  /** The process that sits there, or sat last. */
  readonly stream: StreamId;
  /** The newest of its messages whose effect is in the state. */
  readonly applied: number;
  /** What it was told and may not have. */
  readonly down: Said;
  /** What it is to be told once this state is durable, or was told since and may not have. */
  readonly stable: Said;
  /** By which hosts it was told, as far as it may not know. */
  readonly stretches: readonly Stretch[];
}

/** What a state says of all streams, in the order of the seats. */
export type Ledger = readonly LedgerEntry[];

/** More than anybody says, with room to count on from whatever a peer claims. */
const FIRST_MAX = 2 ** 52;

/** Numbered messages, kept until they are cut. At most `JOURNAL_MESSAGES_MAX` of `JOURNAL_BYTES_MAX` bytes. */
export class Journal {
  #first: number;
  #messages: Uint8Array[];
  #bytes = 0;
  /** Messages at the front that are cut already: taking them out one by one would move all the others each time. */
  #cut = 0;

  /** Messages that are kept, numbered from `first` on. */
  constructor({ first, messages }: Said = { first: 1, messages: [] }) {
    this.#first = Math.min(Math.max(first, 1), FIRST_MAX);
    this.#messages = [...messages];
    for (const payload of messages) this.#bytes += payload.length;
  }

  /** How many are kept. */
  get length(): number {
    return this.#messages.length - this.#cut;
  }

  /** The number of the newest; 0 before the first. */
  get newest(): number {
    return this.#first + this.length - 1;
  }

  /** The number of the oldest that is kept, or of the next message. */
  get oldest(): number {
    return this.#first;
  }

  /** What a ledger says of it. */
  said(): Said {
    return { first: this.#first, messages: this.#messages.slice(this.#cut) };
  }

  /** Whether a message of this size may be kept as well. */
  hasRoomFor(bytes: number): boolean {
    return this.length < JOURNAL_MESSAGES_MAX && this.#bytes + bytes <= JOURNAL_BYTES_MAX;
  }

  /** Keeps a message, which must not change any more. Returns its number; `undefined` if the journal is full: nothing has changed. */
  push(payload: Uint8Array): number | undefined {
    if (!this.hasRoomFor(payload.length)) return undefined;
    this.#bytes += payload.length;
    this.#messages.push(payload);
    return this.newest;
  }

  /** Gives those after this number other numbers, from this one on, and forgets the rest. */
  renumber(after: number, first: number): void {
    this.cut(after);
    this.#first = Math.min(Math.max(first, 1), FIRST_MAX);
  }

  /** Forgets those up to this number. */
  cut(upTo: number): void {
    while (this.#first <= upTo && this.length > 0) {
      this.#bytes -= this.#messages[this.#cut]?.length ?? 0;
      this.#first += 1;
      this.#cut += 1;
    }
    if (this.#cut > 64 && 2 * this.#cut >= this.#messages.length) {
      this.#messages = this.#messages.slice(this.#cut);
      this.#cut = 0;
    }
  }

  /** Forgets all of them; the numbers go on. */
  clear(): void {
    this.cut(this.newest);
  }

  /** Those after this number, in order, as they are now. */
  after(number: number): [number: number, payload: Uint8Array][] {
    const skip = Math.max(0, number + 1 - this.#first);
    return this.#messages.slice(this.#cut + skip).map((payload, index) => [this.#first + skip + index, payload]);
  }
}

/** Those after one number and before another, if there are any. */
export function missingBetween(after: number, before: number): Missing | undefined {
  return after + 1 < before ? { from: after + 1, to: before - 1 } : undefined;
}

/** The stretches once the host of this epoch goes on after this number: what is beyond it does not count any more. */
export function goneOn(stretches: readonly Stretch[], epoch: HostEpoch, after: number): Stretch[] {
  const before = stretches.filter((stretch) => stretch.epoch < epoch);
  const cut = before.map((stretch) => ({ epoch: stretch.epoch, after: Math.min(stretch.after, after) }));
  return [...cut, { epoch, after }].slice(-STRETCHES_MAX);
}

/** The newest number up to which two histories are one, by the newest host that is of both; `undefined`: they have none in common. */
export function commonOf(
  ours: readonly Stretch[],
  oursNewest: number,
  theirs: readonly Stretch[],
  theirsNewest: number,
): number | undefined {
  const end = (stretches: readonly Stretch[], at: number, newest: number): number =>
    Math.min(stretches[at + 1]?.after ?? newest, newest);
  for (let at = theirs.length - 1; at >= 0; at -= 1) {
    const here = ours.findIndex((stretch) => stretch.epoch === theirs[at]?.epoch);
    if (here >= 0) return Math.min(end(theirs, at, theirsNewest), end(ours, here, oursNewest));
  }
  return undefined;
}
