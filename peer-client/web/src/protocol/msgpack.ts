/*
 * MessagePack as `rmp_serde` writes and reads it (`to_vec_named`): structs are maps with their fields' names, whole numbers take as few
 * bytes as they can, bytes are of the `bin` family. Written here, since objects are kept in maps with numbers as keys and streams are
 * named by 64 bits, neither of which the usual libraries have.
 *
 * Reading throws {@link Malformed} inside this directory; what is exported to others catches it ({@link attempt}).
 */

/** The bytes are not MessagePack, or not of what was expected. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

/** What it makes; `undefined` if it found something {@link Malformed}. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Appends values to bytes that grow as they are needed. */
export class Writer {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** A copy of what was written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  /** Nothing. */
  nil(): void {
    this.#byte(0xc0);
  }

  /** A truth value. */
  boolean(value: boolean): void {
    this.#byte(value ? 0xc3 : 0xc2);
  }

  /** A whole number from 0 on. */
  number(value: number): void {
    if (value < 0x80) this.#byte(value);
    else if (value < 2 ** 32) this.#sized([0xcc, 0xcd, 0xce], value);
    else this.bigint(BigInt(value));
  }

  /** A whole number from 0 on, of up to 64 bits. */
  bigint(value: bigint): void {
    if (value < 2n ** 32n) {
      this.number(Number(value));
      return;
    }
    const at = this.#grow(9);
    this.#bytes[at] = 0xcf;
    this.#view.setBigUint64(at + 1, value);
  }

  /** A text. */
  text(value: string): void {
    const bytes = encoder.encode(value);
    if (bytes.length < 32) this.#byte(0xa0 | bytes.length);
    else this.#sized([0xd9, 0xda, 0xdb], bytes.length);
    this.#append(bytes);
  }

  /** Bytes. */
  bytes(value: Uint8Array): void {
    this.#sized([0xc4, 0xc5, 0xc6], value.length);
    this.#append(value);
  }

  /** The head of a list of so many values, which follow. */
  array(length: number): void {
    if (length < 16) this.#byte(0x90 | length);
    else this.#sized([undefined, 0xdc, 0xdd], length);
  }

  /** The head of a map of so many pairs, which follow. */
  map(length: number): void {
    if (length < 16) this.#byte(0x80 | length);
    else this.#sized([undefined, 0xde, 0xdf], length);
  }

  /** A struct: its fields' names, and what writes them. */
  struct(fields: Readonly<Record<string, () => void>>): void {
    const entries = Object.entries(fields);
    this.map(entries.length);
    for (const [name, write] of entries) {
      this.text(name);
      write();
    }
  }

  /** A list of values. */
  list<T>(values: readonly T[], write: (value: T) => void): void {
    this.array(values.length);
    values.forEach(write);
  }

  /** A value that may be missing. */
  optional<T>(value: T | undefined, write: (value: T) => void): void {
    if (value === undefined) this.nil();
    else write(value);
  }

  /** A marker for 8, 16 or 32 bits, whichever suffice and there is one for, and the number. */
  #sized([one, two, four]: readonly [number | undefined, number, number], number: number): void {
    if (one !== undefined && number < 0x100) {
      const at = this.#grow(2);
      this.#bytes[at] = one;
      this.#bytes[at + 1] = number;
    } else if (number < 0x1_0000) {
      const at = this.#grow(3);
      this.#bytes[at] = two;
      this.#view.setUint16(at + 1, number);
    } else {
      const at = this.#grow(5);
      this.#bytes[at] = four;
      this.#view.setUint32(at + 1, number);
    }
  }

  #byte(value: number): void {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  #append(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Makes room, and tells where it begins. The bytes may be others afterwards. */
  #grow(by: number): number {
    const at = this.#length;
    this.#length += by;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

/** How one field of a struct is read, and what it is if it is not there; without that it has to be. */
export interface Field<T> {
  readonly read: (reader: Reader) => T;
  readonly missing?: () => T;
}

/** A field that has to be there. */
export function required<T>(read: (reader: Reader) => T): Field<T> {
  return { read };
}

/** A field that is something else if it is not there. */
export function defaulted<T>(read: (reader: Reader) => T, missing: () => T): Field<T> {
  return { read, missing };
}

/** A field that may be nothing. */
export function optional<T>(read: (reader: Reader) => T): Field<T | undefined> {
  return { read: (reader) => reader.optional(() => read(reader)), missing: () => undefined };
}

/** Reads values from the front of bytes that may be anything. What follows the last value is not looked at. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  /** Of these bytes, which must not change while what was read is in use: byte strings are views of them. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** A truth value. */
  boolean(): boolean {
    const marker = this.#byte();
    if (marker !== 0xc2 && marker !== 0xc3) throw new Malformed("a truth value was expected");
    return marker === 0xc3;
  }

  /** A whole number from 0 to `max`, at most 2^53 - 1. */
  number(max: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.bigint();
    if (value > BigInt(max)) throw new Malformed("a number is too large");
    return Number(value);
  }

  /** A whole number from 0 on, of up to 64 bits. */
  bigint(): bigint {
    const marker = this.#byte();
    if (marker < 0x80) return BigInt(marker);
    const value = this.#wideNumber(marker);
    if (value < 0n) throw new Malformed("a number is negative");
    return value;
  }

  /** A text. */
  text(): string {
    const marker = this.#byte();
    const length = (marker & 0xe0) === 0xa0 ? marker & 0x1f : this.#length(marker, [0xd9, 0xda, 0xdb]);
    const bytes = this.#take(length);
    try {
      return decoder.decode(bytes);
    } catch {
      throw new Malformed("a text is not UTF-8");
    }
  }

  /** Bytes, as a view. */
  bytes(): Uint8Array {
    return this.#take(this.#length(this.#byte(), [0xc4, 0xc5, 0xc6]));
  }

  /** A value that may be missing. */
  optional<T>(read: () => T): T | undefined {
    if (this.#bytes[this.#at] !== 0xc0) return read();
    this.#at += 1;
    return undefined;
  }

  /** A list. */
  list<T>(read: () => T): T[] {
    const marker = this.#byte();
    const length = (marker & 0xf0) === 0x90 ? marker & 0x0f : this.#length(marker, [undefined, 0xdc, 0xdd]);
    const values: T[] = [];
    for (let index = 0; index < length; index += 1) values.push(read());
    return values;
  }

  /** A map, pair by pair: `read` reads the key and the value. */
  pairs(read: () => void): void {
    const length = this.#mapLength(this.#byte());
    for (let index = 0; index < length; index += 1) read();
  }

  /** A struct. Fields that are not known are left out; none may be there twice. */
  struct<T extends object>(fields: { readonly [K in keyof T]: Field<T[K]> }): T {
    const found = new Map<string, unknown>();
    const known = new Map(Object.entries(fields as Readonly<Record<string, Field<unknown>>>));
    this.pairs(() => {
      const name = this.text();
      const field = known.get(name);
      if (field === undefined) this.skip();
      else if (found.has(name)) throw new Malformed(`${name} is there twice`);
      else found.set(name, field.read(this));
    });
    for (const [name, { missing }] of known) {
      if (found.has(name)) continue;
      if (missing === undefined) throw new Malformed(`${name} is missing`);
      found.set(name, missing());
    }
    return Object.fromEntries(found) as T;
  }

  /** The next value, whatever it is. */
  skip(): void {
    for (let left = 1; left > 0; left -= 1) left += this.#skipHead();
  }

  /** Skips one marker with what belongs to it alone, and tells how many values follow inside. */
  #skipHead(): number {
    const marker = this.#byte();
    if (marker < 0x80 || marker >= 0xe0 || (marker >= 0xc0 && marker <= 0xc3 && marker !== 0xc1)) return 0;
    if (marker < 0x90) return 2 * (marker & 0x0f);
    if (marker < 0xa0) return marker & 0x0f;
    if (marker < 0xc0) this.#take(marker & 0x1f);
    else if (marker <= 0xc6) this.#take(this.#length(marker, [0xc4, 0xc5, 0xc6]));
    else if (marker <= 0xc9) this.#take(1 + this.#length(marker, [0xc7, 0xc8, 0xc9]));
    else if (marker <= 0xcb) this.#take(marker === 0xca ? 4 : 8);
    else if (marker <= 0xd3) this.#take(1 << (marker & 3));
    else if (marker <= 0xd8) this.#take(1 + (1 << (marker - 0xd4)));
    else if (marker <= 0xdb) this.#take(this.#length(marker, [0xd9, 0xda, 0xdb]));
    else if (marker <= 0xdd) return this.#length(marker, [undefined, 0xdc, 0xdd]);
    else return 2 * this.#mapLength(marker);
    return 0;
  }

  #mapLength(marker: number): number {
    return (marker & 0xf0) === 0x80 ? marker & 0x0f : this.#length(marker, [undefined, 0xde, 0xdf]);
  }

  #wideNumber(marker: number): bigint {
    if (marker >= 0xe0) return -1n;
    if (marker < 0xcc || marker > 0xd3) throw new Malformed("a number was expected");
    const at = this.#at;
    this.#take(1 << (marker & 3));
    switch (marker) {
      case 0xcc:
        return BigInt(this.#view.getUint8(at));
      case 0xcd:
        return BigInt(this.#view.getUint16(at));
      case 0xce:
        return BigInt(this.#view.getUint32(at));
      case 0xcf:
        return this.#view.getBigUint64(at);
      case 0xd0:
        return BigInt(this.#view.getInt8(at));
      case 0xd1:
        return BigInt(this.#view.getInt16(at));
      case 0xd2:
        return BigInt(this.#view.getInt32(at));
      default:
        return this.#view.getBigInt64(at);
    }
  }

  /** A length of 8, 16 or 32 bits, whichever the marker stands for. */
  #length(marker: number, [one, two, four]: readonly [number | undefined, number, number]): number {
    const at = this.#at;
    if (marker === one) {
      this.#take(1);
      return this.#view.getUint8(at);
    }
    if (marker === two) {
      this.#take(2);
      return this.#view.getUint16(at);
    }
    if (marker !== four) throw new Malformed("something else was expected");
    this.#take(4);
    return this.#view.getUint32(at);
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new Malformed("the bytes end too early");
    this.#at += 1;
    return byte;
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Malformed("the bytes end too early");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}
