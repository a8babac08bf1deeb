import { compareGenerations, type Generation } from "./generation.js";
import type { ConnectionId, Millis } from "./id.js";
import { FEED_IN_FLIGHT_BYTES_MAX, FEED_IN_FLIGHT_MAX, HEARTBEAT_MS } from "./limits.js";

/*
 * The newest state, held by the successor: what a host sends it. Each state that the game gives goes as the difference to the one
 * before it, which is on its way on the same ordered stream; whole where there is none, or where the successor says that a difference
 * did not fit. While a successor follows another, the old one is fed until the new one is warm.
 */

/** What can be fed. `Image` is. */
export interface State {
  /** Where it stands. */
  readonly generation: Generation;
  /** The game's tick. */
  readonly tick: number;
}

/** What is to be encoded and sent. */
export interface Job<S> {
  /** To whom. */
  readonly to: ConnectionId;
  /** What the difference is made to; `undefined`: the whole state goes. */
  readonly base: S | undefined;
  /** The state. */
  readonly state: S;
}

/** How far behind a successor is. */
export interface Lag {
  /** Ticks that the game has given and the successor has not acknowledged. */
  readonly ticks: number;
  /** Bytes under way. */
  readonly bytes: number;
  /** For how long the successor has lacked the oldest of them. */
  readonly time: Millis;
}

interface InFlight {
  readonly generation: Generation;
  readonly tick: number;
  readonly bytes: number;
  readonly givenAt: Millis;
}

interface Target<S> {
  readonly to: ConnectionId;
  /** The newest that was sent. */
  sent: S | undefined;
  inFlight: InFlight[];
  acknowledged: { readonly generation: Generation; readonly tick: number } | undefined;
}

/** What a host sends to its successor. */
export class Feed<S extends State> {
  #successor: Target<S> | undefined;
  /** The successor before, until the new one is warm. */
  #former: Target<S> | undefined;
  #newest: { readonly state: S; readonly givenAt: Millis } | undefined;
  /** A job is with the shell: when its state was given. */
  #encoding: Millis | undefined;
  readonly #bytesPerSecond: number;
  /** What was sent is paid off by then. A heartbeat's worth may be owed. */
  #paidAt: Millis | undefined;
  #sentBytes = 0;

  /** Nobody is fed yet. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Whom the lobby would elect now, if a link to it is up. The one before is fed until this one is warm. */
  setSuccessor(to: ConnectionId | undefined): void {
    if (to === undefined || this.#successor?.to === to) return;
    const before = this.#successor;
    if (this.#former?.to === to) {
      this.#successor = this.#former;
      this.#former = undefined;
    } else {
      this.#successor = { to, sent: undefined, inFlight: [], acknowledged: undefined };
    }
    if (before?.acknowledged !== undefined) this.#former = before;
    this.#letFormerGo();
  }

  /** The link to a member is down: what was under way is lost, and what it held with its process. */
  handleLinkDown(peer: ConnectionId): void {
    if (this.#successor?.to === peer) this.#successor = undefined;
    if (this.#former?.to === peer) this.#former = undefined;
  }

  /** The game has given a state. */
  offer(state: S, now: Millis): void {
    this.#newest = { state, givenAt: now };
  }

  /** What is to be sent now. Its encoding ends with {@link Feed.handleSent}; one at a time. */
  pollJob(now: Millis): Job<S> | undefined {
    const openAt = this.#openAt();
    if (this.#encoding !== undefined || (openAt !== undefined && openAt > now)) return undefined;
    const target = this.#next();
    if (this.#newest === undefined || target === undefined) return undefined;
    this.#encoding = this.#newest.givenAt;
    return { to: target.to, base: target.sent, state: this.#newest.state };
  }

  /** When {@link Feed.pollJob} has something although nothing happened. */
  pollTimeout(): Millis | undefined {
    return this.#encoding === undefined && this.#next() !== undefined ? this.#openAt() : undefined;
  }

  /** A job is done and goes on its way, with so many bytes; `undefined`: it could not be encoded. */
  handleSent(job: Job<S>, bytes: number | undefined, now: Millis): void {
    const givenAt = this.#encoding ?? now;
    this.#encoding = undefined;
    if (bytes === undefined) return;
    this.#sentBytes += bytes;
    const cost = Math.round((bytes / Math.max(this.#bytesPerSecond, 1)) * 1e9) / 1e6;
    this.#paidAt = Math.max(this.#paidAt ?? now, now) + cost;
    const target = this.#target(job.to);
    if (target === undefined || !goesOnFrom(target, job)) return;
    target.inFlight.push({ generation: job.state.generation, tick: job.state.tick, bytes, givenAt });
    target.sent = job.state;
  }

  /** Nothing can be sent until then. */
  holdOff(until: Millis): void {
    this.#paidAt = Math.max(this.#paidAt ?? until, until);
  }

  /** A member holds this state. */
  handleTaken(from: ConnectionId, generation: Generation): void {
    const target = this.#target(from);
    if (target === undefined) return;
    for (let state = target.inFlight[0]; state !== undefined; state = target.inFlight[0]) {
      if (compareGenerations(state.generation, generation) > 0) break;
      target.acknowledged = { generation: state.generation, tick: state.tick };
      target.inFlight.shift();
    }
    this.#letFormerGo();
  }

  /** A member wants a whole state. */
  handleWanted(from: ConnectionId): void {
    const target = this.#target(from);
    if (target === undefined) return;
    target.sent = undefined;
    target.inFlight = [];
  }

  /** The newest state that the successor holds. */
  acknowledged(successor: ConnectionId): Generation | undefined {
    return this.#target(successor)?.acknowledged?.generation;
  }

  /** Who is fed as successor. */
  get successor(): ConnectionId | undefined {
    return this.#successor?.to;
  }

  /** How far behind the successor is; `undefined`: there is none, or it holds nothing yet. */
  lag(now: Millis): Lag | undefined {
    const acknowledged = this.#successor?.acknowledged;
    if (this.#successor === undefined || acknowledged === undefined || this.#newest === undefined) return undefined;
    const { state, givenAt } = this.#newest;
    const oldest = this.#successor.inFlight[0]?.givenAt ?? givenAt;
    const isBehind = compareGenerations(state.generation, acknowledged.generation) > 0;
    return {
      ticks: Math.max(0, state.tick - acknowledged.tick),
      bytes: bytesInFlight(this.#successor),
      time: isBehind ? Math.max(0, now - oldest) : 0,
    };
  }

  /** Bytes of states sent so far. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Who is to be sent the newest state now. */
  #next(): Target<S> | undefined {
    const newest = this.#newest?.state.generation;
    if (newest === undefined) return undefined;
    const lacks = (target: Target<S> | undefined): boolean =>
      target !== undefined &&
      maySend(target) &&
      (target.sent === undefined || compareGenerations(target.sent.generation, newest) < 0);
    return [this.#successor, this.#former].find(lacks);
  }

  /** From when on the rate allows to send. */
  #openAt(): Millis | undefined {
    return this.#paidAt === undefined ? undefined : this.#paidAt - HEARTBEAT_MS;
  }

  #target(to: ConnectionId): Target<S> | undefined {
    return [this.#successor, this.#former].find((target) => target?.to === to);
  }

  #letFormerGo(): void {
    if (this.#successor?.acknowledged !== undefined) this.#former = undefined;
  }
}

function bytesInFlight<S>(target: Target<S>): number {
  return target.inFlight.reduce((bytes, state) => bytes + state.bytes, 0);
}

function maySend<S>(target: Target<S>): boolean {
  const count = target.inFlight.length;
  return count < FEED_IN_FLIGHT_MAX && (count === 0 || bytesInFlight(target) < FEED_IN_FLIGHT_BYTES_MAX);
}

/** Whether a job was made for what the target has: meanwhile its link may be another one, or it may want a whole state. */
function goesOnFrom<S extends State>(target: Target<S>, { base }: Job<S>): boolean {
  if (base === undefined) return true;
  return target.sent !== undefined && compareGenerations(target.sent.generation, base.generation) === 0;
}
