/*
 * Sessions against the real lobby service, their links within this process. What WebRTC adds is the browser tests' to show.
 */

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { SessionEvent } from "../../src/events.js";
import type { Game, Message, Restored, SavedState } from "../../src/game.js";
import { noIdentity, type Identity, type IdentityStore } from "../../src/identity.js";
import { Service, type Seated, type Seating } from "../../src/service.js";
import type { Session } from "../../src/session.js";
import { start, type Settings } from "../../src/start.js";
import { Hub } from "../support/hub.js";
import { ServiceProcess } from "../support/service-process.js";

let service: ServiceProcess;
before(async () => (service = await ServiceProcess.start()));
after(() => service.stop());
/** Who still plays when a test ends. */
const playing = new Set<Player>();
afterEach(() => playing.forEach((player) => player.crash()));

const SETTINGS: Settings = {
  playerName: "Ada",
  buildId: "1",
  canHost: true,
  snapshotIntervalMs: 200,
  returnPayload: new Uint8Array(),
  stateKey: undefined,
  handsOverWhenHidden: true,
  leavesOnClose: false,
};
const PATIENCE_MS = 10_000;

/** Counts what each player has said, as part of its state: whatever is lost or comes twice is seen. */
class Counting implements Game {
  readonly events: SessionEvent[] = [];
  readonly heard: string[] = [];
  counts: Record<string, number[]> = {};
  tick = 0;
  private waiting: { readonly holds: () => boolean; readonly done: () => void }[] = [];

  saveState(): SavedState {
    return { tick: this.tick, state: new TextEncoder().encode(JSON.stringify(this.counts)) };
  }

  restoreState(restored: Restored | undefined): void {
    this.tick = restored?.tick ?? 0;
    this.counts = restored === undefined ? {} : (JSON.parse(new TextDecoder().decode(restored.state)) as typeof this.counts);
  }

  onMessage({ from, payload }: Message): void {
    const text = new TextDecoder().decode(payload);
    this.heard.push(text);
    if (text.startsWith("n")) (this.counts[from] ??= []).push(Number(text.slice(1)));
    this.look();
  }

  onEvent(event: SessionEvent): void {
    this.events.push(event);
    this.look();
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve, reject) => {
      const kinds = (): string => this.events.map(({ kind }) => kind).join(", ");
      timer = setTimeout(() => reject(new Error(`${what}: not in time; ${kinds()}`)), PATIENCE_MS);
      this.waiting.push({ holds, done: resolve });
      this.look();
    }).finally(() => clearTimeout(timer));
  }

  event(kind: SessionEvent["kind"]): Promise<void> {
    return this.until(kind, () => this.events.some((event) => event.kind === kind));
  }

  private look(): void {
    const done = this.waiting.filter(({ holds }) => holds());
    this.waiting = this.waiting.filter((waiter) => !done.includes(waiter));
    for (const waiter of done) waiter.done();
  }
}

class Player {
  readonly game = new Counting();
  session!: Session;
  key = "";

  constructor(
    readonly hub: Hub,
    private readonly identity: IdentityStore = noIdentity(),
  ) {}

  async host(election_delay_ms = 0): Promise<this> {
    return this.begin(true, (service, seating) => service.create({ name: "test", settings: { election_delay_ms } }, seating));
  }

  async join(code: string): Promise<this> {
    await this.begin(false, (service, seating) => service.joinCode(code, seating));
    await this.game.event("joined_game");
    return this;
  }

  async begin(created: boolean, take: (service: Service, seating: Seating) => Promise<Seated>): Promise<this> {
    const player = await Service.signIn(service.url, "Ada", this.identity, undefined);
    const transport = this.hub.process();
    playing.add(this);
    this.key = transport.peerKey;
    this.session = await start(SETTINGS, player, this.game, created, (seating) => take(player, seating), () => Promise.resolve(transport));
    return this;
  }

  say(number: number): void {
    this.session.send("host", new TextEncoder().encode(`n${number}`));
  }

  give(): void {
    this.game.tick += 1;
    this.session.setTick(this.game.tick);
    this.session.giveState(this.game.saveState());
  }

  /** As if its process had been killed. */
  crash(): void {
    playing.delete(this);
    this.hub.crash(this.key);
    const { driver } = this.session as unknown as { driver: { over: boolean; events?: { close(): void }; timers: { close(): void } } };
    driver.events?.close();
    driver.timers.close();
    driver.over = true;
  }
}

/** What a page's storage is: there after a reload. */
function storage(): IdentityStore {
  let stored: Identity | undefined;
  return { load: () => stored, save: (identity) => void (stored = identity) };
}

function count(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

test("a guest goes on from the state of a host that crashed, and no message is lost or comes twice", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host();
  const code = host.session.joinCode;
  const [one, two] = [await new Player(hub).join(code), await new Player(hub).join(code)];
  for (const number of count(1, 20)) [one, two].forEach((guest) => guest.say(number));
  await host.game.until("all heard", () => Object.values(host.game.counts).flat().length === 40);
  host.give();
  for (const number of count(21, 25)) [one, two].forEach((guest) => guest.say(number));
  await host.game.until("more heard", () => host.game.counts[two.session.me]?.length === 25);
  host.crash();
  for (const number of count(26, 30)) [one, two].forEach((guest) => guest.say(number));
  const all = [one, two];
  const isOver = ({ kind }: SessionEvent): boolean => kind === "host_migrated" || kind === "became_host";
  await one.game.until("somebody hosts again", () => all.some(({ game }) => game.events.some(isOver)));
  const [next, other] = one.session.isHost ? [one, two] : [two, one];
  await other.game.event("host_migrated");
  await next.game.until("all heard again", () => Object.values(next.game.counts).flat().length >= 60);
  for (const guest of [one, two]) assert.deepEqual(next.game.counts[guest.session.me], count(1, 30));
  const { trace } = next.game.events.find((event) => event.kind === "migrated") as Extract<SessionEvent, { kind: "migrated" }>;
  assert.equal(trace.source, "warm");
  assert.equal(trace.saidAgain > 0, true);
  await Promise.all([next.session.leave(), other.session.leave()]);
});

test("a hand-over moves the game, and the old host plays on as a guest", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host(1000);
  const guest = await new Player(hub).join(host.session.joinCode);
  for (const number of count(1, 10)) guest.say(number);
  await host.game.until("heard", () => host.game.counts[guest.session.me]?.length === 10);
  host.session.handOver();
  await guest.game.event("became_host");
  await host.game.event("host_migrated");
  host.say(11);
  await guest.game.until("heard", () => guest.game.counts[host.session.me]?.length === 1);
  assert.deepEqual(guest.game.counts, { [guest.session.me]: count(1, 10), [host.session.me]: [11] });
  assert.equal(host.session.role, "guest");
  await guest.session.leave();
  await host.game.until("host again", () => host.session.isHost);
  assert.deepEqual(host.game.counts[host.session.me], [11]);
  await host.session.leave();
});

test("a game that its last player has left goes on from the lobby, for whoever comes by its code", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host();
  const code = host.session.joinCode;
  host.game.counts = { 9: [1, 2, 3] };
  host.game.tick = 7;
  await host.session.leave();
  assert.deepEqual(host.game.events.at(-1), { kind: "left" });
  const next = new Player(hub);
  await next.begin(false, (service, seating) => service.joinCode(code, seating));
  await next.game.event("became_host");
  assert.deepEqual([next.game.counts, next.game.tick], [{ 9: [1, 2, 3] }, 7]);
  await next.session.leave();
});

test("what is said after stable is heard once the state is durable, once, over a migration", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host();
  const guest = await new Player(hub).join(host.session.joinCode);
  host.session.send("everyone", new TextEncoder().encode("champion"), "after_stable");
  await guest.game.until("heard", () => guest.game.heard.includes("champion"));
  assert.ok(host.game.events.some(({ kind }) => kind === "snapshot_stored"));
  host.crash();
  await guest.game.event("became_host");
  guest.session.saveNow();
  await guest.game.event("snapshot_stored");
  assert.deepEqual(guest.game.heard, ["champion"]);
  await guest.session.leave();
});

test("a guest that the game refuses is told why, asks again after a while, and is let in then", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host();
  let isFull = true;
  (host.game as Game).acceptPlayer = ({ returning }) => {
    assert.equal(returning, false);
    return isFull ? { refuse: "full" } : "accept";
  };
  const guest = new Player(hub);
  await guest.begin(false, (service, seating) => service.joinCode(host.session.joinCode, seating));
  await guest.game.event("refused_by_host");
  assert.deepEqual(guest.game.events.find(({ kind }) => kind === "refused_by_host"), { kind: "refused_by_host", host: 0, reason: "full" });
  assert.throws(() => guest.say(1), { code: "not_connected" });
  isFull = false;
  await guest.game.event("joined_game");
  await Promise.all([guest.session.leave(), host.session.leave()]);
});

test("a page that is reloaded has its seat and its objects again", async () => {
  const [hub, kept] = [new Hub(), storage()];
  const host = await new Player(hub).host();
  const code = host.session.joinCode;
  const before = await new Player(hub, kept).join(code);
  const { me } = before.session;
  host.session.placeObject(5, me, Uint8Array.of(1));
  host.session.send("everyone", new TextEncoder().encode("placed"));
  await before.game.until("word of the object", () => before.game.heard.includes("placed"));
  assert.equal(before.session.objects.get(5)?.owner, me);
  before.crash();
  const after = await new Player(hub, kept).join(code);
  assert.equal(after.session.me, me);
  assert.deepEqual(after.session.objects.get(5), { owner: me, enabled: true, data: Uint8Array.of(1) });
  assert.ok(after.game.events.some((event) => event.kind === "object_reconnected" && event.object === 5));
  await Promise.all([after.session.leave(), host.session.leave()]);
});

test("a game that throws does not end its session", async () => {
  const hub = new Hub();
  const host = await new Player(hub).host();
  const { error } = console;
  console.error = () => undefined;
  try {
    host.game.onEvent = () => {
      throw new Error("a fault of the game");
    };
    const guest = await new Player(hub).join(host.session.joinCode);
    guest.say(1);
    await host.game.until("heard", () => host.game.counts[guest.session.me]?.length === 1);
    await Promise.all([guest.session.leave(), host.session.leave()]);
  } finally {
    console.error = error;
  }
});
