import type { Generation } from "./generation.js";
import type { HostEpoch } from "./id.js";
import { done, failed, type Result } from "./result.js";

/**
 * What peers say on a link. Each frame names the epoch of its sender, and the receiver looks at it first.
 *
 * ```text
 * 0        1             9
 * +--------+-------------+-----------
 * | kind   | epoch u64   | …              integers are big-endian
 * +--------+-------------+-----------
 * ```
 *
 * On a stream each frame has its length before it, as a u32. A datagram is one frame.
 */
export interface PeerFrame {
  /** The sender's epoch. */
  readonly epoch: HostEpoch;
  /** What it says. */
  readonly body: PeerBody;
}

/** The kinds that carry bytes alone: `payload.ts` says what is in them, or the game, or they are a snapshot's record (`state`). */
export type PayloadKind = "hello" | "welcome" | "refused" | "unreliable" | "objects" | "state";

/** What a peer says. */
export type PeerBody =
  | { readonly kind: PayloadKind; readonly payload: Uint8Array }
  | { readonly kind: "reliable" | "after_stable"; readonly number: number; readonly payload: Uint8Array }
  | { readonly kind: "heartbeat"; readonly tick: number; readonly received: number; readonly receivedStable: number }
  | { readonly kind: "goodbye" | "state_wanted" }
  | { readonly kind: "state_taken" | "state_asked" | "last_state"; readonly generation: Generation }
  | { readonly kind: "durable" | "ping" | "pong"; readonly number: number };

/**
 * Why bytes are not a frame: it ends too early, is longer than its kind allows, is of no known kind, or has a number that JavaScript
 * cannot count (above 2^53 - 1).
 */
export type FrameError = "truncated" | "too_long" | "kind" | "number";

/** Bytes of a peer frame before its payload, at most. */
export const PEER_HEADER_BYTES_MAX = 17;
const HEADER_BYTES = 9;

/** Each kind's byte, how many numbers follow, and whether bytes do. */
const LAYOUTS: Readonly<Record<PeerBody["kind"], readonly [byte: number, numbers: number, hasPayload: boolean]>> = {
  hello: [1, 0, true],
  welcome: [2, 0, true],
  refused: [3, 0, true],
  reliable: [4, 1, true],
  unreliable: [5, 0, true],
  heartbeat: [6, 3, false],
  objects: [7, 0, true],
  goodbye: [8, 0, false],
  after_stable: [9, 1, true],
  state: [10, 0, true],
  state_taken: [11, 2, false],
  state_wanted: [12, 0, false],
  durable: [13, 1, false],
  state_asked: [14, 2, false],
  last_state: [15, 2, false],
  ping: [16, 1, false],
  pong: [17, 1, false],
};
const KINDS = new Map(Object.entries(LAYOUTS).map(([kind, [byte]]) => [byte, kind as PeerBody["kind"]]));
const NOTHING = new Uint8Array(0);

/** Writes a frame. */
export function encodeFrame({ epoch, body }: PeerFrame): Uint8Array<ArrayBuffer> {
  const numbers = numbersOf(body);
  const payload = "payload" in body ? body.payload : NOTHING;
  const bytes = new Uint8Array(HEADER_BYTES + 8 * numbers.length + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = LAYOUTS[body.kind][0];
  view.setBigUint64(1, BigInt(epoch));
  numbers.forEach((number, index) => view.setBigUint64(HEADER_BYTES + 8 * index, BigInt(number)));
  bytes.set(payload, HEADER_BYTES + 8 * numbers.length);
  return bytes;
}

/** Reads one frame. Its payload is a view of the bytes, not a copy. */
export function decodeFrame(bytes: Uint8Array): Result<PeerFrame, FrameError> {
  if (bytes.length < HEADER_BYTES) return failed("truncated");
  const kind = KINDS.get(bytes[0] ?? 0);
  if (kind === undefined) return failed("kind");
  const [, count, hasPayload] = LAYOUTS[kind];
  const payload = bytes.subarray(HEADER_BYTES + 8 * count);
  if (bytes.length < HEADER_BYTES + 8 * count) return failed("truncated");
  if (!hasPayload && payload.length > 0) return failed("too_long");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const numbers = Array.from({ length: 1 + count }, (_, index) => Number(view.getBigUint64(1 + 8 * index)));
  if (!numbers.every(Number.isSafeInteger)) return failed("number");
  const [epoch = 0, first = 0, second = 0, third = 0] = numbers;
  return done({ epoch, body: bodyOf(kind, [first, second, third], payload) });
}

function numbersOf(body: PeerBody): readonly number[] {
  switch (body.kind) {
    case "heartbeat":
      return [body.tick, body.received, body.receivedStable];
    case "reliable":
    case "after_stable":
    case "durable":
    case "ping":
    case "pong":
      return [body.number];
    case "state_taken":
    case "state_asked":
    case "last_state":
      return [body.generation.epoch, body.generation.seq];
    default:
      return [];
  }
}

function bodyOf(kind: PeerBody["kind"], [first, second, third]: readonly [number, number, number], payload: Uint8Array): PeerBody {
  switch (kind) {
    case "heartbeat":
      return { kind, tick: first, received: second, receivedStable: third };
    case "reliable":
    case "after_stable":
      return { kind, number: first, payload };
    case "durable":
    case "ping":
    case "pong":
      return { kind, number: first };
    case "state_taken":
    case "state_asked":
    case "last_state":
      return { kind, generation: { epoch: first, seq: second } };
    case "goodbye":
    case "state_wanted":
      return { kind };
    default:
      return { kind, payload };
  }
}
