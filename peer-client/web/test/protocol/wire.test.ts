import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeFrame, encodeFrame, type PeerFrame } from "../../src/protocol/frame.js";
import * as limits from "../../src/protocol/limits.js";
import { applyEvent } from "../../src/protocol/lobby.js";
import { ObjectTable } from "../../src/protocol/objects.js";
import {
  decodeHello,
  decodeObjects,
  decodeRefused,
  decodeWelcome,
  encodeHello,
  encodeObjects,
  encodeRefused,
  encodeWelcome,
} from "../../src/protocol/payload.js";
import { localIce, readSignal, remoteSdp, strippedCandidate } from "../../src/protocol/signal.js";
import { type Case, casesOf, plain, unhex } from "./vectors.js";

test("every limit is the one of the Rust crate, and none is left out", () => {
  assert.deepEqual({ ...limits }, casesOf("limits")[0]);
});

test("frames are the same bytes, and bytes that are none are refused alike", () => {
  for (const { bytes, frame, error } of casesOf("frames")) {
    const decoded = decodeFrame(unhex(bytes));
    if (error !== undefined) {
      assert.deepEqual(decoded, { ok: false, error }, bytes);
      continue;
    }
    assert.ok(decoded.ok, bytes);
    assert.deepEqual(plain(decoded.value), frame);
    assert.equal(plain(encodeFrame(decoded.value)), bytes);
  }
});

test("a frame is read from the middle of a buffer", () => {
  const frame: PeerFrame = { epoch: 7, body: { kind: "reliable", number: 2, payload: new Uint8Array([1, 2]) } };
  const within = new Uint8Array(64);
  const bytes = encodeFrame(frame);
  within.set(bytes, 20);
  assert.deepEqual(decodeFrame(within.subarray(20, 20 + bytes.length)), { ok: true, value: frame });
});

const CODECS: Readonly<Record<string, readonly [(bytes: Uint8Array) => unknown, (value: any) => Uint8Array]>> = {
  hello: [decodeHello, encodeHello],
  welcome: [decodeWelcome, encodeWelcome],
  objects: [decodeObjects, encodeObjects],
  refused: [decodeRefused, encodeRefused],
};

const tableAsPairs = (value: any): unknown =>
  value?.objects instanceof ObjectTable ? { ...value, objects: value.objects.entries() } : value;

test("payloads are read as Rust writes them, and written as the same bytes", () => {
  for (const { kind, bytes, value, foreign } of casesOf("messages")) {
    const [decode, encode] = CODECS[kind] ?? assert.fail(kind);
    const decoded = decode(unhex(bytes));
    assert.deepEqual(plain(tableAsPairs(decoded)), plain(value), bytes.slice(0, 80));
    if (foreign !== true) assert.equal(plain(encode(decoded)), bytes);
  }
});

test("payloads that are cut or changed are refused or read, and nothing is thrown", () => {
  for (const { kind, bytes } of casesOf("messages")) {
    const [decode] = CODECS[kind] ?? assert.fail(kind);
    const whole = unhex(bytes).subarray(0, 400);
    for (let at = 0; at < whole.length; at += 1) {
      const cut = decode(whole.subarray(0, at));
      if (whole.length < 400 && kind !== "refused") assert.equal(cut, undefined, `cut at ${at}`);
      for (const bit of [0, 4, 7]) {
        const flipped = whole.slice();
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        decode(flipped);
      }
    }
  }
});

test("a number that JavaScript cannot count is no welcome", () => {
  const { bytes } = casesOf("messages").find(({ kind }) => kind === "welcome") as Case;
  const tick = bytes.indexOf("cf0000000200000000");
  assert.ok(tick > 0);
  assert.ok(decodeWelcome(unhex(bytes)) !== undefined);
  assert.equal(decodeWelcome(unhex(bytes.replace("cf0000000200000000", "cf0020000000000000"))), undefined);
});

test("candidates and signals are admitted and stripped as the service does it", () => {
  for (const { kind, candidate, stripped, signal, admitted } of casesOf("signals")) {
    if (kind === "candidate") assert.equal(strippedCandidate(candidate) ?? null, stripped, candidate);
    else assert.deepEqual(readSignal(signal) ?? null, admitted, JSON.stringify(signal));
  }
});

test("a description of the other side names the fingerprint of the lobby, and reads back as what it was made of", () => {
  const ice = { ufrag: "abcd", pwd: "p".repeat(22), candidates: ["candidate:1 1 udp 5 192.0.2.7 4000 typ host"] };
  const offer = remoteSdp("offer", ice, "0a".repeat(32));
  assert.ok(offer.includes(`\r\na=fingerprint:sha-256 ${Array(32).fill("0A").join(":")}\r\na=setup:actpass\r\n`));
  assert.ok(remoteSdp("answer", ice, "0a".repeat(32)).includes("\r\na=setup:active\r\n"));
  assert.deepEqual(localIce(offer), ice);
  assert.equal(localIce("v=0\r\n"), undefined);
});

test("a view of a lobby becomes what it becomes in Rust, with every kind of event", () => {
  for (const { seed, first, steps } of casesOf("lobby")) {
    let view = first;
    for (const [at, step] of (steps as readonly Case[]).entries()) {
      assert.equal(applyEvent(view, { ...step["event"], seq: view.seq + 2 }), undefined);
      view = applyEvent(view, step["event"]);
      assert.deepEqual(plain(view), plain(step["view"]), `seed ${seed}, step ${at}: ${JSON.stringify(step["event"])}`);
    }
  }
});
