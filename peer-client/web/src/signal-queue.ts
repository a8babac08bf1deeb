/** Signals that wait for the event socket, and for the service's patience. */

import type { Millis } from "./protocol/id.js";
import type { ClientMessage } from "./protocol/message.js";
import type { Signal } from "./protocol/signal.js";

/** A signal to a member's process. */
export type SignalMessage = Extract<ClientMessage, { type: "signal" }>;

/**
 * Signals that go out in a second. The service takes 50 messages of a socket, and closes one that says more; a host whom a hundred guests
 * dial at once must not lose its socket by that.
 */
export const SIGNALS_PER_S = 30;
/** Those that go out at once after a pause. */
export const SIGNALS_BURST = 50;
/** Those that wait. Above it the least important is forgotten: its attempt runs out, or its link is found dead. */
export const SIGNALS_MAX = 256;
/** Signals that waited for longer are of attempts that have run out. */
const LIFE_MS = 2000;

/** What cannot wait, what may, and what matters least. */
const RANKS: Readonly<Record<Signal["kind"], number>> = { answer: 0, offer: 0, candidates: 1, close: 2 };

interface Waiting {
  readonly message: SignalMessage;
  readonly at: Millis;
}

/** Signals in the order in which they matter, as many as may go. */
export class SignalQueue {
  private waiting: Waiting[] = [];
  private allowance = SIGNALS_BURST;
  private countedAt: Millis;

  constructor(now: Millis) {
    this.countedAt = now;
  }

  /** A signal is to be said. */
  push(message: SignalMessage, now: Millis): void {
    this.waiting.push({ message, at: now });
    // Sorting keeps the order of those that matter alike.
    this.waiting.sort((one, other) => RANKS[one.message.signal.kind] - RANKS[other.message.signal.kind]);
    if (this.waiting.length > SIGNALS_MAX) this.waiting.pop();
  }

  /** What goes out now. */
  poll(now: Millis): SignalMessage[] {
    this.allowance = Math.min(SIGNALS_BURST, this.allowance + (SIGNALS_PER_S * (now - this.countedAt)) / 1000);
    this.countedAt = now;
    const fresh = this.waiting.filter(({ at }) => now - at < LIFE_MS);
    const count = Math.min(fresh.length, Math.floor(this.allowance));
    this.allowance -= count;
    this.waiting = fresh.slice(count);
    return fresh.slice(0, count).map(({ message }) => message);
  }

  /** After how long {@link poll} is to be called again; `undefined`: nothing waits. */
  pauseMs(): Millis | undefined {
    return this.waiting.length === 0 ? undefined : 1000 / SIGNALS_PER_S;
  }
}
