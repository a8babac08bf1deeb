import assert from "node:assert/strict";
import { test } from "node:test";
import { Lanes, QUEUE_BYTES_MAX, STATES_WAITING_MAX } from "../src/lanes.js";
import { CHANNEL_MESSAGE_BYTES_MAX, LANE_WINDOW_BYTES } from "../src/protocol/limits.js";
import type { Timers } from "../src/timers.js";
import { deliverAll, FakeChannel } from "./support/channels.js";

const FRAME_BYTES_MAX = 4 * 1024 * 1024;

/** Time that stands still until somebody lets it pass. */
class ManualTimers implements Timers {
  private waiting: (() => void)[] = [];

  after(_ms: number, work: () => void): () => void {
    this.waiting.push(work);
    return () => (this.waiting = this.waiting.filter((other) => other !== work));
  }

  close(): void {
    this.waiting = [];
  }

  pass(): void {
    const due = this.waiting;
    this.waiting = [];
    for (const work of due) work();
  }
}

class End {
  readonly timers = new ManualTimers();
  readonly frames: Uint8Array[] = [];
  readonly datagrams: Uint8Array[] = [];
  readonly reliable = new FakeChannel();
  readonly unreliable = new FakeChannel();
  broken: string | undefined;
  finished = 0;
  readonly lanes = new Lanes(
    this.timers,
    {
      frame: (bytes, isDatagram) => (isDatagram ? this.datagrams : this.frames).push(bytes),
      broken: (why) => (this.broken = why),
      finished: () => (this.finished += 1),
    },
    FRAME_BYTES_MAX,
  );
}

/** Two ends of a link. */
function pair(): [End, End] {
  const [one, other] = [new End(), new End()];
  one.reliable.onmessage = (bytes) => other.lanes.handleReliable(bytes);
  other.reliable.onmessage = (bytes) => one.lanes.handleReliable(bytes);
  one.unreliable.onmessage = (bytes) => other.lanes.handleUnreliable(bytes);
  other.unreliable.onmessage = (bytes) => one.lanes.handleUnreliable(bytes);
  return [one, other];
}

function open(...ends: End[]): void {
  for (const end of ends) end.lanes.open(end.reliable, end.unreliable);
}

function deliver(one: End, other: End): void {
  deliverAll(one.reliable, other.reliable, one.unreliable, other.unreliable);
}

function frame(length: number, fill = 0): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).fill(fill);
}

test("frames of all sizes arrive whole and in order, also those that were said before the link was up", () => {
  const [one, other] = pair();
  const sizes = [1, 16_378, 16_379, 16_380, 100_000, 3_000_000, 5];
  sizes.forEach((size, index) => one.lanes.push(frame(size, index)));
  open(one, other);
  deliver(one, other);
  assert.deepEqual(other.frames.map(({ length }) => length), sizes);
  assert.ok(other.frames.every((bytes, index) => bytes.every((byte) => byte === index)));
  assert.ok(one.reliable.sizes.every((size) => size <= CHANNEL_MESSAGE_BYTES_MAX));
});

test("a sender keeps to the window of a lane, and goes on once its bytes were taken", () => {
  const [one, other] = pair();
  open(one, other);
  one.lanes.push(frame(3 * LANE_WINDOW_BYTES));
  let sent = 0;
  // Without what the other side says of what it has taken.
  while (one.reliable.deliver()) other.reliable.onTheirWay.length = 0;
  sent = one.reliable.sizes.reduce((sum, size) => sum + size - 1, 0);
  assert.equal(sent, LANE_WINDOW_BYTES);
  assert.equal(other.frames.length, 0);
});

test("a message does not wait behind a state", () => {
  const [one, other] = pair();
  open(one, other);
  other.lanes.wantStates();
  assert.ok(one.lanes.pushState(frame(2_000_000, 1)));
  one.lanes.push(frame(10, 2));
  deliver(one, other);
  assert.deepEqual(other.frames.map(({ length }) => length), [10, 2_000_000]);
});

test("states that were not asked for wait, within the window, and come once they are wanted", () => {
  const [one, other] = pair();
  open(one, other);
  one.lanes.pushState(frame(3_000_000));
  deliver(one, other);
  assert.equal(other.frames.length, 0);
  assert.equal(other.broken, undefined);
  other.lanes.wantStates();
  deliver(one, other);
  assert.deepEqual(other.frames.map(({ length }) => length), [3_000_000]);
});

test("a peer that sends more than the window is cut off", () => {
  const [, other] = pair();
  const chunk = new Uint8Array(CHANNEL_MESSAGE_BYTES_MAX);
  chunk[0] = 1;
  for (let sent = 0; sent <= LANE_WINDOW_BYTES + chunk.length; sent += chunk.length - 1) other.lanes.handleReliable(chunk);
  assert.equal(other.broken, "more than the window");
});

test("what is no lane, no length, or no account of what was taken cuts the peer off", () => {
  for (const wrong of [[], [3, 0], [2, 0], [2, ...new Array<number>(15).fill(0), 9], [0, 0xff, 0, 0, 0], [0, 0, 0, 0, 0]]) {
    const [, other] = pair();
    other.lanes.handleReliable(Uint8Array.from(wrong));
    if (wrong[0] === 2 && wrong.length === 17) assert.equal(other.broken, "more taken than was sent");
    else assert.notEqual(other.broken, undefined, String(wrong));
  }
});

test("a numbered frame has a copy that goes ahead and a second one, unless it is too large for a datagram", () => {
  const [one, other] = pair();
  open(one, other);
  one.lanes.push(frame(10), true);
  one.lanes.push(frame(1151), true);
  one.unreliable.deliver();
  assert.deepEqual([other.datagrams.length, other.frames.length], [1, 0]);
  one.timers.pass();
  deliver(one, other);
  assert.deepEqual([other.datagrams.length, other.frames.length], [2, 2]);
});

test("the second copy arrives where the first was lost", () => {
  const [one, other] = pair();
  open(one, other);
  one.unreliable.losing = 1;
  one.lanes.push(frame(10), true);
  one.unreliable.deliver();
  assert.equal(other.datagrams.length, 0);
  one.timers.pass();
  one.unreliable.deliver();
  assert.equal(other.datagrams.length, 1);
});

test("while much is being sent no copies go ahead", () => {
  const [one, other] = pair();
  open(one, other);
  one.lanes.push(frame(200_000));
  one.lanes.push(frame(10), true);
  assert.equal(one.unreliable.sizes.length, 0);
  deliver(one, other);
  one.lanes.push(frame(10), true);
  assert.equal(one.unreliable.sizes.length, 1);
});

test("a peer that does not keep up is cut off, and states for it are refused before", () => {
  const [one] = pair();
  let states = 0;
  while (one.lanes.pushState(frame(10))) states += 1;
  assert.equal(states, STATES_WAITING_MAX);
  for (let queued = 0; queued <= QUEUE_BYTES_MAX; queued += 1_000_000) one.lanes.push(frame(1_000_000));
  assert.equal(one.broken, "the peer is too far behind");
});

test("a link that finishes says so once all of it has been handed on, and nothing comes after its close", () => {
  const [one, other] = pair();
  open(one, other);
  one.lanes.push(frame(500_000));
  one.lanes.finish();
  assert.equal(one.finished, 0);
  deliver(one, other);
  assert.equal(one.finished, 1);
  other.lanes.close();
  one.lanes.push(frame(10));
  deliver(one, other);
  assert.equal(other.frames.length, 1);
});
