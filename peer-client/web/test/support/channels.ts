/** Two ends of a data channel, in one process. */

import type { Channel } from "../../src/lanes.js";

/** What travels on a channel may be held, and what may be lost be dropped. */
export class FakeChannel implements Channel {
  readyState: RTCDataChannelState = "open";
  bufferedAmountLowThreshold = 0;
  onbufferedamountlow: ((event: Event) => void) | null = null;
  onmessage: (bytes: Uint8Array<ArrayBuffer>) => void = () => undefined;
  /** Messages on their way, and those that were sent so far. */
  readonly onTheirWay: Uint8Array<ArrayBuffer>[] = [];
  readonly sizes: number[] = [];
  /** How many messages are lost, from now on. */
  losing = 0;

  get bufferedAmount(): number {
    return this.onTheirWay.reduce((sum, { length }) => sum + length, 0);
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.sizes.push(bytes.length);
    if (this.losing > 0) this.losing -= 1;
    else this.onTheirWay.push(bytes.slice());
  }

  /** Delivers the next message. False: there is none. */
  deliver(): boolean {
    const next = this.onTheirWay.shift();
    if (next === undefined) return false;
    this.onmessage(next);
    if (this.bufferedAmount <= this.bufferedAmountLowThreshold) this.onbufferedamountlow?.(new Event("bufferedamountlow"));
    return true;
  }
}

/** Delivers all that is on its way on these, whatever else that brings about, in turns. */
export function deliverAll(...channels: FakeChannel[]): void {
  while (channels.map((channel) => channel.deliver()).includes(true));
}
