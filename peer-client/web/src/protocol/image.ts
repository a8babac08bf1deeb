import { expand, expandAgainst } from "./compression.js";
import { compareGenerations, type Generation } from "./generation.js";
import { toHex } from "./id.js";
import { applyPatch, makePatch } from "./in-place.js";
import { SNAPSHOT_BYTES_MAX } from "./limits.js";
import {
  areEqual,
  CHECKSUM_BYTES,
  checkedDeltaHeader,
  checkedHeader,
  checksumOf,
  COMPRESSED,
  DELTA,
  flagsOf,
  guarded,
  head,
  type Header,
  Refused,
  SEALED,
  SNAPSHOT,
  type SnapshotError,
  written,
} from "./record.js";
import type { Result } from "./result.js";
import { decodeBody, encodeBody, type Snapshot } from "./snapshot.js";
import type { State } from "./standby.js";
import { ByteQueue, ByteReader } from "./varint.js";

/** A change in place, the only kind that is written here. */
const IN_PLACE = 0;
/** A zstd frame of the result with the base as what came before it. */
const MOVED = 1;

/**
 * A whole game at a tick, its body as plain MessagePack: what is sent, kept, and told apart. Records are written here neither compressed
 * nor sealed, and read if they are compressed; `seal.ts` has those with a key.
 */
export class Image implements State {
  /** Where it stands. */
  readonly generation: Generation;
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in microseconds. */
  readonly elapsedUs: number;
  /** The body as plain MessagePack, at most `SNAPSHOT_BYTES_MAX` bytes. They never change. */
  readonly bytes: Uint8Array;
  readonly #checksum: Uint8Array;

  private constructor({ generation, tick, elapsedUs }: Omit<Header, "checksum">, bytes: Uint8Array) {
    if (bytes.length > SNAPSHOT_BYTES_MAX) throw new Refused("too_large");
    this.generation = generation;
    this.tick = tick;
    this.elapsedUs = elapsedUs;
    this.bytes = bytes;
    this.#checksum = checksumOf(bytes);
  }

  /** Of a snapshot. `too_large` above `SNAPSHOT_BYTES_MAX`. */
  static of(snapshot: Snapshot): Result<Image, SnapshotError> {
    return guarded(() => new Image(snapshot, encodeBody(snapshot.body)));
  }

  /** Reads a snapshot's record that is not sealed and checks it; the body itself is not looked into. */
  static fromRecord(record: Uint8Array): Result<Image, SnapshotError> {
    return guarded(() => {
      const header = headerWithin(record);
      if ((flagsOf(record) & SEALED) !== 0) throw new Refused("sealed");
      return Image.ofBody(header, flagsOf(record), record.subarray(SNAPSHOT.headerBytes));
    });
  }

  /** What an open body holds. Throws {@link Refused}. For `seal.ts`. */
  static ofBody(header: Header, flags: number, body: Uint8Array): Image {
    const isCompressed = (flags & COMPRESSED) !== 0;
    return new Image(header, isCompressed ? expand(body, SNAPSHOT_BYTES_MAX) : body.slice());
  }

  /** The BLAKE3-256 of {@link Image.bytes} as hexadecimal: it names the state itself, however it travelled. */
  get checksum(): string {
    return toHex(this.#checksum);
  }

  /** Reads the body, as views of {@link Image.bytes}. `body` if it cannot be read. */
  decode(): Result<Snapshot, SnapshotError> {
    return guarded(() => {
      const body = decodeBody(this.bytes);
      if (body === undefined) throw new Refused("body");
      return { generation: this.generation, tick: this.tick, elapsedUs: this.elapsedUs, body };
    });
  }

  /** Writes the record. `too_large` above `SNAPSHOT_BYTES_MAX`. */
  toRecord(): Result<Uint8Array<ArrayBuffer>, SnapshotError> {
    return guarded(() => written(this.head(0), this.bytes));
  }

  /** The first bytes of its record. For `seal.ts`. */
  head(flags: number): Uint8Array<ArrayBuffer> {
    return head(SNAPSHOT, flags, [this.generation.epoch, this.generation.seq, this.tick, this.elapsedUs]);
  }

  /**
   * Writes what has become of `base`, as a record that is applied to it. `base` if that is not older. It is a little larger than
   * {@link Image.toRecord}'s if nothing is where it was.
   */
  deltaFrom(base: Image): Result<Uint8Array<ArrayBuffer>, SnapshotError> {
    return guarded(() => written(this.deltaHead(base, 0), this.differenceFrom(base)));
  }

  /** The first bytes of a delta's record. For `seal.ts`. */
  deltaHead(base: Image, flags: number): Uint8Array<ArrayBuffer> {
    const { generation, tick, elapsedUs } = this;
    return head(DELTA, flags, [generation.epoch, generation.seq, base.generation.epoch, base.generation.seq, tick, elapsedUs]);
  }

  /** What a delta holds: its kind, the checksum of what comes out, how long that is, and the patch. Throws {@link Refused}. */
  differenceFrom(base: Image): Uint8Array<ArrayBuffer> {
    if (compareGenerations(this.generation, base.generation) <= 0) throw new Refused("base");
    const difference = new ByteQueue();
    difference.byte(IN_PLACE);
    difference.append(this.#checksum);
    difference.number(this.bytes.length);
    difference.append(makePatch(base.bytes, this.bytes));
    return difference.bytes;
  }

  /**
   * Reads a delta's record that is not sealed, checks it, and makes the image that it leads to. `base` if it leads from another
   * generation, `checksum` if it was made of other bytes than these.
   */
  apply(record: Uint8Array): Result<Image, SnapshotError> {
    return guarded(() => {
      const header = this.deltaHeaderWithin(record);
      if ((flagsOf(record) & SEALED) !== 0) throw new Refused("sealed");
      return this.patched(header, record.subarray(DELTA.headerBytes));
    });
  }

  /** The header of a delta that leads from here. Throws {@link Refused}. For `seal.ts`. */
  deltaHeaderWithin(record: Uint8Array): Header {
    if (record.length > SNAPSHOT_BYTES_MAX) throw new Refused("too_large");
    const header = checkedDeltaHeader(record);
    if ((flagsOf(record) & COMPRESSED) !== 0) throw new Refused("unknown");
    if (compareGenerations(header.base, this.generation) !== 0) throw new Refused("base");
    return header;
  }

  /** What an open difference makes of it. Throws {@link Refused}. For `seal.ts`. */
  patched(header: Header, difference: Uint8Array): Image {
    const reader = new ByteReader(difference);
    const kind = reader.take(1)[0];
    const checksum = reader.take(CHECKSUM_BYTES);
    const length = reader.number();
    if (length > SNAPSHOT_BYTES_MAX) throw new Refused("too_large");
    if (kind !== IN_PLACE && kind !== MOVED) throw new Refused("body");
    const make = kind === IN_PLACE ? applyPatch : (base: Uint8Array, max: number, patch: Uint8Array) => expandAgainst(base, patch, max);
    const plain = make(this.bytes, length, reader.rest);
    if (plain.length !== length) throw new Refused("body");
    const image = new Image(header, plain);
    if (!areEqual(image.#checksum, checksum)) throw new Refused("checksum");
    return image;
  }
}

/** The header of a snapshot's record of at most `SNAPSHOT_BYTES_MAX`. Throws {@link Refused}. */
export function headerWithin(record: Uint8Array): Header {
  if (record.length > SNAPSHOT_BYTES_MAX) throw new Refused("too_large");
  return checkedHeader(record);
}
