import type { HostEpoch } from "./id.js";

/** Where a snapshot stands among those of its lobby: by epoch, then by number. A newer one replaces an older one. */
export interface Generation {
  /** The epoch of the host that saved it. */
  readonly epoch: HostEpoch;
  /** Its number in that epoch, from 0. */
  readonly seq: number;
}

/** Below 0 if `one` is older than `other`, 0 if they are the same, above 0 if it is newer. */
export function compareGenerations(one: Generation, other: Generation): number {
  return one.epoch - other.epoch || one.seq - other.seq;
}

/** The newer of two; one that is there is newer than none. */
export function newerOf(one: Generation | undefined, other: Generation | undefined): Generation | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return compareGenerations(one, other) >= 0 ? one : other;
}

/** As {@link compareGenerations}; none is older than any. */
export function compareOptional(one: Generation | undefined, other: Generation | undefined): number {
  if (one === undefined || other === undefined) return Number(one !== undefined) - Number(other !== undefined);
  return compareGenerations(one, other);
}
