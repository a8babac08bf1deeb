import assert from "node:assert/strict";
import { test } from "node:test";
import type { Signal } from "../src/protocol/signal.js";
import { SIGNALS_BURST, SIGNALS_MAX, SIGNALS_PER_S, SignalQueue, type SignalMessage } from "../src/signal-queue.js";

function signal(kind: Signal["kind"], attempt: number): SignalMessage {
  const description = { ufrag: "abcd", pwd: "p".repeat(22), candidates: [] };
  const rest = kind === "close" ? {} : kind === "candidates" ? { candidates: [] } : description;
  return { type: "signal", to: 1, peer_key: "ab", signal: { kind, attempt, ...rest } as Signal };
}

test("a crowd of signals goes out no faster than the service takes them", () => {
  const queue = new SignalQueue(0);
  const sent: number[] = [];
  for (let now = 0; now <= 3000; now += 20) {
    for (let count = 0; count < 5; count += 1) queue.push(signal("answer", now), now);
    queue.poll(now).forEach(() => sent.push(now));
  }
  assert.ok(sent.length >= SIGNALS_BURST + 2.9 * SIGNALS_PER_S, String(sent.length));
  for (const from of sent) {
    const within = sent.filter((at) => at >= from && at < from + 1000).length;
    assert.ok(within <= SIGNALS_BURST + SIGNALS_PER_S + 1, String(within));
  }
});

test("answers go before candidates, and these before what is over; those of one rank keep their order", () => {
  const queue = new SignalQueue(0);
  const kinds = ["close", "candidates", "answer", "candidates", "offer"] as const;
  kinds.forEach((kind, index) => queue.push(signal(kind, index + 1), 0));
  assert.deepEqual(queue.poll(0).map((message) => message.signal.attempt), [3, 5, 2, 4, 1]);
  assert.equal(queue.pauseMs(), undefined);
});

test("signals of attempts that have run out are not sent, and no more than so many wait", () => {
  const queue = new SignalQueue(0);
  for (let attempt = 0; attempt < SIGNALS_MAX; attempt += 1) queue.push(signal("close", attempt), 0);
  queue.push(signal("answer", 1000), 0);
  assert.equal(queue.poll(0)[0]?.signal.attempt, 1000);
  queue.push(signal("offer", 2000), 2500);
  assert.deepEqual(queue.poll(2500).map((message) => message.signal.attempt), [2000]);
});
