import { compareGenerations, compareOptional, type Generation, newerOf } from "./generation.js";
import type { ConnectionId, HostEpoch, Millis } from "./id.js";
import { NEWEST_STATE_WAIT_MS, STATE_FROM_MEMBER_TIMEOUT_MS } from "./limits.js";

/*
 * Which state an elected member goes on from: the newest of its own, the lobby's, and what the members that it reaches hold. One that
 * its host kept warm needs only the lobby's word that nothing newer is durable. Another waits a moment for the members to arrive and
 * say what they hold, and asks the one that has the newest.
 */

/** Where the newest state is: held here, fetched from the lobby, or nothing was ever kept. */
export type Source = "own" | "lobby" | "nothing";

/** What is to be done. */
export type Step =
  /** Ask the lobby whether it has something newer than this; `undefined`: anything. */
  | { readonly kind: "ask_lobby"; readonly newerThan: Generation | undefined }
  /** Ask a member for what it said that it holds. */
  | { readonly kind: "ask_member"; readonly member: ConnectionId; readonly generation: Generation }
  /** Go on from this. */
  | { readonly kind: "use"; readonly source: Source };

type Lobby = { readonly kind: "to_ask" | "asked" } | { readonly kind: "has"; readonly generation: Generation | undefined };

/** One election's search. */
export class Takeover {
  /** Which election. */
  readonly epoch: HostEpoch;
  #own: Generation | undefined;
  /** The last host kept this member warm. */
  readonly #warm: boolean;
  #lobby: Lobby = { kind: "to_ask" };
  /** Members that are expected and have not said what they hold. */
  readonly #silent: Set<ConnectionId>;
  readonly #holders = new Map<ConnectionId, Generation>();
  #asked: { readonly member: ConnectionId; readonly until: Millis } | undefined;
  readonly #waitUntil: Millis;
  #done = false;

  /** An election was won. `own` is the newest state that is held here; `members` are those who may hold another. */
  constructor(epoch: HostEpoch, own: Generation | undefined, warm: boolean, members: Iterable<ConnectionId>, now: Millis) {
    this.epoch = epoch;
    this.#own = own;
    this.#warm = warm && own !== undefined;
    this.#silent = new Set(members);
    this.#waitUntil = now + NEWEST_STATE_WAIT_MS;
  }

  /** A member has arrived, and holds this. If it was asked, then on a link that is gone. */
  handleHello(member: ConnectionId, holds: Generation | undefined): void {
    this.handleGone(member);
    // No state is of an epoch that is still to come.
    if (holds !== undefined && holds.epoch <= this.epoch) this.#holders.set(member, holds);
  }

  /** A member is gone. */
  handleGone(member: ConnectionId): void {
    this.#silent.delete(member);
    this.#holders.delete(member);
    if (this.#asked?.member === member) this.#asked = undefined;
  }

  /** A member has sent what it holds, and it is held here now. */
  handleState(from: ConnectionId, generation: Generation): void {
    this.#own = newerOf(this.#own, generation);
    this.#holders.delete(from);
    if (this.#asked?.member === from) this.#asked = undefined;
  }

  /** The lobby has answered: it has this one; `undefined`: nothing newer than what was asked about. */
  handleLobby(newer: Generation | undefined): void {
    this.#lobby = { kind: "has", generation: newer };
  }

  /** The lobby could not be asked: it is asked again. */
  handleLobbyFailed(): void {
    this.#lobby = { kind: "to_ask" };
  }

  /** What is to be done now. */
  poll(now: Millis): Step | undefined {
    if (this.#done) return undefined;
    if (this.#asked !== undefined && this.#asked.until <= now) this.handleGone(this.#asked.member);
    if (this.#lobby.kind === "to_ask") {
      this.#lobby = { kind: "asked" };
      return { kind: "ask_lobby", newerThan: this.#own };
    }
    if (this.#lobby.kind !== "has") return undefined;
    const lobbys = this.#lobby.generation;
    const best = newerOf(this.#own, lobbys);
    if (this.#warm && compareOptional(this.#own, best) === 0) return this.#finish(lobbys);
    if (this.#asked !== undefined || (this.#silent.size > 0 && now < this.#waitUntil)) return undefined;
    const newest = this.#newestHolder();
    if (newest !== undefined && compareOptional(newest.generation, best) > 0) {
      this.#asked = { member: newest.member, until: now + STATE_FROM_MEMBER_TIMEOUT_MS };
      return { kind: "ask_member", ...newest };
    }
    return this.#finish(lobbys);
  }

  /** When {@link Takeover.poll} may have something although nothing happened. */
  pollTimeout(): Millis | undefined {
    if (this.#done || this.#lobby.kind !== "has") return undefined;
    return this.#asked?.until ?? (this.#silent.size > 0 ? this.#waitUntil : undefined);
  }

  /** Who holds the newest state; of several the one with the highest connection id. */
  #newestHolder(): { readonly member: ConnectionId; readonly generation: Generation } | undefined {
    const holders = [...this.#holders].map(([member, generation]) => ({ member, generation }));
    holders.sort((one, other) => compareGenerations(one.generation, other.generation) || one.member - other.member);
    return holders.at(-1);
  }

  #finish(lobbys: Generation | undefined): Step {
    this.#done = true;
    if (this.#own === undefined && lobbys === undefined) return { kind: "use", source: "nothing" };
    return { kind: "use", source: compareOptional(this.#own, lobbys) >= 0 ? "own" : "lobby" };
  }
}
