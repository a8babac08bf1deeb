import type { Millis } from "./id.js";
import { HEARTBEAT_MS, SUSPICION_MARGIN_MS, SUSPICION_MAX_MS, SUSPICION_MIN_MS } from "./limits.js";

/*
 * How long one peer may be silent before it is worth a word: the mean interval of what comes, four times its mean deviation, and a
 * margin. Gains as in RFC 6298, but the deviation falls much more slowly than it rises, and what comes sooner than half a heartbeat
 * after what counted last is heard, but no interval. `detector.rs` says why.
 *
 * Intervals are counted in whole nanoseconds, as the Rust one does, so that both always agree.
 */

const NANOS_PER_MS = 1e6;
const nanos = (ms: Millis): number => Math.round(ms * NANOS_PER_MS);

/** Less than this after what counted last, an arrival does not end an interval. */
const INTERVAL_MIN = nanos(HEARTBEAT_MS / 2);
/** Of what is new in an interval, the mean takes one part in this many. */
const MEAN_GAIN = 8;
/** The same for the deviation, where it grows. */
const RISE_GAIN = 4;
/** The same where it shrinks: 256 heartbeats are 26 seconds. */
const FALL_GAIN = 256;
/** Deviations above the mean that are no silence yet. */
const DEVIATIONS = 4;
/** The deviation of a link that nothing is known of: two heartbeats in a row may be lost. */
const DEVIATION_AT_FIRST = nanos(25);

/** Tells when one link has been silent for too long. It knows nothing of the others, and has no clock. */
export class Detector {
  #heard: { at: Millis; countedAt: Millis } | undefined;
  #mean = nanos(HEARTBEAT_MS);
  #deviation = DEVIATION_AT_FIRST;

  /** Something came on the link, whatever it was. A time before the last one changes nothing. */
  heard(now: Millis): void {
    if (this.#heard === undefined) {
      this.#heard = { at: now, countedAt: now };
      return;
    }
    const { at, countedAt } = this.#heard;
    const interval = Math.max(0, nanos(now - countedAt));
    const counts = interval >= INTERVAL_MIN;
    // An outage is not the link's habit: much more than is tolerated teaches no more.
    if (counts) this.#learn(Math.min(interval, 2 * this.#threshold()));
    this.#heard = { at: Math.max(at, now), countedAt: counts ? now : countedAt };
  }

  /** This process has not run for a while, and so has heard nobody: the peer gets its time anew, and the pause is no interval. */
  paused(now: Millis): void {
    if (this.#heard === undefined) return;
    const { at, countedAt } = this.#heard;
    this.#heard = { at: Math.max(at, now), countedAt: Math.max(countedAt, now) };
  }

  /** When the peer is silent if nothing comes until then; `undefined`: nothing ever came. */
  silentAt(): Millis | undefined {
    return this.#heard === undefined ? undefined : this.#heard.at + this.threshold();
  }

  /** Whether nothing came for longer than this link is ever silent. False if nothing ever came. */
  isSilent(now: Millis): boolean {
    const at = this.silentAt();
    return at !== undefined && at <= now;
  }

  /** The silence that is tolerated now: `SUSPICION_MIN_MS` to `SUSPICION_MAX_MS`. */
  threshold(): Millis {
    return this.#threshold() / NANOS_PER_MS;
  }

  #threshold(): number {
    const expected = this.#mean + DEVIATIONS * this.#deviation + nanos(SUSPICION_MARGIN_MS);
    return Math.min(Math.max(expected, nanos(SUSPICION_MIN_MS)), nanos(SUSPICION_MAX_MS));
  }

  #learn(interval: number): void {
    const error = Math.abs(interval - this.#mean);
    this.#deviation +=
      error > this.#deviation
        ? Math.floor((error - this.#deviation) / RISE_GAIN)
        : -Math.floor((this.#deviation - error) / FALL_GAIN);
    this.#mean += Math.floor(interval / MEAN_GAIN) - Math.floor(this.#mean / MEAN_GAIN);
  }
}
