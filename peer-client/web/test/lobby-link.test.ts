import assert from "node:assert/strict";
import { test } from "node:test";
import { ServiceError } from "../src/errors.js";
import { LobbyLink, MESSAGES_MAX, Pause, type EventsService } from "../src/lobby-link.js";
import type { ServerMessage } from "../src/protocol/message.js";
import { startTimers } from "../src/timers.js";
import { SocketServer } from "./support/socket-server.js";

const HELLO = { type: "hello", peer_key: "ab", form: "events" };
const CLOSE = { kind: "close", attempt: 7 } as const;

interface Table {
  readonly server: SocketServer;
  readonly link: LobbyLink;
  readonly heard: ServerMessage[];
  readonly reachable: boolean[];
}

/** An event socket whose service is here. */
async function withLink(run: (table: Table) => Promise<void>, service: Partial<EventsService> = {}): Promise<void> {
  const server = await SocketServer.start();
  const [heard, reachable, timers]: [ServerMessage[], boolean[], ReturnType<typeof startTimers>] = [[], [], startTimers()];
  const link = new LobbyLink({
    service: {
      events: () => Promise.resolve(`ws://${server.address}/events?ticket=1`),
      hasSeat: () => Promise.resolve(true),
      ...service,
    },
    lobby: "l",
    me: 1,
    peerKey: "ab",
    after: 5,
    timers,
    heard: (message) => heard.push(message),
    reachable: (isOpen) => reachable.push(isOpen),
  });
  try {
    await run({ server, link, heard, reachable });
  } finally {
    link.close();
    timers.close();
    await server.stop();
  }
}

function event(seq: number): ServerMessage {
  return { type: "event", kind: "hidden", seq, at: 0, epoch: 1 };
}

async function sockets(server: SocketServer, count: number): Promise<void> {
  await server.until(() => server.sockets.length === count && (server.sockets.at(-1)?.heard.length ?? 0) > 0);
}

test("a lost socket is opened again and goes on after the last event, with the newest report", async () => {
  await withLink(async ({ server, link, heard, reachable }) => {
    void link.run();
    await sockets(server, 1);
    const [first] = server.sockets;
    assert.deepEqual(first?.heard, [{ ...HELLO, after: 5 }]);
    link.say({ type: "report", epoch: 1, hears_host: true });
    link.say({ type: "report", epoch: 1, hears_host: false });
    await server.until(() => first?.heard.length === 3);
    first?.say(event(6));
    first?.say({ type: "challenge", epoch: 1 });
    while (heard.length < 2) await new Promise((resolve) => setImmediate(resolve));
    first?.drop();
    await server.until(() => server.sockets[1]?.heard.length === 2);
    assert.deepEqual(server.sockets[1]?.heard, [{ ...HELLO, after: 6 }, { type: "report", epoch: 1, hears_host: false }]);
    assert.deepEqual(heard.map(({ type }) => type), ["event", "challenge"]);
    assert.deepEqual(reachable, [true, false, true]);
  });
});

test("what the socket cannot say yet waits, bounded, and is said in order", async () => {
  await withLink(async ({ server, link }) => {
    for (let guest = 0; guest < MESSAGES_MAX + 10; guest += 1) link.say({ type: "hears", epoch: 1, guests: [guest] });
    void link.run();
    await server.until(() => server.sockets[0]?.heard.length === 1 + MESSAGES_MAX);
    const said = server.sockets[0]?.heard.slice(1) as { guests: number[] }[];
    assert.deepEqual(said.map(({ guests }) => guests[0]), Array.from({ length: MESSAGES_MAX }, (_, index) => index + 10));
  });
});

test("signals are checked before anybody hears them", async () => {
  await withLink(async ({ server, link, heard }) => {
    void link.run();
    await sockets(server, 1);
    const signal = (value: unknown) => server.sockets[0]?.say({ type: "signal", from: 2, peer_key: "cd", signal: value });
    signal({ kind: "offer", attempt: 1, ufrag: "a\r\nb", pwd: "x".repeat(24), candidates: [] });
    signal({ ...CLOSE, extra: "not known" });
    server.sockets[0]?.say({ type: "something of a later version" });
    server.sockets[0]?.say(event(6));
    while (heard.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard[0], { type: "signal", from: 2, peer_key: "cd", signal: CLOSE });
    assert.equal(heard.length, 2);
  });
});

test("a seat that is gone is told once, and the socket is not opened again", async () => {
  await withLink(async ({ server, link, heard, reachable }) => {
    const run = link.run();
    await sockets(server, 1);
    server.sockets[0]?.say({ type: "closing", reason: "kicked" });
    await run;
    assert.deepEqual(heard, [{ type: "closing", reason: "kicked" }]);
    assert.deepEqual([server.sockets.length, reachable], [1, [true]]);
  });
});

test("who is refused because it has no seat is told so; a refusal that is not the service's is tried again", async () => {
  const refused = () => Promise.reject(new ServiceError("not_found", 404, "no such lobby"));
  await withLink(
    async ({ link, heard }) => {
      await link.run();
      assert.deepEqual(heard, [{ type: "closing", reason: "not_member" }]);
    },
    { events: refused, hasSeat: () => Promise.resolve(false) },
  );
  let asked = 0;
  await withLink(
    async ({ link, heard }) => {
      const run = link.run();
      while (asked < 3) await new Promise((resolve) => setImmediate(resolve));
      link.close();
      await run;
      assert.deepEqual(heard, []);
    },
    { events: refused, hasSeat: () => ((asked += 1), Promise.reject(new ServiceError("", 502, ""))) },
  );
});

test("a page that is suspended has no socket until it is back", async () => {
  await withLink(async ({ server, link, reachable }) => {
    void link.run();
    await sockets(server, 1);
    link.suspend();
    while (reachable.length < 4) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(server.sockets.length, 1);
    link.resume();
    await sockets(server, 2);
  });
});

test("a socket that may be dead gives way to another one, which goes on after the last event, and nobody is told", async () => {
  await withLink(async ({ server, link, heard, reachable }) => {
    void link.run();
    await sockets(server, 1);
    server.sockets[0]?.say(event(6));
    while (heard.length < 1) await new Promise((resolve) => setImmediate(resolve));
    link.renew();
    await sockets(server, 2);
    assert.deepEqual(server.sockets[1]?.heard, [{ ...HELLO, after: 6 }]);
    // As the service does once it has heard of the new one.
    server.sockets[0]?.say({ type: "closing", reason: "replaced" });
    server.sockets[0]?.drop();
    server.sockets[1]?.say(event(7));
    while (heard.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard.map(({ type }) => type), ["event", "event"]);
    assert.ok(reachable.every((isOpen) => isOpen));
    link.say({ type: "hears", epoch: 1, guests: [] });
    await server.until(() => server.sockets[1]?.heard.length === 2);
  });
});

test("pauses grow until the service has served this peer", () => {
  const pause = new Pause();
  const pauses = Array.from({ length: 8 }, () => pause.next(0.5));
  assert.deepEqual(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
  pause.served();
  assert.equal(pause.next(0.5), 50);
});

test("a service that asks for time gets it once, and no more than is sensible", () => {
  const pause = new Pause();
  pause.asked(1000);
  assert.equal(pause.next(0), 1000);
  assert.ok(pause.next(0) < 1000);
  pause.asked(1000);
  assert.equal(pause.next(1), 1500);
  pause.asked(Number.MAX_SAFE_INTEGER);
  assert.equal(pause.next(0), 60_000);
});
