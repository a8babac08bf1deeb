/**
 * Ballast: bytes that are part of a state and of nothing else. A page's own arenas have none, but it goes on from the states of native
 * hosts that do (`peer-client/examples/arena/ballast.rs`).
 */

import { Reader, U64_MAX, Writer } from "./pack.js";
import { scramble } from "./world.js";

/** Bytes that change together. */
const PIECE_BYTES = 64;
/** Of the numbers that a piece is made of. */
const WORD_BYTES = 8;

/** The bytes and their sum. */
export class Ballast {
  private constructor(
    private readonly bytes: Uint8Array,
    private sum: bigint,
  ) {}

  /** So many bytes, made from a seed. */
  public static make(seed: bigint, length: number): Ballast {
    const ballast = new Ballast(new Uint8Array(length), 0n);
    for (let index = 0; index < ballast.pieces(); index += 1) {
      fill(ballast.piece(index), seed ^ BigInt(index));
    }
    ballast.sum = ballast.sumOfAll();
    return ballast;
  }

  /** Changes this part of the pieces, in percent, at least one if it is not none at all. Which ones and how follows from the tick. */
  public churn(tick: number, percent: number): void {
    const pieces = this.pieces();
    const changes = Math.ceil((pieces * percent) / 100);
    const from = (BigInt(tick) * 0x9e37_79b9_7f4a_7c15n) & U64_MAX;
    for (let change = 0; change < changes; change += 1) {
      const drawn = scramble(from ^ BigInt(change));
      const index = Number(drawn % BigInt(pieces));
      const piece = this.piece(index);
      const before = sumOf(index, piece);
      fill(piece, drawn);
      this.sum = (this.sum - before + sumOf(index, piece)) & U64_MAX;
    }
  }

  /** Whether the bytes are what they were when the sum was made. */
  public isWhole(): boolean {
    return this.sum === this.sumOfAll();
  }

  /** As a part of a state. */
  public write(to: Writer): void {
    to.array(2);
    to.bin(this.bytes);
    to.uint(this.sum);
  }

  /** Reads what {@link Ballast.write} wrote. */
  public static read(from: Reader): Ballast {
    from.struct(2);
    return new Ballast(from.bin(), from.ulong());
  }

  private pieces(): number {
    return Math.ceil(this.bytes.length / PIECE_BYTES);
  }

  private piece(index: number): Uint8Array {
    return this.bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES);
  }

  private sumOfAll(): bigint {
    let sum = 0n;
    for (let index = 0; index < this.pieces(); index += 1) {
      sum = (sum + sumOf(index, this.piece(index))) & U64_MAX;
    }
    return sum;
  }
}

function fill(piece: Uint8Array, seed: bigint): void {
  const base = scramble(seed);
  for (let at = 0; at < piece.length; at += WORD_BYTES) {
    let drawn = scramble((base + BigInt(at / WORD_BYTES + 1)) & U64_MAX);
    for (let byte = at; byte < Math.min(at + WORD_BYTES, piece.length); byte += 1) {
      piece[byte] = Number(drawn & 0xffn);
      drawn >>= 8n;
    }
  }
}

/** Of one piece, at its place: words are little-endian, the last one is filled up with zeros. */
export function sumOf(index: number, piece: Uint8Array): bigint {
  let sum = BigInt(index);
  for (let at = 0; at < piece.length; at += WORD_BYTES) {
    let word = 0n;
    for (let byte = Math.min(at + WORD_BYTES, piece.length) - 1; byte >= at; byte -= 1) {
      word = (word << 8n) | BigInt(piece[byte] ?? 0);
    }
    sum = scramble(sum ^ word);
  }
  return sum;
}
