import assert from "node:assert/strict";
import { test } from "node:test";

import { Image } from "../../src/protocol/image.js";
import { ObjectTable } from "../../src/protocol/objects.js";
import { checkDeltaHeader, checkHeader, deltaRecordBytes, recordBytes } from "../../src/protocol/record.js";
import type { Result } from "../../src/protocol/result.js";
import { applyDelta, deltaFrom, fromRecord, SEAL_BYTES, Sealer, toRecord } from "../../src/protocol/seal.js";
import type { Snapshot } from "../../src/protocol/snapshot.js";
import { type Case, casesOf, plain, unhex } from "./vectors.js";

function valueOf<T, E>(result: Result<T, E>): T {
  return result.ok ? result.value : assert.fail(`it is refused: ${String(result.error)}`);
}

const casesOfKind = (wanted: string): readonly Case[] => casesOf("snapshots").filter(({ kind }) => kind === wanted);

const shown = (snapshot: Snapshot): unknown => plain({ ...snapshot.body, objects: snapshot.body.objects.entries() });

test("snapshots are read as Rust writes them, compressed or not, and written as the same bytes", () => {
  for (const { header, checksum, body, plain: uncompressed, record } of casesOfKind("snapshot")) {
    assert.deepEqual(checkHeader(unhex(uncompressed)), { ok: true, value: header });
    assert.deepEqual(recordBytes(unhex(`${uncompressed}00`)), { ok: true, value: uncompressed.length / 2 });
    for (const bytes of [uncompressed, record]) {
      const image = valueOf(Image.fromRecord(unhex(bytes)));
      assert.equal(image.checksum, checksum);
      const snapshot = valueOf(image.decode());
      assert.deepEqual(shown(snapshot), plain(body));
      assert.equal(plain(valueOf(valueOf(Image.of(snapshot)).toRecord())), uncompressed);
    }
  }
});

test("deltas of both kinds lead where Rust says that they lead", () => {
  const patches = new Set<string>();
  for (const { name, patch, base, result, record, header, from } of casesOfKind("delta")) {
    const [before, after] = [base, result].map((bytes: string) => valueOf(Image.fromRecord(unhex(bytes))));
    assert.deepEqual(checkDeltaHeader(unhex(record)), { ok: true, value: { ...header, base: from } }, name);
    assert.deepEqual(deltaRecordBytes(unhex(record)), { ok: true, value: record.length / 2 });
    const made = valueOf((before as Image).apply(unhex(record)));
    assert.equal(made.checksum, after?.checksum, name);
    assert.deepEqual([made.generation, made.tick, made.elapsedUs], [header.generation, header.tick, header.elapsedUs]);
    patches.add(patch);
  }
  assert.deepEqual([...patches].sort(), ["in_place", "moved"]);
});

test("deltas written here lead where they should, and are Rust's own bytes where nothing is worth compressing", () => {
  let same = 0;
  for (const { name, base, result, record, same: isSame } of casesOfKind("delta")) {
    const [before, after] = [base, result].map((bytes: string) => valueOf(Image.fromRecord(unhex(bytes))));
    const delta = valueOf((after as Image).deltaFrom(before as Image));
    assert.equal(valueOf((before as Image).apply(delta)).checksum, after?.checksum, name);
    assert.ok(delta.length < result.length / 2 + 400, `${name}: ${delta.length} bytes`);
    if (isSame === true) {
      same += 1;
      assert.equal(plain(delta), record, name);
    }
  }
  assert.ok(same > 5, `${same} are the same`);
});

test("records that are wrong are refused for the reason that Rust gives", () => {
  for (const { base, record, error } of casesOfKind("refused")) {
    const bytes = unhex(record);
    const result = base === undefined ? Image.fromRecord(bytes) : valueOf(Image.fromRecord(unhex(base))).apply(bytes);
    assert.ok(!result.ok, `${error} was expected of ${record.slice(0, 300)}`);
    assert.equal(result.error, error, record.slice(0, 300));
  }
});

test("a delta is not made to what is as new", () => {
  const { base } = casesOfKind("delta")[0] as Case;
  const image = valueOf(Image.fromRecord(unhex(base)));
  assert.deepEqual(image.deltaFrom(image), { ok: false, error: "base" });
});

test("a mebibyte of which a little has changed is a small delta", () => {
  const state = new Uint8Array(1 << 20).map((_, at) => (at * 7919) >> 5);
  const body = { buildId: "1", scene: "s", seats: [], objects: new ObjectTable(), ledger: [], changes: [] };
  const image = (seq: number, bytes: Uint8Array): Image =>
    valueOf(Image.of({ generation: { epoch: 1, seq }, tick: seq, elapsedUs: 0, body: { ...body, state: bytes } }));
  const changed = state.slice();
  for (let at = 0; at < changed.length; at += 5000) changed[at] = (changed[at] ?? 0) ^ 1;
  const longer = new Uint8Array([...changed.subarray(0, 400_000), 1, 2, 3, ...changed.subarray(400_000)]);
  const [base, result] = [image(1, state), image(2, longer)];
  const delta = valueOf(result.deltaFrom(base));
  assert.ok(delta.length < 2000, `${delta.length} bytes`);
  assert.equal(valueOf(base.apply(delta)).checksum, result.checksum);
});

const AT = { epoch: 4, seq: 9 };
const LOBBY = "01".repeat(16);

test("a record that another implementation has sealed opens, at its place only", async () => {
  const sealer = await Sealer.of(new Uint8Array(32).fill(7), LOBBY);
  const salt = Uint8Array.from({ length: 32 }, (_, at) => at);
  const sealed = new Uint8Array([...salt, ...unhex("86cde65b6ba2850d6bb9da39c577eb595f3e48f22017")]);
  assert.equal(Buffer.from((await sealer.open(AT, sealed)) ?? []).toString(), "a game");
  assert.equal(await sealer.open({ epoch: 4, seq: 10 }, sealed), undefined);
  assert.equal(await (await Sealer.of(new Uint8Array(32).fill(7), "02".repeat(16))).open(AT, sealed), undefined);
  assert.equal(await sealer.open(AT, sealed.subarray(0, 40)), undefined);
});

test("sealed snapshots and deltas open with their own key and header only", async () => {
  const { base, result } = casesOfKind("delta")[1] as Case;
  const [before, after] = [base, result].map((bytes: string) => valueOf(Image.fromRecord(unhex(bytes)))) as [Image, Image];
  const sealer = await Sealer.of(new Uint8Array(32).fill(7), LOBBY);
  const other = await Sealer.of(new Uint8Array(32).fill(8), LOBBY);
  const record = valueOf(await toRecord(before, sealer));
  assert.equal(record.length, valueOf(before.toRecord()).length + before.head(0).length + SEAL_BYTES);
  assert.equal(valueOf(await fromRecord(record, sealer)).checksum, before.checksum);
  assert.deepEqual(await fromRecord(record), { ok: false, error: "sealed" });
  assert.deepEqual(await fromRecord(record, other), { ok: false, error: "key" });
  assert.deepEqual(await fromRecord(valueOf(before.toRecord()), sealer), { ok: false, error: "key" });
  const delta = valueOf(await deltaFrom(after, before, sealer));
  assert.equal(valueOf(await applyDelta(before, delta, sealer)).checksum, after.checksum);
  assert.deepEqual(await applyDelta(before, delta), { ok: false, error: "sealed" });
  assert.deepEqual(await applyDelta(before, valueOf(after.deltaFrom(before)), sealer), { ok: false, error: "key" });
});
