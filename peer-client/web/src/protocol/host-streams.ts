import type { GuestStreams } from "./guest-streams.js";
import type { ConnectionId, HostEpoch, StreamId } from "./id.js";
import {
  type Class,
  commonOf,
  goneOn,
  Journal,
  type Ledger,
  type LedgerEntry,
  missingBetween,
  type Missing,
  type Offer,
  type Position,
  type Receipt,
  type Resumed,
  type Said,
  type Stretch,
} from "./journal.js";

/** What a durable state means for one guest. */
export interface Settled {
  /** Whom. */
  readonly connection: ConnectionId;
  /** It may forget its messages up to this one. */
  readonly applied: number;
  /** Its messages after stable go out after this one, */
  readonly releaseAfter: number;
  /** and up to this one. */
  readonly releaseUpTo: number;
}

/** What a host finds out from a hello. */
export interface Answer {
  /** For the welcome. */
  readonly position: Position;
  /** Inputs of this seat that are lost. */
  readonly inputsLost: Missing | undefined;
}

/** What became of a message for a guest: to be said now with its number, kept until a state is durable, or not kept at all. */
export type Told = { readonly kind: "numbered"; readonly number: number } | { readonly kind: "kept" } | { readonly kind: "full" };

/** What a new host had to say to, and to hear from, whoever hosts. */
export interface Own {
  /** Its own messages to the host, with their numbers. */
  readonly inputs: readonly (readonly [number: number, payload: Uint8Array])[];
  /** What the old host had told it. */
  readonly told: readonly (readonly [kind: Class, payload: Uint8Array])[];
  /** What was lost and taken back. */
  readonly resumed: Resumed;
}

interface Seat {
  readonly stream: StreamId;
  /** Up to here they came; what came is applied by this process, if it lives. */
  received: number;
  applied: number;
  readonly down: Journal;
  readonly stable: Journal;
  /** Up to here they may be said. */
  released: number;
  /** Of the stable ones, the newest that was in the state that this host goes on from: others may have had its number. */
  restoredStable: number;
  stretches: readonly Stretch[];
  /** The state that this host goes on from knew the seat, and its process has not come yet. */
  awaited: boolean;
}

/** A host's side: the streams of all seats. */
export class HostStreams {
  readonly #epoch: HostEpoch;
  readonly #seats = new Map<ConnectionId, Seat>();

  /** Of a game that begins at this epoch. */
  constructor(epoch: HostEpoch) {
    this.#epoch = epoch;
  }

  /** Goes on from a state, at this epoch. */
  static restore(ledger: Ledger, epoch: HostEpoch): HostStreams {
    const streams = new HostStreams(epoch);
    for (const entry of ledger) streams.#seats.set(entry.connection, restoredSeat(entry, epoch));
    return streams;
  }

  /** What the state that is given now says of the streams. */
  ledger(): Ledger {
    const seats = [...this.#seats].sort(([one], [other]) => one - other);
    return seats.map(([connection, { stream, applied, down, stable, stretches }]) => ({
      connection,
      stream,
      applied,
      down: down.said(),
      stable: stable.said(),
      stretches,
    }));
  }

  /** A member gave up its seat. */
  forget(connection: ConnectionId): void {
    this.#seats.delete(connection);
  }

  /** Whether messages can be kept for this seat. */
  knows(connection: ConnectionId): boolean {
    return this.#seats.has(connection);
  }

  /** Whose messages of this seat are counted. */
  stream(connection: ConnectionId): StreamId | undefined {
    return this.#seats.get(connection)?.stream;
  }

  /** A guest is let in. Another process than the one before begins anew. */
  handleHello(connection: ConnectionId, offer: Offer): Answer {
    const epoch = this.#epoch;
    const before = this.#seats.get(connection);
    const isSame = before?.stream === offer.stream;
    const seat = before !== undefined && isSame ? before : newSeat(offer.stream, epoch);
    this.#seats.set(connection, seat);
    let inputsLost: Missing | undefined;
    if (before?.awaited === true && !isSame) inputsLost = { from: before.applied + 1, to: undefined };
    seat.awaited = false;
    const received = seat.received;
    const lost = missingBetween(received, offer.oldest);
    if (lost !== undefined) {
      inputsLost = lost;
      seat.received = seat.applied = offer.oldest - 1;
    }
    const common = resume(seat, epoch, offer);
    return { position: { epoch, received, common, oldest: seat.down.oldest, oldestStable: seat.stable.oldest }, inputsLost };
  }

  /** A message of a guest came. */
  receive(connection: ConnectionId, number: number): Receipt {
    const seat = this.#seats.get(connection);
    if (seat === undefined) return "gap";
    if (number <= seat.received) return "repeated";
    if (number > seat.received + 1) return "gap";
    seat.received = number;
    return "next";
  }

  /**
   * The game has taken a message of this process: its effect is in the next state that it gives. What a process said that is gone by
   * now counts for nobody.
   */
  applied(connection: ConnectionId, stream: StreamId, number: number): void {
    const seat = this.#seats.get(connection);
    if (seat?.stream !== stream) return;
    seat.applied = Math.max(seat.applied, number);
    // Its own, which came by no link.
    seat.received = Math.max(seat.received, number);
  }

  /** Keeps a message for a guest. `full`: the guest is too far behind, or the seat is not known. */
  say(connection: ConnectionId, kind: Class, payload: Uint8Array): Told {
    const seat = this.#seats.get(connection);
    const number = kind === "reliable" ? seat?.down.push(payload) : seat?.stable.push(payload);
    if (number === undefined) return { kind: "full" };
    return kind === "reliable" ? { kind: "numbered", number } : { kind: "kept" };
  }

  /** Whether a message of this size may be kept for a guest. */
  hasRoomFor(connection: ConnectionId, kind: Class, bytes: number): boolean {
    const seat = this.#seats.get(connection);
    return (kind === "reliable" ? seat?.down : seat?.stable)?.hasRoomFor(bytes) ?? false;
  }

  /** Gives up what is kept for a guest that is away and far behind. It will be told that it never hears it. */
  giveUp(connection: ConnectionId): void {
    this.#seats.get(connection)?.down.clear();
  }

  /** Those that a guest is to be told after its welcome, in order. */
  toSay(connection: ConnectionId): [kind: Class, number: number, payload: Uint8Array][] {
    const seat = this.#seats.get(connection);
    if (seat === undefined) return [];
    const down = seat.down.after(0).map(([number, payload]): [Class, number, Uint8Array] => ["reliable", number, payload]);
    const released = seat.stable.after(0).filter(([number]) => number <= seat.released);
    return [...down, ...released.map(([number, payload]): [Class, number, Uint8Array] => ["after_stable", number, payload])];
  }

  /** Messages after stable of a guest, from a {@link Settled}. */
  released({ connection, releaseAfter, releaseUpTo }: Settled): [number: number, payload: Uint8Array][] {
    const stable = this.#seats.get(connection)?.stable.after(releaseAfter) ?? [];
    return stable.filter(([number]) => number <= releaseUpTo);
  }

  /** A guest says how far it has heard. */
  heard(connection: ConnectionId, received: number, receivedStable: number): void {
    const seat = this.#seats.get(connection);
    seat?.down.cut(received);
    seat?.stable.cut(Math.min(receivedStable, seat.released));
  }

  /** A state with this ledger is durable: what guests may forget, and what may be said from now on. */
  handleDurable(ledger: Ledger): Settled[] {
    return ledger.flatMap((entry) => {
      const seat = this.#seats.get(entry.connection);
      if (seat?.stream !== entry.stream) return [];
      const releaseAfter = seat.released;
      const durable = Math.max(newestOf(entry.stable), releaseAfter);
      const releaseUpTo = Math.min(durable, Math.max(seat.stable.newest, releaseAfter));
      seat.released = releaseUpTo;
      return [{ connection: entry.connection, applied: entry.applied, releaseAfter, releaseUpTo }];
    });
  }

  /** The game keeps no state: what it has taken is as durable as it gets. */
  settledByNow(): Settled[] {
    return this.handleDurable(this.ledger());
  }

  /**
   * This peer was a guest and hosts now: what it had still to say to itself, and to hear from itself, is the game's to take, with the
   * numbers by which it tells that it did ({@link HostStreams.applied}).
   */
  takeOwn(me: ConnectionId, own: GuestStreams): Own {
    const answer = this.handleHello(me, own.offer());
    const resumed = own.handleWelcome(answer.position);
    const inputs = own.journal.after(resumed.sayAfter);
    const told = this.toSay(me);
    for (const [kind, number] of told) own.receive(kind, number);
    const { received, receivedStable } = own.offer();
    this.heard(me, received, receivedStable);
    return { inputs, told: told.map(([kind, , payload]) => [kind, payload]), resumed };
  }
}

function newSeat(stream: StreamId, epoch: HostEpoch): Seat {
  return {
    stream,
    received: 0,
    applied: 0,
    down: new Journal(),
    stable: new Journal(),
    released: 0,
    restoredStable: 0,
    stretches: [{ epoch, after: 0 }],
    awaited: false,
  };
}

function restoredSeat({ stream, applied, down: downSaid, stable: stableSaid, stretches }: LedgerEntry, epoch: HostEpoch): Seat {
  const down = new Journal(downSaid);
  const stable = new Journal(stableSaid);
  return {
    stream,
    received: applied,
    applied,
    down,
    stable,
    released: stable.oldest - 1,
    restoredStable: stable.newest,
    stretches: goneOn(stretches, epoch, down.newest),
    awaited: true,
  };
}

/** How far a seat's guest has heard what this host, and those before it, said. */
function resume(seat: Seat, epoch: HostEpoch, offer: Offer): number {
  // Of no host that is known here: nothing that it heard counts.
  const common = commonOf(seat.stretches, seat.down.newest, offer.stretches, offer.received) ?? 0;
  seat.down.cut(common);
  if (offer.stretches.at(-1)?.epoch === epoch) {
    seat.stretches = seat.stretches.filter((stretch) => stretch.epoch >= epoch);
    seat.stable.cut(offer.receivedStable);
  } else if (offer.receivedStable > seat.restoredStable) {
    // They were durable once, and the generation was set aside: these numbers are used up.
    seat.stable.renumber(seat.restoredStable, offer.receivedStable + 1);
    seat.restoredStable = offer.receivedStable;
    seat.released = seat.stable.oldest - 1;
  } else {
    seat.stable.cut(offer.receivedStable);
  }
  seat.released = Math.max(seat.released, seat.stable.oldest - 1);
  return common;
}

function newestOf(said: Said): number {
  return Math.max(said.first, 1) + said.messages.length - 1;
}
