import { blake3 } from "@noble/hashes/blake3.js";

import { compareGenerations, type Generation } from "./generation.js";
import { toHex } from "./id.js";
import { SNAPSHOT_BYTES_MAX } from "./limits.js";
import { done, failed, type Result } from "./result.js";

/*
 * Records of snapshots (USNP) and of what has become of them (USND): headers, lengths, checksums. `snapshot.rs` draws them.
 */

/**
 * Why bytes are not a snapshot: cut short; larger than allowed; not of a version that is known here (or with numbers above 2^53 - 1);
 * changed on the way; a body that cannot be read; sealed, and there is no key; sealed with another key or for another place; a delta
 * that leads from another snapshot.
 */
export type SnapshotError = "truncated" | "too_large" | "unknown" | "checksum" | "body" | "sealed" | "key" | "base";

/** What a record says of itself. */
export interface Header {
  /** Where it stands. */
  readonly generation: Generation;
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in microseconds. */
  readonly elapsedUs: number;
  /** Over header and body, as hexadecimal. */
  readonly checksum: string;
}

/** What a delta says of itself: what it leads to, and */
export interface DeltaHeader extends Header {
  /** what it leads from. */
  readonly base: Generation;
}

/** The two kinds of records: how they begin, and how long their headers are. */
export interface Layout {
  readonly magic: string;
  readonly headerBytes: number;
}

/** A snapshot's record. */
export const SNAPSHOT: Layout = { magic: "USNP", headerBytes: 76 };
/** A delta's record. */
export const DELTA: Layout = { magic: "USND", headerBytes: 92 };
/** Flag: the body is compressed with zstd. */
export const COMPRESSED = 1;
/** Flag: the body is sealed with a key of the game. */
export const SEALED = 2;

const VERSION = 1;
const FLAGS = 5;
const NUMBERS = 8;
/** Bytes of a checksum. */
export const CHECKSUM_BYTES = 32;
const LENGTH_BYTES = 4;

/** Thrown inside this directory where bytes are refused; what is exported to others catches it ({@link guarded}). */
export class Refused extends Error {
  override readonly name = "Refused";

  /** For this reason. */
  constructor(readonly why: SnapshotError) {
    super(`a snapshot is refused: ${why}`);
  }
}

/** What it makes, or why it {@link Refused}. */
export function guarded<T>(make: () => T): Result<T, SnapshotError> {
  try {
    return done(make());
  } catch (error) {
    if (error instanceof Refused) return failed(error.why);
    throw error;
  }
}

/** Reads a snapshot's header and checks the whole record against it: length and checksum. The body is not looked into. */
export function checkHeader(record: Uint8Array): Result<Header, SnapshotError> {
  return guarded(() => checkedHeader(record));
}

/** Reads a delta's header and checks the whole record against it: length, checksum, and that it leads to something newer. */
export function checkDeltaHeader(record: Uint8Array): Result<DeltaHeader, SnapshotError> {
  return guarded(() => checkedDeltaHeader(record));
}

/** How many bytes a snapshot's record has, if it begins here: records follow each other in a chain. */
export function recordBytes(record: Uint8Array): Result<number, SnapshotError> {
  return guarded(() => bytesOf(record, SNAPSHOT));
}

/** How many bytes a delta's record has, if it begins here. */
export function deltaRecordBytes(record: Uint8Array): Result<number, SnapshotError> {
  return guarded(() => bytesOf(record, DELTA));
}

/** As {@link checkHeader}, but throws. */
export function checkedHeader(record: Uint8Array): Header {
  const { numbers, checksum } = checked(record, SNAPSHOT);
  const [epoch = 0, seq = 0, tick = 0, elapsedUs = 0] = numbers;
  return { generation: { epoch, seq }, tick, elapsedUs, checksum };
}

/** As {@link checkDeltaHeader}, but throws. */
export function checkedDeltaHeader(record: Uint8Array): DeltaHeader {
  const { numbers, checksum } = checked(record, DELTA);
  const [epoch = 0, seq = 0, baseEpoch = 0, baseSeq = 0, tick = 0, elapsedUs = 0] = numbers;
  const generation = { epoch, seq };
  const base = { epoch: baseEpoch, seq: baseSeq };
  if (compareGenerations(generation, base) <= 0) throw new Refused("unknown");
  return { base, generation, tick, elapsedUs, checksum };
}

/** A record's flags. It has been checked. */
export function flagsOf(record: Uint8Array): number {
  return record[FLAGS] ?? 0;
}

/** The first bytes of a record, up to its length: what it is, and its numbers. They are what is sealed with the body. */
export function head({ magic }: Layout, flags: number, numbers: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(NUMBERS + 8 * numbers.length);
  for (let at = 0; at < magic.length; at += 1) bytes[at] = magic.charCodeAt(at);
  bytes.set([VERSION, flags], 4);
  const view = new DataView(bytes.buffer);
  numbers.forEach((number, index) => view.setBigUint64(NUMBERS + 8 * index, BigInt(number)));
  return bytes;
}

/** The head of a record that has been checked. */
export function headOf(record: Uint8Array, { headerBytes }: Layout): Uint8Array {
  return record.subarray(0, headerBytes - CHECKSUM_BYTES - LENGTH_BYTES);
}

/** Writes a record: its head, and what it holds. Throws above `SNAPSHOT_BYTES_MAX`. */
export function written(start: Uint8Array, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const checksumAt = start.length + LENGTH_BYTES;
  const bytes = checksumAt + CHECKSUM_BYTES + body.length;
  if (bytes > SNAPSHOT_BYTES_MAX) throw new Refused("too_large");
  const record = new Uint8Array(bytes);
  record.set(start);
  new DataView(record.buffer).setUint32(start.length, body.length);
  record.set(body, checksumAt + CHECKSUM_BYTES);
  record.set(checksumOf(record.subarray(0, checksumAt), body), checksumAt);
  return record;
}

/** The BLAKE3-256 of bytes in one or two pieces. */
export function checksumOf(...pieces: readonly Uint8Array[]): Uint8Array {
  const hash = blake3.create();
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

/** Whether two byte strings are the same. */
export function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

function checked(record: Uint8Array, layout: Layout): { readonly numbers: readonly number[]; readonly checksum: string } {
  const bytes = bytesOf(record, layout);
  if (record.length < bytes) throw new Refused("truncated");
  if (record.length > bytes) throw new Refused("too_large");
  const covered = record.subarray(0, layout.headerBytes - CHECKSUM_BYTES);
  const claimed = record.subarray(covered.length, layout.headerBytes);
  if (!areEqual(claimed, checksumOf(covered, record.subarray(layout.headerBytes)))) throw new Refused("checksum");
  const view = new DataView(record.buffer, record.byteOffset);
  const numbers: number[] = [];
  for (let at = NUMBERS; at < covered.length - LENGTH_BYTES; at += 8) numbers.push(Number(view.getBigUint64(at)));
  if (!numbers.every(Number.isSafeInteger)) throw new Refused("unknown");
  return { numbers, checksum: toHex(claimed) };
}

/** The length of a record, by its header. */
function bytesOf(record: Uint8Array, { magic, headerBytes }: Layout): number {
  if (record.length < headerBytes) throw new Refused("truncated");
  const begins = String.fromCharCode(...record.subarray(0, 4));
  const isKnown = begins === magic && record[4] === VERSION && (flagsOf(record) & ~(COMPRESSED | SEALED)) === 0;
  if (!isKnown || record[6] !== 0 || record[7] !== 0) throw new Refused("unknown");
  const view = new DataView(record.buffer, record.byteOffset);
  return headerBytes + view.getUint32(headerBytes - CHECKSUM_BYTES - LENGTH_BYTES);
}
