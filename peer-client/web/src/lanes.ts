/**
 * Frames over the two channels of a WebRTC link. A message on the reliable channel is `lane u8 | bytes`:
 *
 * - lane 0 is a stream of frames, each with its length before it as a u32;
 * - lane 1 is the same for states, so that the game's messages do not wait behind a large one;
 * - lane 2 is `u64 | u64`: how many bytes of lanes 0 and 1 its sender has taken so far.
 *
 * A message on the unreliable channel is one frame. Integers are big-endian.
 */

import {
  CHANNEL_MESSAGE_BYTES_MAX,
  DATAGRAM_BYTES_MAX,
  LANE_TAKEN_BYTES,
  LANE_WINDOW_BYTES,
} from "./protocol/limits.js";
import type { Timers } from "./timers.js";

/** What is needed of an `RTCDataChannel`. */
export interface Channel {
  readonly readyState: RTCDataChannelState;
  readonly bufferedAmount: number;
  bufferedAmountLowThreshold: number;
  onbufferedamountlow: ((event: Event) => void) | null;
  send(bytes: Uint8Array<ArrayBuffer>): void;
}

/** What becomes of what comes. */
export interface LanesEvents {
  /** A frame came: in order, or as a datagram. A view of bytes that nobody else uses. */
  frame(bytes: Uint8Array, isDatagram: boolean): void;
  /** The link is of no use any more: the peer broke the protocol, or is too far behind. */
  broken(why: string): void;
  /** All that was queued before {@link Lanes.finish} was handed to the channel. */
  finished(): void;
}

/** Bytes that wait on lane 0, all that one peer may owe another: above it the link is given up, and its peer gets everything anew. */
export const QUEUE_BYTES_MAX = 40 * 1024 * 1024;
/** States that wait on lane 1. */
export const STATES_WAITING_MAX = 32;
/** Bytes handed to the channel that it has not sent: few, so that a message does not wait behind states that are there already. */
const CHANNEL_BYTES_MAX = 128 * 1024;
/** Bytes of datagrams that the channel has not sent: above it new ones are dropped, since they would come too late. */
const DATAGRAMS_BYTES_MAX = 64 * 1024;
/** While more than this waits, no copies are sent: what is slow is the path then, not a loss. */
const EARLY_BYTES_MAX = 16 * 1024;
/** After this long a second early copy goes: a loss that hits both is rarer than one that hits neighbours. */
const SECOND_COPY_MS = 30;
/** Second copies that wait. */
const SECOND_COPIES_MAX = 8;

const LENGTH_BYTES = 4;

/** One direction's stream on a lane. */
interface Outgoing {
  readonly queue: Uint8Array[];
  /** Of the first in the queue, bytes that were sent. */
  offset: number;
  queuedBytes: number;
  sent: number;
  taken: number;
}

/** The other direction's. */
interface Incoming {
  /** Chunks that are not taken yet. */
  readonly chunks: Uint8Array[];
  /** What is being put together: a frame's length, or the frame. */
  frame: Uint8Array<ArrayBuffer>;
  hasLength: boolean;
  filled: number;
  received: number;
  taken: number;
  told: number;
}

/** Both lanes of a link, both ways. */
export class Lanes {
  private readonly out: readonly [Outgoing, Outgoing] = [outgoing(), outgoing()];
  private readonly into: readonly [Incoming, Incoming] = [incoming(), incoming()];
  private reliable: Channel | undefined;
  private unreliable: Channel | undefined;
  private statesWanted = false;
  private finishing = false;
  private over = false;
  private secondCopies = 0;

  /** @param frameBytesMax Bytes of a frame that the peer may send. */
  constructor(
    private readonly timers: Timers,
    private readonly events: LanesEvents,
    public frameBytesMax: number,
  ) {}

  /** Both channels are open. */
  open(reliable: Channel, unreliable: Channel): void {
    [this.reliable, this.unreliable] = [reliable, unreliable];
    reliable.bufferedAmountLowThreshold = CHANNEL_BYTES_MAX / 2;
    reliable.onbufferedamountlow = () => this.pump();
    this.pump();
  }

  /** Nothing comes or goes any more. */
  close(): void {
    this.over = true;
    this.reliable = this.unreliable = undefined;
    for (const lane of this.out) lane.queue.length = lane.queuedBytes = 0;
    for (const lane of this.into) lane.chunks.length = 0;
  }

  /** Queues a frame. With `early`, which numbered ones take, copies of it go ahead. */
  push(frame: Uint8Array<ArrayBuffer>, early = false): void {
    const lane = this.out[0];
    if (lane.queuedBytes + frame.length > QUEUE_BYTES_MAX) return this.break("the peer is too far behind");
    const isQuiet = this.reliable !== undefined && lane.queuedBytes + this.reliable.bufferedAmount <= EARLY_BYTES_MAX;
    queue(lane, frame);
    this.pump();
    if (early && isQuiet && frame.length <= DATAGRAM_BYTES_MAX) this.sendCopies(frame);
  }

  /** Queues a frame with a state. False: too many wait. */
  pushState(frame: Uint8Array<ArrayBuffer>): boolean {
    const lane = this.out[1];
    if (this.over || lane.queue.length >= 2 * STATES_WAITING_MAX) return false;
    queue(lane, frame);
    this.pump();
    return true;
  }

  /** Sends a frame that may be lost. */
  datagram(frame: Uint8Array<ArrayBuffer>): void {
    const channel = this.unreliable;
    if (channel?.readyState !== "open" || channel.bufferedAmount > DATAGRAMS_BYTES_MAX) return;
    send(channel, frame);
  }

  /** States are taken from now on. Until then they wait: whoever was not asked for states cannot make this peer keep more than a window. */
  wantStates(): void {
    this.statesWanted = true;
    this.drain(1);
  }

  /** Tells when all that is queued now was handed to the channel. */
  finish(): void {
    this.finishing = true;
    this.pump();
  }

  /** A message came on the reliable channel. */
  handleReliable(message: Uint8Array<ArrayBuffer>): void {
    const lane = message[0];
    const bytes = message.subarray(1);
    if (lane === 0 || lane === 1) this.handleChunk(lane, bytes);
    else if (lane === 2 && bytes.length === 16) this.handleTaken(bytes);
    else this.break("a message on no known lane");
  }

  /** A message came on the unreliable channel. */
  handleUnreliable(message: Uint8Array<ArrayBuffer>): void {
    if (message.length > DATAGRAM_BYTES_MAX) return this.break("a datagram that is too large");
    if (!this.over) this.events.frame(message, true);
  }

  private handleChunk(lane: 0 | 1, bytes: Uint8Array<ArrayBuffer>): void {
    const into = this.into[lane];
    into.received += bytes.length;
    if (bytes.length > CHANNEL_MESSAGE_BYTES_MAX || into.received - into.told > LANE_WINDOW_BYTES) {
      return this.break("more than the window");
    }
    if (this.over) return;
    into.chunks.push(bytes);
    this.drain(lane);
  }

  /** Hands frames on as they are complete, and tells the peer what was taken. */
  private drain(lane: 0 | 1): void {
    if (lane === 1 && !this.statesWanted) return;
    const into = this.into[lane];
    for (let chunk = into.chunks.shift(); chunk !== undefined; chunk = into.chunks.shift()) {
      into.taken += chunk.length;
      for (let rest = chunk; rest.length > 0 && !this.over; ) rest = this.take(into, rest);
    }
    if (into.taken - into.told >= LANE_TAKEN_BYTES) this.tellTaken();
  }

  /** Takes what the frame under way lacks. Returns the rest. */
  private take(into: Incoming, bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, into.frame.length - into.filled);
    into.frame.set(part, into.filled);
    into.filled += part.length;
    if (into.filled === into.frame.length) this.complete(into, into.frame);
    return bytes.subarray(part.length);
  }

  private complete(into: Incoming, frame: Uint8Array<ArrayBuffer>): void {
    into.filled = 0;
    if (into.hasLength) {
      [into.frame, into.hasLength] = [new Uint8Array(LENGTH_BYTES), false];
      return this.events.frame(frame, false);
    }
    const length = new DataView(frame.buffer).getUint32(0);
    if (length > this.frameBytesMax || length === 0) return this.break("a frame of a size that is not allowed");
    [into.frame, into.hasLength] = [new Uint8Array(length), true];
  }

  /** Tells the peer what was taken of what it sent; at first that is nothing, and says that this side has its channels. */
  tellTaken(): void {
    const message = new Uint8Array(1 + 16);
    const view = new DataView(message.buffer);
    message[0] = 2;
    this.into.forEach((into, lane) => {
      into.told = into.taken;
      view.setBigUint64(1 + 8 * lane, BigInt(into.taken));
    });
    if (this.reliable?.readyState === "open") send(this.reliable, message);
  }

  private handleTaken(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const lane of [0, 1] as const) {
      const out = this.out[lane];
      const taken = Number(view.getBigUint64(8 * lane));
      if (taken > out.sent) return this.break("more taken than was sent");
      out.taken = Math.max(out.taken, taken);
    }
    this.pump();
  }

  /** Sends what channel and windows take: a chunk of each lane in turn. */
  private pump(): void {
    const channel = this.reliable;
    if (channel?.readyState !== "open") return;
    while (channel.bufferedAmount <= CHANNEL_BYTES_MAX) {
      const isSent = [this.sendChunk(channel, 0), this.sendChunk(channel, 1)];
      if (!isSent.includes(true)) break;
    }
    if (this.finishing && this.out[0].queuedBytes === 0) {
      this.finishing = false;
      this.events.finished();
    }
  }

  private sendChunk(channel: Channel, lane: 0 | 1): boolean {
    const out = this.out[lane];
    const room = LANE_WINDOW_BYTES - (out.sent - out.taken);
    const bytes = Math.min(out.queuedBytes, room, CHANNEL_MESSAGE_BYTES_MAX - 1);
    if (bytes === 0) return false;
    const message = new Uint8Array(1 + bytes);
    message[0] = lane;
    for (let filled = 1; filled < message.length; ) filled += moveInto(message, filled, out);
    out.sent += bytes;
    out.queuedBytes -= bytes;
    send(channel, message);
    return true;
  }

  private sendCopies(frame: Uint8Array<ArrayBuffer>): void {
    this.datagram(frame);
    if (this.secondCopies === SECOND_COPIES_MAX) return;
    this.secondCopies += 1;
    this.timers.after(SECOND_COPY_MS, () => {
      this.secondCopies -= 1;
      if (this.out[0].queuedBytes <= EARLY_BYTES_MAX) this.datagram(frame);
    });
  }

  private break(why: string): void {
    if (this.over) return;
    this.close();
    this.events.broken(why);
  }
}

function outgoing(): Outgoing {
  return { queue: [], offset: 0, queuedBytes: 0, sent: 0, taken: 0 };
}

function incoming(): Incoming {
  return { chunks: [], frame: new Uint8Array(LENGTH_BYTES), hasLength: false, filled: 0, received: 0, taken: 0, told: 0 };
}

function queue(lane: Outgoing, frame: Uint8Array): void {
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, frame.length);
  lane.queue.push(length, frame);
  lane.queuedBytes += LENGTH_BYTES + frame.length;
}

/** Copies from the first that waits. Returns how many bytes. */
function moveInto(message: Uint8Array, at: number, out: Outgoing): number {
  const first = out.queue[0];
  if (first === undefined) throw new Error("what is counted as queued is in the queue");
  const part = first.subarray(out.offset, out.offset + message.length - at);
  message.set(part, at);
  out.offset += part.length;
  if (out.offset === first.length) {
    out.queue.shift();
    out.offset = 0;
  }
  return part.length;
}

function send(channel: Channel, bytes: Uint8Array<ArrayBuffer>): void {
  try {
    channel.send(bytes);
  } catch {
    // It is closing, or its buffer is full: what follows tells.
  }
}
