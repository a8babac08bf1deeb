import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Ballast, sumOf } from "../arena/ballast.js";
import { Bank, Customer } from "../arena/bank.js";
import { botInput } from "../arena/bot.js";
import { type Packet, decodePacket, encodePacket } from "../arena/message.js";
import { Malformed } from "../arena/pack.js";
import { Vault } from "../arena/stored.js";
import { VERSION } from "../arena/version.js";
import { COINS, type Direction, type Input, World, sorted } from "../arena/world.js";

interface Game {
  readonly seed: string;
  readonly bots: boolean;
  readonly done: readonly string[];
  readonly sums: readonly string[];
  readonly states: readonly string[];
}

interface Vectors {
  readonly games: readonly Game[];
  readonly packets: readonly { kind: Packet["kind"]; fields: Record<string, unknown>; bytes: string }[];
  readonly stored: readonly { seed: string; state_bytes: number; before: string; after: string }[];
}

const vectors = JSON.parse(readFileSync("vectors/arena.json", "utf8")) as Vectors;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const sum = (bytes: Uint8Array): string => sumOf(0, bytes).toString(16).padStart(16, "0");

const WALKS: Record<string, Direction | undefined> = { U: "Up", D: "Down", L: "Left", R: "Right", "-": undefined };

/** One word of what is done in a tick: a change, or an input, which goes into `inputs`. */
function apply(word: string, world: World, inputs: Map<number, Input>): void {
  const change = /^([edlo])(\d+)$/.exec(word);
  if (change !== null) {
    const connection = Number(change[2]);
    const changes = { e: "enter", d: "disable", l: "leave", o: "disableAllBut" } as const;
    world[changes[change[1] as keyof typeof changes]](connection);
    return;
  }
  const input = /^(\d+)([UDLR-])(\*?)$/.exec(word);
  assert.ok(input !== null, word);
  inputs.set(Number(input[1]), { walk: WALKS[input[2] ?? ""], shoot: input[3] === "*" });
}

/** Plays a game of the vectors and shows each tick. */
function play(game: Game, look: (world: World, inputs: ReadonlyMap<number, Input>, index: number) => void): void {
  const world = new World(BigInt(game.seed));
  [0, 1, 2].forEach((connection) => world.enter(connection));
  game.done.forEach((words, index) => {
    const inputs = new Map<number, Input>();
    words.split(" ").filter((word) => word !== "").forEach((word) => apply(word, world, inputs));
    if (game.bots) {
      inputs.forEach((input, connection) => assert.deepEqual(botInput(world, connection), input, `tick ${index}`));
    }
    world.step(inputs);
    look(world, inputs, index);
  });
}

test("the same inputs give the same arena as the native one's, bit for bit, and its bots want the same", () => {
  for (const game of vectors.games) {
    let states = 0;
    play(game, (world, _, index) => {
      const bytes = world.encode();
      assert.equal(sum(bytes), game.sums[index], `seed ${game.seed}, tick ${world.tick}`);
      assert.equal(world.coins(), COINS);
      if (world.tick % 60 === 0) {
        assert.equal(hex(bytes), game.states[states]);
        states += 1;
      }
    });
    assert.equal(states, game.states.length);
  }
});

test("an arena that was read goes on like the one that was written", () => {
  for (const game of vectors.games) {
    let copy: World | undefined;
    play(game, (world, inputs, index) => {
      copy?.step(inputs);
      const next = game.done[index + 1] ?? "";
      if (copy !== undefined) {
        assert.equal(hex(copy.encode()), hex(world.encode()));
      }
      copy = /[edlo]\d/.test(next) ? undefined : World.decode(world.encode());
    });
  }
});

test("bytes of an arena that were cut or changed are refused, or are an arena", () => {
  const bytes = unhex(vectors.games[0]?.states[4] ?? "");
  for (let at = 0; at < bytes.length; at += 1) {
    assert.throws(() => World.decode(bytes.subarray(0, at)), Malformed);
    const changed = bytes.slice();
    changed[at] = (changed[at] ?? 0) ^ 0xff;
    try {
      const world = World.decode(changed);
      const inputs = new Map(sorted(world.players).map(([connection]) => [connection, { walk: undefined, shoot: true }]));
      for (let tick = 0; tick < 20; tick += 1) {
        world.step(inputs);
      }
    } catch (error) {
      assert.ok(error instanceof Malformed, String(error));
    }
  }
});

/** The packet that the vectors describe. */
function described(kind: Packet["kind"], fields: Record<string, unknown>): Packet {
  switch (kind) {
    case "Input":
      return { kind, input: { walk: (fields["walk"] as Direction | null) ?? undefined, shoot: fields["shoot"] === true } };
    case "Bank":
    case "Receipt":
      return { kind, process: BigInt(String(fields["process"])), number: BigInt(String(fields["number"])) };
    case "World":
      return { kind, epoch: Number(fields["epoch"]), world: unhex(String(fields["world"])) };
  }
}

test("packets are the native ones, both ways, and what was cut is refused", () => {
  for (const { kind, fields, bytes } of vectors.packets) {
    const packet = described(kind, fields);
    assert.equal(hex(encodePacket(packet)), bytes);
    assert.deepEqual(decodePacket(unhex(bytes)), packet);
    for (let cut = 0; cut < bytes.length / 2; cut += 1) {
      assert.equal(decodePacket(unhex(bytes.slice(0, 2 * cut))), undefined);
    }
  }
});

test("a browser goes on from a native host's state as a native one would", () => {
  for (const { seed, state_bytes, before, after } of vectors.stored) {
    const { vault, world } = Vault.decode(unhex(before));
    assert.equal(hex(vault.encode(world.encode())), before);
    vault.bank.take(3, 1n, 1n);
    vault.ballast.churn(11, 50);
    world.disableAllBut(4);
    world.step(new Map());
    assert.equal(hex(vault.encode(world.encode())), after, `seed ${seed}, ${state_bytes} bytes`);
  }
});

test("ballast of one's own is the native one's, and a changed byte is noticed", () => {
  const { ballast } = vectors as unknown as { ballast: string };
  assert.equal(hex(Vault.make(5n, 2048 + 100).encode(new Uint8Array(0))), ballast);
  assert.ok(Ballast.make(5n, 100).isWhole());
  const state = vectors.stored[1]?.before ?? "";
  const changed = unhex(state);
  changed[500] = (changed[500] ?? 0) ^ 1;
  assert.throws(() => Vault.decode(changed), /ballast/);
});

test("gaps and repeats are counted, a new process begins anew, and receipts wait until they can be said", () => {
  const bank = new Bank();
  [1n, 2n, 2n, 5n].forEach((number) => bank.take(3, 7n, number));
  assert.deepEqual([bank.banked, bank.lost, bank.twice], [3n, 2n, 1n]);
  const said: bigint[] = [];
  bank.sayReceipts((_, __, number) => number <= 2n);
  bank.sayReceipts((_, __, number) => said.push(number) > 0);
  assert.deepEqual(said, [3n]);
  bank.take(3, 8n, 1n);
  assert.deepEqual([bank.banked, bank.lost, bank.twice], [4n, 2n, 1n]);
});

test("receipts that were taken back are expected again and others are noticed", () => {
  const customer = new Customer(7n);
  for (let number = 1n; number <= 3n; number += 1n) {
    customer.hear();
    assert.ok(customer.take(7n, number));
  }
  customer.hear();
  customer.takeBack(2);
  assert.equal(customer.newest, 2n, "the last message was no receipt, the one before it was the third");
  customer.take(7n, 3n);
  assert.deepEqual([customer.lost, customer.twice], [0n, 0n]);
  customer.take(7n, 3n);
  customer.take(7n, 6n);
  assert.deepEqual([customer.lost, customer.twice], [2n, 1n]);
  assert.ok(!customer.take(8n, 7n), "of the process before");
  customer.takeBack(undefined);
  customer.take(7n, 40n);
  assert.deepEqual([customer.newest, customer.lost], [40n, 2n]);
});

test("the page's version is the package's and the native arena's, so that they play together", () => {
  const packageFile = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const workspace = /^\[workspace\.package\]\nversion = "(.*)"$/m.exec(readFileSync("../../Cargo.toml", "utf8"));
  assert.deepEqual([packageFile.version, workspace?.[1]], [VERSION, VERSION]);
});
