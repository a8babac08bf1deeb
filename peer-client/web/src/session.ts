/** A seat in a lobby, as the game holds it. */

import type { Driver } from "./driver.js";
import { HostError, SendError } from "./errors.js";
import type { Role } from "./events.js";
import { UNRELIABLE_BYTES_MAX, type Delivery, type Recipient, type SavedState, type StateChange } from "./game.js";
import type { ConnectionId, HostEpoch, ObjectId } from "./protocol/id.js";
import * as limits from "./protocol/limits.js";
import { hostOf, memberAt } from "./protocol/lobby.js";
import type { LobbyView } from "./protocol/message.js";
import type { GameObject } from "./protocol/objects.js";
import { statsOf, type SessionStats } from "./stats.js";

/** Where a guest entered the game, as its host said. */
export interface Entry {
  /** The host's tick. */
  readonly tick: number;
  /** The game's time at the last state, in milliseconds; the pause of a migration is not counted. */
  readonly elapsedMs: number;
  /** The scene that is loaded. */
  readonly scene: string;
}

/**
 * A seat in a lobby. It follows the host, or is the host, until it leaves or its page is closed.
 *
 * All methods return at once; what comes of them is told to the {@link Game}.
 */
export class Session {
  /** @internal */
  constructor(private readonly driver: Driver) {}

  /** This peer's seat. The same over every migration. */
  get me(): ConnectionId {
    return this.driver.me;
  }

  /** What this peer is, as it is now. */
  get role(): Role {
    return this.driver.state.role;
  }

  /** Whether this peer runs the game. */
  get isHost(): boolean {
    return this.role === "host";
  }

  /** The host that the lobby has or has elected, as far as this peer knows. */
  get host(): ConnectionId | undefined {
    return hostOf(this.lobby.host);
  }

  /** The epoch that this peer's messages carry. */
  get epoch(): HostEpoch {
    return this.driver.state.epoch;
  }

  /** The lobby with its members, as far as this peer knows. Not to be changed. */
  get lobby(): LobbyView {
    return this.driver.migration.lobby;
  }

  /** What others join by. The same over every migration. */
  get joinCode(): string {
    return this.lobby.join_code;
  }

  /** The session has ended: it left, lost its seat, or was replaced. */
  get isOver(): boolean {
    return this.driver.over;
  }

  /** Where this guest last entered a game; `undefined` before it was welcomed. */
  get entry(): Entry | undefined {
    return this.driver.state.entry;
  }

  /** The guests in the game of this host; on a guest, nobody. */
  get inGame(): ConnectionId[] {
    return this.driver.state.guestsInGame();
  }

  /** Who owns what: a copy. */
  get objects(): ReadonlyMap<ObjectId, Readonly<GameObject>> {
    return new Map(this.driver.state.objects.entries());
  }

  /**
   * Sends a message. It is kept, not yet sent, when this returns, and is not to be changed afterwards. A guest that has been in the game
   * may send reliably while it has no host: the next one is told. That nobody is there for an unreliable message, or for one to everyone,
   * is no error.
   *
   * @throws {@link SendError}
   */
  send(to: Recipient, payload: Uint8Array, delivery: Delivery = "reliable"): void {
    const max = delivery === "unreliable" ? UNRELIABLE_BYTES_MAX : limits.MESSAGE_BYTES_MAX;
    if (payload.length > max) throw new SendError("too_large");
    this.driver.state.send(to, payload, delivery);
  }

  /** Says at which tick the game is: heartbeats and welcomes carry it. */
  setTick(tick: number): void {
    this.driver.state.tick = tick;
  }

  /**
   * Host only: gives the state of a tick. To be called as often as the game likes, best at the end of each tick: it goes to the successor as
   * the difference to the one before, and to the lobby at the interval of snapshots. What the game has heard and said so far counts as
   * part of it. If this peer is handing over, the state is its last, and {@link isHost} is false from now on.
   *
   * @throws {@link HostError} `not_host`, `too_large` (of the scene's name).
   */
  giveState(state: SavedState): void {
    this.driver.state.give(state);
    this.driver.wake();
  }

  /**
   * Host only: as {@link giveState}, in the game's own form: what has become of the state that it gave last. Whoever goes on gets that state
   * and all changes since ({@link Restored.changes}).
   *
   * @throws {@link HostError} `not_host`; `no_base` if nothing was given yet, or changes that together are larger than the state (and 64 KiB),
   * or more than 1,024: give the whole state.
   */
  giveChange(change: StateChange): void {
    this.driver.state.giveChange(change);
    this.driver.wake();
  }

  /** Asks the game for its state and stores it at once, if this peer is host. */
  saveNow(): void {
    this.driver.saveNow();
  }

  /**
   * Host only: begins to hand the game over, to this member or to whoever would be elected. Ends with the event `hand_over_failed`, after which
   * this peer is host as before, or with `demoted` and the new host's game.
   *
   * @throws {@link HostError} `not_host`, `unknown_seat`, `nobody_eligible`.
   */
  handOver(to?: ConnectionId): void {
    if (!this.isHost) throw new HostError("not_host");
    const whom = to ?? this.lobby.successor ?? undefined;
    if (whom === undefined) throw new HostError("nobody_eligible");
    if (whom === this.me || memberAt(this.lobby, whom) === undefined) throw new HostError("unknown_seat");
    this.driver.askHandOver(whom);
  }

  /**
   * Host only: places an object, or gives it another owner and other data (at most 64 KiB), and tells the guests.
   *
   * @throws {@link HostError} `not_host`, `unknown_seat`, `too_many`, `too_large`.
   */
  placeObject(id: ObjectId, owner: ConnectionId | undefined, data: Uint8Array = new Uint8Array()): void {
    this.driver.state.placeObject(id, owner, data);
  }

  /**
   * Host only: removes an object, if it is there, and tells the guests.
   *
   * @throws {@link HostError} `not_host`.
   */
  removeObject(id: ObjectId): void {
    this.driver.state.removeObject(id);
  }

  /**
   * Host only: keeps data of a seat (at most 64 KiB) that no guest sees. It is part of each state.
   *
   * @throws {@link HostError} `not_host`, `unknown_seat`, `too_large`.
   */
  setSeatData(connection: ConnectionId, data: Uint8Array): void {
    this.driver.state.setSeatData(connection, data);
  }

  /** Host only: what is kept of a seat. */
  seatData(connection: ConnectionId): Uint8Array | undefined {
    return this.driver.state.seats.get(connection);
  }

  /** What a panel shows: who hosts, by which ways peers are reached, how fresh the states are. */
  stats(): SessionStats {
    return statsOf(this.driver);
  }

  /**
   * Leaves: the others are told, the seat is given up, and the session ends with the event `left`. A host hands over first, or where nobody can
   * take over, asks the game for its state and stores it. The promise is kept once the session is over, whatever ended it.
   */
  leave(): Promise<void> {
    return this.driver.leave();
  }
}
