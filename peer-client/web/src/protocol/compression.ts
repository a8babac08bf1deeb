import { decompress } from "fzstd";

import { areEqual, Refused } from "./record.js";

/*
 * Reading zstd, with a bound on what comes out: nothing that is read here is trusted.
 *
 * A frame is written anew before it is unpacked. What it may refer back to is put before its blocks as they are, so that a frame that was
 * made against a base needs no dictionary; and a seal of known bytes comes behind them, which shows that the blocks hold as many bytes as
 * the frame says.
 *
 *   4        1       4        3 + …              …                   3 + 8
 *   magic    0xA0    bytes    the base, raw …    the frame's blocks   the end, raw
 */

const MAGIC = 0xfd2fb528;
/** One segment, the number of bytes as 32 bits, no checksum, no dictionary. */
const DESCRIPTOR = 0xa0;
const HEADER_BYTES = 9;
const BLOCK_HEADER_BYTES = 3;
const BLOCK_BYTES_MAX = 128 * 1024;
const RAW = 0;
const RLE = 1;
const RESERVED = 3;
const END = new TextEncoder().encode("the end.");
const NOTHING = new Uint8Array(0);

interface Frame {
  /** Bytes that it says that it holds. */
  readonly contentBytes: number;
  /** Its blocks, with their headers. */
  readonly blocks: Uint8Array;
  /** Where among them the last one begins. */
  readonly lastBlockAt: number;
}

/** Unpacks one frame that says how much it holds, at most `bytesMax`. Throws {@link Refused} `body` or `too_large`. */
export function expand(frame: Uint8Array, bytesMax: number): Uint8Array {
  return expandAgainst(NOTHING, frame, bytesMax);
}

/** Unpacks one frame that was made with `base` as what came before it, at most `bytesMax`. */
export function expandAgainst(base: Uint8Array, frame: Uint8Array, bytesMax: number): Uint8Array {
  const parsed = parse(frame);
  if (parsed.contentBytes > bytesMax) throw new Refused("too_large");
  const plain = new Uint8Array(base.length + parsed.contentBytes + END.length);
  try {
    decompress(rewritten(base, parsed), plain);
  } catch {
    throw new Refused("body");
  }
  if (!areEqual(plain.subarray(plain.length - END.length), END)) throw new Refused("body");
  return plain.slice(base.length, plain.length - END.length);
}

/** Reads the frame's header and finds its blocks. There must be one frame and nothing else. */
function parse(frame: Uint8Array): Frame {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) throw new Refused("body");
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  // Reserved bits, dictionaries, and frames that do not say how much they hold.
  if ((descriptor & 0x0b) !== 0 || sizeBytes === 0) throw new Refused("body");
  const sizeAt = isSingleSegment ? 5 : 6;
  const blocksAt = sizeAt + sizeBytes;
  if (frame.length < blocksAt) throw new Refused("body");
  const { lastBlockAt, end } = blocksOf(frame, blocksAt);
  if (end + ((descriptor & 4) !== 0 ? 4 : 0) !== frame.length) throw new Refused("body");
  const contentBytes = numberAt(frame, sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  return { contentBytes, blocks: frame.subarray(blocksAt, end), lastBlockAt: lastBlockAt - blocksAt };
}

function blocksOf(frame: Uint8Array, from: number): { readonly lastBlockAt: number; readonly end: number } {
  for (let at = from; at + BLOCK_HEADER_BYTES <= frame.length; ) {
    const header = numberAt(frame, at, BLOCK_HEADER_BYTES);
    const type = (header >> 1) & 3;
    const bytes = header >> 3;
    const end = at + BLOCK_HEADER_BYTES + (type === RLE ? 1 : bytes);
    if (type === RESERVED || bytes > BLOCK_BYTES_MAX || end > frame.length) break;
    if ((header & 1) !== 0) return { lastBlockAt: at, end };
    at = end;
  }
  throw new Refused("body");
}

function rewritten(base: Uint8Array, { contentBytes, blocks, lastBlockAt }: Frame): Uint8Array {
  const rawBlocks = Math.ceil(base.length / BLOCK_BYTES_MAX) + 1;
  const bytes = HEADER_BYTES + base.length + END.length + BLOCK_HEADER_BYTES * rawBlocks + blocks.length;
  const frame = new Uint8Array(bytes);
  const view = new DataView(frame.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, DESCRIPTOR);
  view.setUint32(5, base.length + contentBytes + END.length, true);
  let at = HEADER_BYTES;
  const pushRaw = (raw: Uint8Array, isLast: boolean): void => {
    const header = (raw.length << 3) | (RAW << 1) | Number(isLast);
    frame.set([header & 0xff, (header >> 8) & 0xff, header >> 16], at);
    frame.set(raw, at + BLOCK_HEADER_BYTES);
    at += BLOCK_HEADER_BYTES + raw.length;
  };
  for (let from = 0; from < base.length; from += BLOCK_BYTES_MAX) pushRaw(base.subarray(from, from + BLOCK_BYTES_MAX), false);
  frame.set(blocks, at);
  frame[at + lastBlockAt] = (blocks[lastBlockAt] ?? 0) & 0xfe;
  at += blocks.length;
  pushRaw(END, true);
  return frame;
}

/** A little-endian number. Above 2^53 it is no longer exact, and far too large. */
function numberAt(bytes: Uint8Array, at: number, length: number): number {
  let number = 0;
  for (let place = 0; place < length; place += 1) number += (bytes[at + place] ?? 0) * 2 ** (8 * place);
  return number;
}
