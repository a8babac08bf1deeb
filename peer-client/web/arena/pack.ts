/**
 * The part of MessagePack that the arena's packets and states are made of, written as `rmp_serde::to_vec` writes it: structs are arrays,
 * numbers take as few bytes as they can, a variant without fields is its name, one with fields is a map from its name.
 *
 * Numbers that may be larger than 2^53 are `bigint`s here.
 */

/** Bytes are not what they should be. */
export class Malformed extends Error {
  public override readonly name = "Malformed";
}

/** The largest number of 64 bits. */
export const U64_MAX = 0xffff_ffff_ffff_ffffn;

const FIRST_BYTES = 256;

/** Writes values one after the other. */
export class Writer {
  private bytes = new Uint8Array(FIRST_BYTES);
  private length = 0;

  /** What was written. */
  public finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** A whole number from 0 to 2^64 - 1. */
  public uint(value: number | bigint): void {
    if (typeof value === "bigint" && value > 0xffff_ffffn) {
      this.big(0xcf, value);
      return;
    }
    const number = Number(value);
    if (number < 0x80) {
      this.byte(number);
    } else if (number <= 0xffff_ffff) {
      this.sized(number, 0xcc, 0xcd, 0xce);
    } else {
      this.big(0xcf, BigInt(number));
    }
  }

  /** True or false. */
  public bool(value: boolean): void {
    this.byte(value ? 0xc3 : 0xc2);
  }

  /** Nothing. */
  public nil(): void {
    this.byte(0xc0);
  }

  /** A text: here, always a short name. */
  public text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    if (bytes.length < 32) {
      this.byte(0xa0 | bytes.length);
    } else {
      this.sized(bytes.length, 0xd9, 0xda, 0xdb);
    }
    this.raw(bytes);
  }

  /** Bytes. */
  public bin(value: Uint8Array): void {
    this.sized(value.length, 0xc4, 0xc5, 0xc6);
    this.raw(value);
  }

  /** The head of a list of so many values, which follow. */
  public array(length: number): void {
    this.counted(length, 0x90, 0xdc, 0xdd);
  }

  /** The head of a map of so many pairs, which follow. */
  public map(length: number): void {
    this.counted(length, 0x80, 0xde, 0xdf);
  }

  private counted(length: number, small: number, medium: number, large: number): void {
    if (length < 16) {
      this.byte(small | length);
    } else {
      this.sized(length, undefined, medium, large);
    }
  }

  /** A marker that says how many bytes a number takes, and the number. */
  private sized(value: number, one: number | undefined, two: number, four: number): void {
    const bytes = one !== undefined && value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
    this.byte(bytes === 1 ? (one ?? two) : bytes === 2 ? two : four);
    for (let shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
      this.byte((value >>> shift) & 0xff);
    }
  }

  private big(marker: number, value: bigint): void {
    this.byte(marker);
    const at = this.room(8);
    new DataView(this.bytes.buffer).setBigUint64(at, value);
  }

  private byte(value: number): void {
    const at = this.room(1);
    this.bytes[at] = value;
  }

  private raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length);
    this.bytes.set(bytes, at);
  }

  /** Makes room for so many bytes and returns where it begins. */
  private room(bytes: number): number {
    const from = this.length;
    this.length += bytes;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    return from;
  }
}

/** Reads values one after the other. Every method throws {@link Malformed} if another value stands there, or none. */
export class Reader {
  private at = 0;
  private readonly view: DataView;

  /** Of these bytes; what follows the last value that is asked for is ignored. */
  public constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A whole number from 0 to `max`, which is at most 2^53 - 1. */
  public uint(max: number): number {
    const value = this.ulong();
    if (value > BigInt(max)) {
      throw new Malformed(`${value} is more than ${max}`);
    }
    return Number(value);
  }

  /** A whole number from 0 to 2^64 - 1. */
  public ulong(): bigint {
    const marker = this.byte();
    if (marker < 0x80) {
      return BigInt(marker);
    }
    switch (marker) {
      case 0xcc:
        return BigInt(this.byte());
      case 0xcd:
        return BigInt(this.view.getUint16(this.take(2)));
      case 0xce:
        return BigInt(this.view.getUint32(this.take(4)));
      case 0xcf:
        return this.view.getBigUint64(this.take(8));
      default:
        throw new Malformed("not a number");
    }
  }

  /** True or false. */
  public bool(): boolean {
    const marker = this.byte();
    if (marker !== 0xc2 && marker !== 0xc3) {
      throw new Malformed("neither true nor false");
    }
    return marker === 0xc3;
  }

  /** Whether nothing stands here, which is then read. */
  public isNil(): boolean {
    const is = this.bytes[this.at] === 0xc0;
    this.at += is ? 1 : 0;
    return is;
  }

  /** A text. */
  public text(): string {
    const marker = this.byte();
    const length = (marker & 0xe0) === 0xa0 ? marker & 0x1f : this.sized(marker, 0xd9, 0xda, 0xdb);
    const from = this.take(length);
    return new TextDecoder().decode(this.bytes.subarray(from, from + length));
  }

  /** Bytes: a copy of their own. */
  public bin(): Uint8Array {
    const length = this.sized(this.byte(), 0xc4, 0xc5, 0xc6);
    const from = this.take(length);
    return this.bytes.slice(from, from + length);
  }

  /** The head of a list; how many values follow. */
  public array(): number {
    return this.counted(0x90, 0xdc, 0xdd);
  }

  /** The head of a list that stands for a struct with so many fields. */
  public struct(fields: number): void {
    if (this.array() !== fields) {
      throw new Malformed(`not ${fields} fields`);
    }
  }

  /** The head of a map; how many pairs follow. */
  public map(): number {
    return this.counted(0x80, 0xde, 0xdf);
  }

  private counted(small: number, medium: number, large: number): number {
    const marker = this.byte();
    const count = (marker & 0xf0) === small ? marker & 0x0f : this.sized(marker, undefined, medium, large);
    // Each value takes at least a byte: nobody makes the reader wait for more than there is.
    if (count > this.bytes.length - this.at) {
      throw new Malformed("more values than bytes");
    }
    return count;
  }

  private sized(marker: number, one: number | undefined, two: number, four: number): number {
    switch (marker) {
      case one:
        return this.byte();
      case two:
        return this.view.getUint16(this.take(2));
      case four:
        return this.view.getUint32(this.take(4));
      default:
        throw new Malformed("another kind of value");
    }
  }

  private byte(): number {
    return this.view.getUint8(this.take(1));
  }

  private take(bytes: number): number {
    const from = this.at;
    if (bytes > this.bytes.length - from) {
      throw new Malformed("the end is missing");
    }
    this.at += bytes;
    return from;
  }
}
