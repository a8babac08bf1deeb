/** What took how long in a migration, as this peer saw it. */

import type { MigrationTrace, StateSource } from "./events.js";
import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, HostEpoch, Millis } from "./protocol/id.js";

/** What is known so far of the migration under way. */
export class Timeline {
  ticksLost = 0;
  saidAgain = 0;
  private from: ConnectionId | undefined;
  private heardAt: Millis | undefined;
  private planned = false;
  private noticedAt: Millis | undefined;
  private electedAt: Millis | undefined;
  private foundAt: Millis | undefined;
  private restoredAt: Millis | undefined;
  private source: StateSource | undefined;
  private generation: Generation | undefined;

  /** The host was heard, or is this peer: nothing is under way. */
  heard(host: ConnectionId, now: Millis): void {
    this.forget();
    this.from = host;
    this.heardAt = now;
  }

  /** This peer knows that the host is lost. */
  noticed(now: Millis): void {
    this.noticedAt ??= now;
  }

  /** Another was elected. One more election, because that one has failed, counts from its own. */
  elected(planned: boolean, now: Millis): void {
    this.noticed(now);
    this.electedAt = now;
    this.planned = planned;
  }

  /** This peer was elected, and knows what it goes on from. */
  found(source: StateSource, generation: Generation | undefined, now: Millis): void {
    [this.source, this.generation, this.foundAt] = [source, generation, now];
  }

  /** Its game runs. */
  restored(now: Millis): void {
    this.restoredAt = now;
  }

  /** The migration is over. `undefined`: there was none. */
  finish(to: ConnectionId, epoch: HostEpoch, now: Millis): MigrationTrace | undefined {
    const { from, planned, source, generation, ticksLost, saidAgain, electedAt } = this;
    const began = this.heardAt ?? this.noticedAt;
    const since = (at: Millis | undefined): Millis | undefined => (at === undefined || began === undefined ? undefined : at - began);
    const [noticedMs, electedMs, foundMs, restoredMs] = [this.noticedAt, electedAt, this.foundAt, this.restoredAt].map(since);
    this.forget();
    if (began === undefined || electedAt === undefined) return undefined;
    const resumedMs = now - began;
    return { from, to, epoch, planned, noticedMs, electedMs, foundMs, restoredMs, resumedMs, source, generation, ticksLost, saidAgain };
  }

  private forget(): void {
    this.from = this.heardAt = this.noticedAt = this.electedAt = this.foundAt = this.restoredAt = undefined;
    this.source = this.generation = undefined;
    this.planned = false;
    this.ticksLost = this.saidAgain = 0;
  }
}
