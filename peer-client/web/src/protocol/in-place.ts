import { expand } from "./compression.js";
import { Refused } from "./record.js";
import { ByteQueue, ByteReader } from "./varint.js";

/*
 * Differences of bytes that stay where they are, but for one place (the seam) at which they have grown or shrunk. `in_place.rs` draws
 * them. Written here without zstd: parts are plain; read with it.
 *
 *   +--------+------------------+--------------------+----------------+
 *   | seam # | part: kept, #…   | part: changed, #…  | part: bytes …  |        # a varint
 *   +--------+------------------+--------------------+----------------+
 */

/** The Rust one compares so many bytes at once; here it is the step in which the seam is looked for. */
const BLOCK = 64;
/** So many equal bytes end a change. */
const GAP = 4;
/** A change is told in parts of so many bytes. */
const CHANGE_BYTES_MAX = 4096;
/** Changes of so many bytes say nothing yet about the rest. */
const TRIED_BYTES = 1024;

interface Changes {
  readonly kept: ByteQueue;
  readonly changed: ByteQueue;
  readonly bytes: ByteQueue;
}

/** Writes the patch that makes `result` of `base`. Where hardly anything is where it was, all of it is told. */
export function makePatch(base: Uint8Array, result: Uint8Array): Uint8Array<ArrayBuffer> {
  const seam = seamOf(base, result);
  const from = laidOut(base, result.length, seam);
  const changes = compare(from, result) ?? everything(from, result);
  const patch = new ByteQueue();
  patch.number(seam);
  for (const { bytes } of [changes.kept, changes.changed, changes.bytes]) {
    patch.number(2 * bytes.length);
    patch.append(bytes);
  }
  return patch.bytes;
}

/** Makes the result of a patch, `length` bytes of it. Throws {@link Refused}. */
export function applyPatch(base: Uint8Array, length: number, patch: Uint8Array): Uint8Array {
  const reader = new ByteReader(patch);
  const seam = reader.number();
  if (seam > Math.min(length, base.length)) throw new Refused("body");
  // No stream is longer than the result: each pair of numbers stands for at least as many bytes of it.
  const kept = new ByteReader(part(reader, length));
  const changed = new ByteReader(part(reader, length));
  const bytes = new ByteReader(part(reader, length));
  if (!reader.isEmpty) throw new Refused("body");
  const result = laidOut(base, length, seam);
  for (let at = 0; !kept.isEmpty; ) {
    const from = at + kept.number();
    if (from > length) throw new Refused("body");
    const count = changed.number();
    if (count > length - from) throw new Refused("body");
    bytes.take(count).forEach((step, index) => (result[from + index] = ((result[from + index] ?? 0) + step) & 0xff));
    at = from + count;
  }
  if (!changed.isEmpty || !bytes.isEmpty) throw new Refused("body");
  return result;
}

function part(reader: ByteReader, bytesMax: number): Uint8Array {
  const number = reader.number();
  const bytes = reader.take(Math.floor(number / 2));
  return number % 2 === 0 ? bytes : expand(bytes, bytesMax);
}

/** `undefined` if the changes take more than half of what has been compared: then the layout has shifted. */
function compare(from: Uint8Array, to: Uint8Array): Changes | undefined {
  const changes = nothing();
  for (let at = 0; sizeOf(changes) <= TRIED_BYTES + Math.floor(at / 2); ) {
    const kept = equalBytes(from, to, at);
    if (at + kept === to.length) return changes;
    const start = at + kept;
    const changed = changedBytes(from, to, start);
    changes.kept.number(kept);
    changes.changed.number(changed);
    pushSteps(changes.bytes, from, to, start, start + changed);
    at = start + changed;
  }
  return undefined;
}

function everything(from: Uint8Array, to: Uint8Array): Changes {
  const changes = nothing();
  changes.kept.number(0);
  changes.changed.number(to.length);
  pushSteps(changes.bytes, from, to, 0, to.length);
  return changes;
}

function nothing(): Changes {
  return { kept: new ByteQueue(), changed: new ByteQueue(), bytes: new ByteQueue() };
}

function sizeOf({ kept, changed, bytes }: Changes): number {
  return kept.length + changed.length + bytes.length;
}

function pushSteps(steps: ByteQueue, from: Uint8Array, to: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end; at += 1) steps.byte(((to[at] ?? 0) - (from[at] ?? 0)) & 0xff);
}

/** How many bytes are equal from here on. */
function equalBytes(left: Uint8Array, right: Uint8Array, start: number): number {
  let at = start;
  while (at < right.length && left[at] === right[at]) at += 1;
  return at - start;
}

/** How many bytes there are, from here on, until {@link GAP} equal ones follow. At most {@link CHANGE_BYTES_MAX}. */
function changedBytes(left: Uint8Array, right: Uint8Array, start: number): number {
  const end = Math.min(right.length, start + CHANGE_BYTES_MAX);
  let changed = 0;
  for (let at = start, equal = 0; at < end && equal < GAP; at += 1) {
    equal += 1;
    if (left[at] !== right[at]) {
      changed = at + 1 - start;
      equal = 0;
    }
  }
  return changed;
}

/** A copy of the base as long as the result: front and end where they are there, zeros between them. */
function laidOut(base: Uint8Array, length: number, seam: number): Uint8Array<ArrayBuffer> {
  const endBytes = Math.min(length, base.length) - seam;
  const bytes = new Uint8Array(length);
  bytes.set(base.subarray(0, seam));
  bytes.set(base.subarray(base.length - endBytes), length - endBytes);
  return bytes;
}

/** Where the most bytes are equal, counted from the front before it and from the end behind it. */
function seamOf(base: Uint8Array, result: Uint8Array): number {
  const common = Math.min(base.length, result.length);
  if (base.length === result.length) return common;
  const block = bestCut(base, result, 0, common, BLOCK);
  // It is somewhere in the block before or behind the cut.
  const from = Math.max(0, block - BLOCK);
  return from + bestCut(base, result, from, Math.min(block + BLOCK, common), 1);
}

/** The multiple of `step`, counted from `from`, before which the fronts, and behind which the ends, have the most equal bytes. */
function bestCut(base: Uint8Array, result: Uint8Array, from: number, to: number, step: number): number {
  const common = Math.min(base.length, result.length);
  const [baseEnd, resultEnd] = [base.length - common, result.length - common];
  let [best, most, gain] = [0, 0, 0];
  for (let start = from; start + step <= to; start += step) {
    for (let at = start; at < start + step; at += 1) {
      gain += Number(base[at] === result[at]) - Number(base[baseEnd + at] === result[resultEnd + at]);
    }
    if (gain > most) [best, most] = [start + step - from, gain];
  }
  return best;
}
