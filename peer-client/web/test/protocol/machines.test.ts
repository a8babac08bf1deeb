import assert from "node:assert/strict";
import { test } from "node:test";

import { Detector } from "../../src/protocol/detector.js";
import { GuestStreams } from "../../src/protocol/guest-streams.js";
import { type Action, HandOver } from "../../src/protocol/hand-over.js";
import { HostStreams, type Settled } from "../../src/protocol/host-streams.js";
import { Journal, type Ledger } from "../../src/protocol/journal.js";
import { JOURNAL_BYTES_MAX, JOURNAL_MESSAGES_MAX, OBJECT_TABLE_BYTES_MAX } from "../../src/protocol/limits.js";
import { Migration } from "../../src/protocol/migration.js";
import type { Effect } from "../../src/protocol/migration-types.js";
import { ObjectTable } from "../../src/protocol/objects.js";
import { Feed, type Job, type State } from "../../src/protocol/standby.js";
import { Takeover } from "../../src/protocol/takeover.js";
import { type Case, casesOf, plain, unhex } from "./vectors.js";

/** Replays the transcripts of a file: what a machine does at each step is what the Rust one did. */
function replay(name: string, begin: (first: Case) => (step: Case) => unknown): void {
  for (const { steps, ...first } of casesOf(name)) {
    const does = begin(first);
    for (const [at, step] of (steps as readonly Case[]).entries()) {
      const { do: done, ...expected } = step;
      const told = `${name}, seed ${first["seed"]}, step ${at}: ${JSON.stringify(done)}`;
      assert.deepEqual(plain({ ...expected, ...(does(step) as object) }), plain(expected), told);
    }
  }
}

function all<T>(poll: () => T | undefined): T[] {
  const found: T[] = [];
  for (let next = poll(); next !== undefined; next = poll()) found.push(next);
  return found;
}

test("a detector tolerates what the Rust one does, to the nanosecond", () => {
  replay("detector", () => {
    const detector = new Detector();
    return ({ what, now, asked }) => {
      if (what === "paused") detector.paused(now);
      else if (what !== "nothing") detector.heard(now);
      return { threshold: detector.threshold(), silentAt: detector.silentAt(), isSilent: detector.isSilent(asked) };
    };
  });
});

test("a hand-over takes the steps of the Rust one", () => {
  replay("hand-over", () => {
    const handOver = new HandOver();
    const does = (what: Case, now: number): unknown => {
      switch (what["kind"]) {
        case "begin":
          return handOver.begin(what["to"], what["wish"], what["acknowledged"] ?? undefined, now);
        case "taken":
          return handOver.handleTaken(what["from"], what["generation"], now);
        case "frozen":
          return handOver.handleFrozen(what["generation"]);
        case "not_frozen":
          return handOver.handleNotFrozen();
        case "committed":
          return handOver.handleCommit(what["answer"], now);
        case "replaced":
          return handOver.handleReplaced();
        case "link_down":
          return handOver.handleLinkDown(what["peer"]);
        case "cancel":
          return handOver.cancel();
        case "timeout":
          return handOver.handleTimeout(now);
        default:
          return assert.fail(JSON.stringify(what));
      }
    };
    return ({ do: what, now }) => ({
      gives: does(what, now),
      actions: all<Action>(() => handOver.pollAction()),
      under: handOver.underWay(),
      freezing: handOver.isFreezing(),
      timeout: handOver.pollTimeout(),
    });
  });
});

test("a search for the newest state asks whom the Rust one asks", () => {
  replay("takeover", ({ epoch, own, warm, members, now: begin }) => {
    const takeover = new Takeover(epoch, own ?? undefined, warm, members, begin);
    const does = (what: Case): void => {
      switch (what["kind"]) {
        case "hello":
          return takeover.handleHello(what["member"], what["holds"] ?? undefined);
        case "gone":
          return takeover.handleGone(what["member"]);
        case "state":
          return takeover.handleState(what["member"], what["generation"]);
        case "lobby":
          return takeover.handleLobby(what["newer"] ?? undefined);
        case "lobby_failed":
          return takeover.handleLobbyFailed();
        case "nothing":
          return;
        default:
          assert.fail(JSON.stringify(what));
      }
    };
    return ({ do: what, now }) => {
      does(what);
      return { timeout: takeover.pollTimeout(), step: takeover.poll(now) };
    };
  });
});

test("a feed sends what the Rust one sends, when it sends it", () => {
  replay("feed", ({ bytesPerSecond }) => {
    const feed = new Feed<State>(bytesPerSecond);
    let open: Job<State> | undefined;
    const sent = (bytes: number | null, now: number): void => {
      const job = open;
      open = undefined;
      feed.handleSent(job ?? assert.fail("there is a job"), bytes ?? undefined, now);
    };
    const does = (what: Case, now: number): void => {
      switch (what["kind"]) {
        case "successor":
          return feed.setSuccessor(what["to"] ?? undefined);
        case "link_down":
          return feed.handleLinkDown(what["peer"]);
        case "offer":
          return feed.offer({ generation: what["generation"], tick: what["tick"] }, now);
        case "sent":
          return sent(what["bytes"], now);
        case "taken":
          return feed.handleTaken(what["from"], what["generation"]);
        case "wanted":
          return feed.handleWanted(what["from"]);
        case "hold_off":
          return feed.holdOff(what["until"]);
        case "nothing":
          return;
        default:
          assert.fail(JSON.stringify(what));
      }
    };
    return ({ do: what, now }) => {
      does(what, now);
      const timeout = feed.pollTimeout();
      const job = feed.pollJob(now);
      open = job ?? open;
      const told = job && { to: job.to, base: job.base?.generation, state: job.state.generation };
      return {
        // Before the first moment there is nothing that the other side could tell.
        timeout: timeout === undefined ? undefined : Math.max(0, timeout),
        job: told,
        lag: feed.lag(now),
        successor: feed.successor,
        acknowledged: [1, 2, 3].map((peer) => feed.acknowledged(peer)),
        sentBytes: feed.sentBytes,
      };
    };
  });
});

/** Some guests, whoever hosts, and the states that hosts have given. */
class Streams {
  readonly guests: GuestStreams[];
  host = new HostStreams(1);
  epoch = 1;
  readonly states: Ledger[] = [[]];
  settled: readonly Settled[] = [];

  constructor(guests: number) {
    const last = 2n ** 64n - 1n;
    this.guests = Array.from({ length: guests }, (_, guest) => new GuestStreams(last - BigInt(guest)));
  }

  does(seat: number, what: Case): unknown {
    const guest = this.guests[seat] ?? assert.fail("there is a guest");
    switch (what["kind"]) {
      case "guest_says":
        return guest.say(unhex(what["payload"]));
      case "host_says":
        return this.host.say(seat, what["class"], unhex(what["payload"]));
      case "guest_hears":
        return guest.receive(what["class"], what["number"]);
      case "host_hears":
        return this.host.receive(seat, what["number"]);
      case "applied":
        return this.host.applied(seat, BigInt(what["stream"]), what["number"]);
      case "hello": {
        const { position, inputsLost } = this.host.handleHello(seat, guest.offer());
        return { position, inputsLost, resumed: guest.handleWelcome(position) };
      }
      case "heard":
        return this.host.heard(seat, what["received"], what["receivedStable"]);
      case "gives_state":
        return void this.states.push(this.host.ledger());
      case "durable":
        return this.isDurable(seat, guest, this.states[what["state"]] ?? []);
      case "settled_by_now":
        return this.host.settledByNow();
      case "migrates":
        this.epoch = what["epoch"];
        this.host = HostStreams.restore(this.states[what["state"]] ?? [], this.epoch);
        return undefined;
      case "takes_own":
        return this.host.takeOwn(seat, guest);
      case "restarts":
        this.guests[seat] = new GuestStreams(BigInt(what["stream"]));
        return undefined;
      case "forget":
        return this.host.forget(seat);
      case "give_up":
        return this.host.giveUp(seat);
      default:
        return assert.fail(JSON.stringify(what));
    }
  }

  isDurable(seat: number, guest: GuestStreams, state: Ledger): unknown {
    const settled = this.host.handleDurable(state);
    const released = settled.map((one) => this.host.released(one));
    const mine = settled.find(({ connection }) => connection === seat);
    if (mine !== undefined) guest.handleDurable(mine.applied);
    return { settled, released };
  }
}

test("streams of guests and hosts number, keep, cut and say again what the Rust ones do", () => {
  replay("journal", ({ guests }) => {
    const streams = new Streams(guests);
    return ({ do: what, guest: seat }) => {
      const gives = streams.does(seat, what);
      const guest = streams.guests[seat] ?? assert.fail("there is a guest");
      const { received, receivedStable } = guest.receivedOf(streams.epoch);
      return {
        gives,
        offer: guest.offer(),
        newest: guest.journal.newest,
        heard: [received, receivedStable],
        entry: streams.host.ledger().find(({ connection }) => connection === seat),
        toSay: streams.host.toSay(seat),
        knows: streams.host.knows(seat),
        stream: streams.host.stream(seat),
      };
    };
  });
});

test("a peer takes the part in its lobby that the Rust one takes, effect by effect", () => {
  replay("migration", ({ me, lobby, created, now: begin }) => {
    const peer = new Migration(me, lobby, created, begin);
    return ({ do: what, now }) => ({
      gives: migrates(peer, what, now),
      effects: all<Effect>(() => peer.pollEffect()),
      role: peer.role,
      epoch: peer.epoch,
      guests: peer.guestsInGame(),
      seq: peer.lobby.seq,
      timeout: peer.pollTimeout(),
    });
  });
});

function migrates(peer: Migration, what: Case, now: number): unknown {
  switch (what["kind"]) {
    case "nothing":
      return undefined;
    case "event":
      return peer.handleEvent(what["event"], now);
    case "resync":
      return peer.handleResync(what["lobby"], now);
    case "removed":
      return peer.handleRemoved();
    case "relay_hint":
      return peer.handleRelayHint(what["epoch"]);
    case "challenge":
      return peer.handleChallenge(what["epoch"], now);
    case "admit":
      return peer.admit(what["from"], what["epoch"], now);
    case "standby_up":
      return peer.handleStandbyUp(what["successor"]);
    case "paused":
      return peer.handlePaused(now);
    case "takes_standby":
      return peer.takesStandby(what["from"]);
    case "link_down":
      return peer.handleLinkDown(what["peer"], now);
    case "welcome":
      return peer.handleWelcome(what["from"], now);
    case "goodbye":
      return peer.handleGoodbye(what["from"], now);
    case "hello":
      return peer.handleHello(what["from"], what["epoch"], now);
    case "admitted":
      return peer.handleAdmitted(what["guest"]);
    case "has_played":
      return peer.hasPlayed(what["connection"]);
    case "fetched":
      return peer.handleFetched(what["epoch"], what["seats"]);
    case "fetch_failed":
      return peer.handleFetchFailed(what["epoch"], now);
    case "restored":
      return peer.handleRestored(what["epoch"]);
    case "ready":
      return peer.handleReady(what["epoch"], what["answer"], now);
    case "timeout":
      return peer.handleTimeout(now);
    default:
      return assert.fail(JSON.stringify(what));
  }
}

test("a journal is full at its limits, and has room again once it is cut", () => {
  const journal = new Journal();
  for (let number = 1; number <= JOURNAL_MESSAGES_MAX; number += 1) assert.equal(journal.push(new Uint8Array(1)), number);
  assert.equal(journal.push(new Uint8Array(1)), undefined);
  journal.cut(5000);
  assert.deepEqual([journal.length, journal.oldest, journal.newest], [JOURNAL_MESSAGES_MAX - 5000, 5001, JOURNAL_MESSAGES_MAX]);
  assert.equal(journal.push(new Uint8Array(1)), JOURNAL_MESSAGES_MAX + 1);
  assert.deepEqual(journal.after(JOURNAL_MESSAGES_MAX).map(([number]) => number), [JOURNAL_MESSAGES_MAX + 1]);
  const large = new Journal();
  assert.equal(large.push(new Uint8Array(JOURNAL_BYTES_MAX)), 1);
  assert.equal(large.hasRoomFor(1), false);
});

test("objects are disabled until their owner is back and only theirs, and go to the host when its seat is given up", () => {
  const table = new ObjectTable();
  const owners: readonly (number | undefined)[] = [0, 1, 1, undefined];
  for (const [index, owner] of owners.entries()) assert.ok(table.place(4 - index, owner, new Uint8Array(0)).ok);
  const enabled = (): number[] => table.entries().flatMap(([id, object]) => (object.enabled ? [id] : []));
  table.disableAllBut(0);
  assert.deepEqual(enabled(), [1, 4]);
  const guest = table.clone();
  const { changed, change } = table.enable(1, true);
  assert.deepEqual(changed, [2, 3]);
  guest.apply(change ?? assert.fail("there is a change"));
  assert.deepEqual(guest.entries(), table.entries());
  assert.deepEqual(table.enable(1, true), { changed: [], change: undefined });
  assert.deepEqual([table.orphan(1), table.ownedBy(1)], [[2, 3], []]);
});

test("the table of objects stays small enough for one message", () => {
  const table = new ObjectTable();
  const half = new Uint8Array(OBJECT_TABLE_BYTES_MAX / 2);
  assert.ok(table.place(1, undefined, half).ok);
  assert.deepEqual(table.place(2, undefined, half), { ok: false, error: "too_large" });
  assert.ok(table.place(1, undefined, new Uint8Array(0)).ok);
  assert.ok(table.place(2, undefined, half).ok);
  assert.deepEqual(table.remove(2), { kind: "removed", id: 2 });
  assert.ok(table.place(3, undefined, half).ok);
});
