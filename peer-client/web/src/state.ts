/** What a session and its driver share: who this peer is, what it says and has heard, and the tables of the game. */

import { HostError, SendError, type HostProblem } from "./errors.js";
import type { Role } from "./events.js";
import type { Delivery, Recipient, SavedState, StateChange } from "./game.js";
import type { Link } from "./link.js";
import { GuestStreams } from "./protocol/guest-streams.js";
import { HostStreams } from "./protocol/host-streams.js";
import { streamOf, type ConnectionId, type HostEpoch, type ObjectId, type PeerKey, type StreamId } from "./protocol/id.js";
import type { Class, Ledger } from "./protocol/journal.js";
import { SEAT_DATA_BYTES_MAX } from "./protocol/limits.js";
import { memberAt } from "./protocol/lobby.js";
import type { LobbyView } from "./protocol/message.js";
import { ObjectTable, type Change } from "./protocol/objects.js";
import { encodeObjects } from "./protocol/payload.js";
import type { Seat } from "./protocol/snapshot.js";
import type { Entry } from "./session.js";

/** Bytes of a scene's name: with the largest ownership table it fits into a welcome. */
export const SCENE_BYTES_MAX = 16 * 1024;
/** Changes after which a game is asked for its whole state again. */
export const CHANGES_MAX = 1024;
/** Bytes of changes that are always less than a state is worth. */
const CHANGES_BYTES = 64 * 1024;

/** A state, with seats and objects as they were when the game gave it. */
export interface Saved {
  readonly state: Required<SavedState>;
  readonly changes: readonly Uint8Array[];
  readonly seats: readonly Seat[];
  readonly objects: ObjectTable;
  readonly ledger: Ledger;
  /** The game stands still from here on. */
  readonly isLast: boolean;
}

/** A message that came up to this host: taking it is what makes it part of the game. */
export interface Up {
  /** At which epoch. To a host of another one it says nothing: it will be said again. */
  readonly epoch: HostEpoch;
  readonly from: ConnectionId;
  readonly stream: StreamId;
  readonly number: number;
}

/** What session and driver share. */
export class State {
  role: Role = "waiting";
  epoch: HostEpoch;
  readonly links = new Map<ConnectionId, Link>();
  lastSaved: Saved | undefined;
  entry: Entry | undefined;
  /** Frames of another epoch that were dropped. */
  staleFrames = 0;
  /** What this peer says to hosts, and hears of them. */
  readonly own: GuestStreams;
  /** What it says to guests, and hears of them, while it hosts. */
  streams: HostStreams;
  /** Guests that were in this host's game, are there for the lobby, and have no link at the moment. */
  readonly away = new Set<ConnectionId>();
  /** It was in a game: what it says is kept for the next host, if there is none. */
  hasPlayed = false;
  /** The state that the game gave last, until the driver takes it. */
  given: Saved | undefined;
  /** The next state that the game gives is the last. */
  freezeWanted = false;
  /** The game has given its last state. */
  frozen = false;
  /** Bytes of states sent to successors. */
  stateBytesSent = 0;
  tick = 0;
  objects = new ObjectTable();
  readonly seats = new Map<ConnectionId, Uint8Array>();

  constructor(
    peerKey: PeerKey,
    private readonly lobby: () => LobbyView,
  ) {
    this.epoch = lobby().epoch;
    this.own = new GuestStreams(streamOf(peerKey));
    this.streams = new HostStreams(this.epoch);
  }

  guestsInGame(): ConnectionId[] {
    if (this.role !== "host" && this.role !== "handing_over") return [];
    return [...this.links.values()].filter((link) => link.inGame).map((link) => link.peer).sort((one, other) => one - other);
  }

  send(to: Recipient, payload: Uint8Array, delivery: Delivery): void {
    if (this.role === "host") return this.sendDown(to, payload, delivery);
    if (this.role === "handing_over") {
      if (delivery === "unreliable") return;
      throw new SendError("not_connected");
    }
    this.sendUp(to, payload, delivery);
  }

  /** The game takes a message. False: it is of an epoch that is over, and will be said again. */
  takes({ epoch, from, stream, number }: Up): boolean {
    const hosts = (this.role === "host" || this.role === "handing_over") && this.epoch === epoch;
    if (hosts) this.streams.applied(from, stream, number);
    return hosts;
  }

  placeObject(id: ObjectId, owner: ConnectionId | undefined, data: Uint8Array): void {
    this.checkHosting();
    checkSize(data);
    if (owner !== undefined && memberAt(this.lobby(), owner) === undefined) throw new HostError("unknown_seat");
    const placed = this.objects.place(id, owner, data);
    if (!placed.ok) throw new HostError(placed.error satisfies HostProblem);
    this.tellChanges([placed.value]);
  }

  removeObject(id: ObjectId): void {
    this.checkHosting();
    const change = this.objects.remove(id);
    if (change !== undefined) this.tellChanges([change]);
  }

  setSeatData(connection: ConnectionId, data: Uint8Array): void {
    this.checkHosting();
    checkSize(data);
    if (memberAt(this.lobby(), connection) === undefined) throw new HostError("unknown_seat");
    this.seats.set(connection, data);
  }

  /** The game gives its state unasked. */
  give(state: SavedState): void {
    this.checkRunsTheGame();
    this.given = this.save(state);
  }

  /** The game tells what has become of its state. */
  giveChange({ tick, elapsedMs, change }: StateChange): void {
    this.checkRunsTheGame();
    const last = this.lastSaved;
    if (last === undefined) throw new HostError("no_base");
    const bytes = last.changes.reduce((sum, { length }) => sum + length, change.length);
    // Beyond its own size, the state itself is the shorter way.
    if (last.changes.length >= CHANGES_MAX || bytes > Math.max(last.state.state.length, CHANGES_BYTES)) {
      throw new HostError("no_base");
    }
    const state = { ...last.state, tick, elapsedMs: elapsedMs ?? last.state.elapsedMs };
    this.given = this.saveWith(state, [...last.changes, change]);
  }

  /** A state is kept with the tables as they are now, and is the last if that is wanted. */
  save(state: SavedState): Saved {
    const whole = { tick: state.tick, elapsedMs: state.elapsedMs ?? 0, scene: state.scene ?? "", state: state.state };
    if (new TextEncoder().encode(whole.scene).length > SCENE_BYTES_MAX) throw new HostError("too_large");
    return this.saveWith(whole, []);
  }

  /** The last state once more, with the tables as they are now: for those who have nothing more to say. */
  saveAgain(): Saved | undefined {
    const last = this.lastSaved;
    return last && this.saveWith(last.state, last.changes);
  }

  /** A state of the game, with the tables that belong to it. */
  withTables(state: Required<SavedState>, changes: readonly Uint8Array[]): Saved {
    const seats = this.lobby().members.map(({ connection, player }) => ({
      connection,
      player,
      // The driver knows.
      played: false,
      hostData: this.seats.get(connection) ?? new Uint8Array(),
    }));
    return { state, changes, seats, objects: this.objects.clone(), ledger: this.streams.ledger(), isLast: this.frozen };
  }

  /** Nothing was ever stored: what this peer knows of another host's game does not count. */
  startAnew(epoch: HostEpoch): void {
    this.tick = 0;
    this.lastSaved = undefined;
    this.objects = new ObjectTable();
    this.streams = new HostStreams(epoch);
    this.seats.clear();
  }

  /** Tells the guests in the game. Those who come later get the whole table. */
  tellChanges(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    const payload = encodeObjects([...changes]);
    for (const link of this.links.values()) if (link.inGame) link.tell({ kind: "objects", payload });
  }

  private saveWith(state: Required<SavedState>, changes: readonly Uint8Array[]): Saved {
    if (this.freezeWanted && this.role === "host") [this.frozen, this.role] = [true, "handing_over"];
    this.freezeWanted = false;
    this.lastSaved = this.withTables(state, changes);
    return this.lastSaved;
  }

  /** From a guest to its host, or to the next one. */
  private sendUp(to: Recipient, payload: Uint8Array, delivery: Delivery): void {
    // A link of an epoch that is over may still be there for a moment.
    const links = this.linksInGame();
    const link = typeof to === "number" ? links.find(({ peer }) => peer === to) : links[0];
    if (delivery === "unreliable") return link?.sendUnreliable(payload);
    if (delivery === "after_stable") throw new SendError("host_only");
    if (!this.hasPlayed || (typeof to === "number" && link === undefined)) throw new SendError("not_connected");
    const number = this.own.say(payload);
    if (number === undefined) throw new SendError("full");
    // Without a link it is said to whoever welcomes this guest next.
    link?.say("reliable", number, payload);
  }

  private sendDown(to: Recipient, payload: Uint8Array, delivery: Delivery): void {
    if (to === "host") throw new SendError("not_connected");
    const links = this.linksInGame();
    if (delivery === "unreliable") {
      for (const link of links) if (to === "everyone" || link.peer === to) link.sendUnreliable(payload);
      return;
    }
    const reached = [...links.map(({ peer }) => peer), ...this.away];
    const guests = to === "everyone" ? reached : reached.filter((guest) => guest === to).slice(0, 1);
    if (to !== "everyone" && guests.length === 0) throw new SendError("not_connected");
    // All of them, though one may be full.
    const isKept = guests.map((guest) => this.say(guest, delivery, payload));
    if (isKept.includes(false)) throw new SendError("full");
  }

  private say(guest: ConnectionId, kind: Class, payload: Uint8Array): boolean {
    let said = this.streams.say(guest, kind, payload);
    if (said.kind === "full" && kind === "reliable" && this.away.has(guest)) {
      // It will be told what it missed, and gets what comes from here on.
      this.streams.giveUp(guest);
      said = this.streams.say(guest, kind, payload);
    }
    const link = this.links.get(guest);
    if (said.kind === "numbered" && link?.inGame === true) link.say(kind, said.number, payload);
    return said.kind !== "full";
  }

  /** Links of this epoch, in the game. */
  private linksInGame(): Link[] {
    return [...this.links.values()].filter((link) => link.inGame && link.epoch === this.epoch);
  }

  private checkHosting(): void {
    if (this.role !== "host" && this.role !== "becoming") throw new HostError("not_host");
  }

  private checkRunsTheGame(): void {
    if (this.role !== "host") throw new HostError("not_host");
  }
}

function checkSize(data: Uint8Array): void {
  if (data.length > SEAT_DATA_BYTES_MAX) throw new HostError("too_large");
}
