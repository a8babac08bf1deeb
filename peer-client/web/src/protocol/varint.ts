import { Refused } from "./record.js";

/* Numbers of any length: seven bits a byte, the lowest first, the top bit set in all but the last (LEB128). */

/** Bytes of the longest number that is read: none here is above 32 bits. */
const BYTES_MAX = 5;

/** Bytes that are appended to. */
export class ByteQueue {
  #bytes = new Uint8Array(256);
  #length = 0;

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  /** They, as a view that is good until the next one is appended. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Appends a number. */
  number(number: number): void {
    let left = number;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.byte((left % 0x80) | 0x80);
    this.byte(left);
  }

  /** Appends a byte. */
  byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  /** Appends bytes. */
  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#length + more, 2 * this.#bytes.length));
    grown.set(this.bytes);
    this.#bytes = grown;
  }
}

/** Reads numbers and slices from the front of bytes that may be anything. Throws {@link Refused} `body` where they end too early. */
export class ByteReader {
  #left: Uint8Array;

  /** Of these bytes. */
  constructor(bytes: Uint8Array) {
    this.#left = bytes;
  }

  /** Nothing is left. */
  get isEmpty(): boolean {
    return this.#left.length === 0;
  }

  /** What is left. */
  get rest(): Uint8Array {
    return this.#left;
  }

  /** A number. */
  number(): number {
    let number = 0;
    for (let place = 0; place < BYTES_MAX; place += 1) {
      const byte = this.#left[place];
      if (byte === undefined) break;
      number += (byte & 0x7f) * 2 ** (7 * place);
      if (byte < 0x80) {
        this.#left = this.#left.subarray(place + 1);
        return number;
      }
    }
    throw new Refused("body");
  }

  /** So many bytes. */
  take(bytes: number): Uint8Array {
    if (bytes > this.#left.length) throw new Refused("body");
    const taken = this.#left.subarray(0, bytes);
    this.#left = this.#left.subarray(bytes);
    return taken;
  }
}
