import assert from "node:assert/strict";
import { test } from "node:test";
import { botInput } from "../arena/bot.js";
import { ArenaGame, type News } from "../arena/game.js";
import { Story } from "../arena/story.js";
import type { Seat } from "../arena/seat.js";
import { Shifts } from "../arena/timeline.js";
import { COINS } from "../arena/world.js";
import type { Delivery, Recipient, Restored, Role, SavedState } from "../src/index.js";

/** A seat at a table in memory: what is sent reaches the others when the table is turned, in order, unless it is lost. */
class Place {
  role: Role = "guest";
  epoch = 1;
  readonly joinCode = "TABLE";
  readonly isOver = false;
  readonly objects = new Map<number, { owner: number | undefined }>();
  given: SavedState | undefined;
  readonly news: News[] = [];
  readonly game: ArenaGame;

  constructor(
    private readonly table: Table,
    readonly me: number,
  ) {
    const now = (): number => table.now;
    this.game = new ArenaGame({ seed: 9n, process: BigInt(me) + 100n, now, onNews: (news) => this.news.push(news) });
    this.game.sit(this as unknown as Seat);
  }

  get host(): number | undefined {
    return this.table.host?.me;
  }

  get lobby(): unknown {
    return { members: this.table.places.map(({ me }) => ({ connection: me, name: `P${me + 1}` })) };
  }

  get inGame(): number[] {
    return this.role === "host" ? this.table.places.filter(({ role }) => role === "guest").map(({ me }) => me) : [];
  }

  send(to: Recipient, payload: Uint8Array, delivery: Delivery): void {
    this.table.queue.push({ from: this, to, payload, delivery });
  }

  setTick(): void {
    // Nobody asks at this table.
  }

  placeObject(id: number, owner: number | undefined): void {
    this.objects.set(id, { owner });
  }

  setSeatData(): void {
    // Nobody asks at this table.
  }

  giveState(state: SavedState): void {
    this.given = state;
  }
}

class Table {
  now = 0;
  places: Place[] = [];
  queue: { from: Place; to: Recipient; payload: Uint8Array; delivery: Delivery }[] = [];

  get host(): Place | undefined {
    return this.places.find(({ role }) => role === "host");
  }

  sit(role: Role): Place {
    const place = new Place(this, this.places.length);
    place.role = role;
    this.places.push(place);
    return place;
  }

  /** A tick of everybody, and all that was said. */
  turn(): void {
    this.now += 33;
    for (const place of this.places) {
      place.game.tick(botInput(place.game.world, place.me));
    }
    for (const { from, to, payload, delivery } of this.queue.splice(0)) {
      const meant = ({ me }: Place): boolean => (to === "host" ? me === this.host?.me : to === "everyone" || to === me);
      for (const place of this.places.filter((place) => place !== from && meant(place))) {
        place.game.onMessage({ from: from.me, delivery, payload });
      }
    }
  }

  turns(count: number): void {
    for (let turn = 0; turn < count; turn += 1) {
      this.turn();
    }
  }

  /** The host is gone, and this member goes on from what it gave last. */
  migrate(to: Place): void {
    const state = this.host?.given;
    this.places = this.places.filter(({ role }) => role !== "host");
    this.queue = [];
    to.role = "becoming";
    for (const place of this.places) {
      place.epoch += 1;
      place.game.onEvent({ kind: "host_elected", host: to.me, epoch: place.epoch });
    }
    to.game.restoreState(state === undefined ? undefined : ({ state: state.state } as Restored));
    to.role = "host";
    to.game.onEvent({ kind: "became_host", epoch: to.epoch });
  }
}

test("guests see the host's arena, and what they bank has its effect once", () => {
  const table = new Table();
  const [host, guest] = [table.sit("host"), table.sit("guest")];
  table.turns(100);
  assert.equal(guest.game.world.tick, host.game.world.tick);
  assert.deepEqual(guest.game.world.encode(), host.game.world.encode());
  assert.equal(guest.game.customer.said, 33n);
  assert.equal(guest.game.customer.newest, 33n);
  assert.deepEqual([host.game.vault.bank.banked, host.game.vault.bank.lost, host.game.vault.bank.twice], [33n, 0n, 0n]);
});

test("a guest goes on from the state of its host, with every coin and everybody's bank", () => {
  const table = new Table();
  const [old, next, third] = [table.sit("host"), table.sit("guest"), table.sit("guest")];
  table.turns(200);
  const tick = old.game.world.tick;
  table.migrate(next);
  assert.equal(next.game.world.tick, tick);
  assert.deepEqual([...next.game.world.players].map(([, { enabled }]) => enabled), [false, true, false], "until they are back");
  table.turns(100);
  assert.equal(next.game.world.tick, tick + 100);
  assert.equal(third.game.worldEpoch, 2);
  assert.deepEqual([next.game.world.coins(), third.game.world.coins()], [COINS, COINS]);
  assert.equal(next.game.world.players.get(2)?.enabled, true);
  assert.equal(next.game.vault.bank.lost, 0n);
  const ticks = third.news.filter((news) => news.kind === "first_tick");
  assert.deepEqual(ticks.map(({ epoch }) => epoch), [1, 2]);
});

test("an arena of an old epoch, of a guest, or of nonsense changes nothing", () => {
  const table = new Table();
  const [host, guest] = [table.sit("host"), table.sit("guest")];
  table.turns(10);
  const before = guest.game.world.encode();
  guest.epoch = 2;
  table.turns(10);
  assert.deepEqual(guest.game.world.encode(), before, "of an epoch that is over");
  guest.epoch = 1;
  const hosts = host.game.world.encode();
  host.game.onMessage({ from: 1, delivery: "reliable", payload: new Uint8Array([0x81, 0xa5]) });
  assert.deepEqual(host.game.world.encode(), hosts);
});

test("what comes before the seat is known is taken once it is", () => {
  const table = new Table();
  table.sit("host");
  const late = new ArenaGame({ seed: 1n, process: 7n, now: () => 0, onNews: () => undefined });
  late.onEvent({ kind: "player_joined", connection: 0 });
  late.onMessage({ from: 0, delivery: "reliable", payload: new Uint8Array() });
  assert.equal(late.saveState(), undefined);
  late.sit(table.places[0] as unknown as Seat);
  assert.notEqual(late.saveState(), undefined);
});

test("the story tells what people care about, and forgets the oldest", () => {
  const table = new Table();
  const seat = table.sit("guest") as unknown as Seat;
  const story = new Story(0);
  story.add({ kind: "event", event: { kind: "host_lost", host: 0, cause: "left" } }, seat, 1000);
  story.add({ kind: "event", event: { kind: "peers_updated" } }, seat, 1001);
  story.add({ kind: "first_tick", epoch: 2, pauseMs: 71.6 }, seat, 1072);
  assert.deepEqual(story.sentences, [
    { atMs: 1000, text: "host lost: P1" },
    { atMs: 1072, text: "the game goes on at epoch 2, after 72 ms" },
  ]);
  for (let number = 0; number < 20; number += 1) {
    story.tell(`sentence ${number}`, 2000);
  }
  assert.deepEqual([story.sentences.length, story.told], [12, 22]);
});

test("the two parts of a migration's timeline come in any order, and the newest migration first", () => {
  const trace = { from: 0, to: 1, planned: false, noticedMs: 1, electedMs: 2, foundMs: undefined, restoredMs: undefined, resumedMs: 3 };
  const rest = { source: undefined, generation: undefined, ticksLost: 0, saidAgain: 0 };
  const shifts = new Shifts();
  shifts.add({ kind: "first_tick", epoch: 1, pauseMs: undefined });
  shifts.add({ kind: "first_tick", epoch: 2, pauseMs: 30 });
  shifts.add({ kind: "event", event: { kind: "migrated", trace: { ...trace, ...rest, epoch: 2 } } });
  shifts.add({ kind: "event", event: { kind: "migrated", trace: { ...trace, ...rest, epoch: 3 } } });
  shifts.add({ kind: "first_tick", epoch: 3, pauseMs: 40 });
  assert.deepEqual(shifts.shifts.map(({ epoch, pauseMs, trace }) => [epoch, pauseMs, trace?.resumedMs]), [[3, 40, 3], [2, 30, 3]]);
});
