import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { ServiceError } from "../src/errors.js";
import { noIdentity, SEATS_MAX, withSeat, type Identity, type IdentityStore } from "../src/identity.js";
import { Service, type Seating } from "../src/service.js";

interface Asked {
  readonly path: string;
  readonly token: string | undefined;
  readonly body: Record<string, unknown>;
}
type Answer = readonly [status: number, body: unknown, headers?: Record<string, string>];

const SEATING: Seating = { name: "Ada", peer_key: "ab".repeat(32), build_id: "1", can_host: true, browser: true };
const SEATED: Answer = [200, { lobby: { id: "l1", join_code: "AAAAA-BBBBB", members: [] }, connection: 3, reconnect_secret: "x" }];
let tokens = 0;

function session(): Answer {
  tokens += 1;
  return [201, { player: "p1", access_token: `access-${tokens}`, expires_in_s: 900, refresh_token: `refresh-${tokens}` }];
}

/** A service whose answers are here. */
async function withService(answer: (asked: Asked) => Answer, run: (url: string, asked: Asked[]) => Promise<void>): Promise<void> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => (text += String(chunk)));
    request.on("end", () => {
      const token = request.headers.authorization?.replace("Bearer ", "");
      asked.push({ path: request.url ?? "", token, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) });
      const [status, body, headers] = answer(asked.at(-1) as Asked);
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await run(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Remembers each identity that was saved. */
class Memory implements IdentityStore {
  readonly saved: Identity[] = [];

  constructor(private stored?: Identity) {}

  load(): Identity | undefined {
    return this.stored;
  }

  save(identity: Identity): void {
    this.saved.push(identity);
    this.stored = identity;
  }
}

const isSignIn = (path: string): boolean => path === "/v1/players" || path === "/v1/players/refresh";

test("a refused token is renewed once for all that wait, and what opens the account next is saved before it is used", async () => {
  const memory = new Memory();
  const answer = ({ path, token }: Asked): Answer => {
    if (isSignIn(path)) return session();
    return token === `access-${tokens}` && tokens > first ? [200, { lobbies: [] }] : [401, { code: "unauthenticated", detail: "" }];
  };
  let first = 0;
  await withService(answer, async (url, asked) => {
    const service = await Service.signIn(url, "Ada", memory, undefined);
    first = tokens;
    await Promise.all([service.query({}), service.query({}), service.query({})]);
    assert.deepEqual(asked.filter(({ path }) => path === "/v1/players/refresh").map(({ body }) => body["refresh_token"]), [`refresh-${first}`]);
    assert.equal(memory.saved.at(-1)?.refresh_token, `refresh-${tokens}`);
  });
});

test("a stored identity signs in again, and one that is not known any more becomes a new player", async () => {
  const stored: Identity = { player: "p1", refresh_token: "old", seats: [] };
  await withService(() => session(), async (url, asked) => {
    await Service.signIn(url, "Ada", new Memory(stored), undefined);
    assert.deepEqual(asked.map(({ path }) => path), ["/v1/players/refresh"]);
  });
  const answer = ({ path }: Asked): Answer => (path === "/v1/players" ? session() : [401, { code: "refresh_reused" }]);
  await withService(answer, async (url, asked) => {
    await Service.signIn(url, "Ada", new Memory(stored), undefined);
    assert.deepEqual(asked.map(({ path }) => path), ["/v1/players/refresh", "/v1/players"]);
  });
});

test("the secret of a seat is saved before it is sent, and takes the seat again with another one that is saved before as well", async () => {
  const memory = new Memory();
  let whenAsked: Identity | undefined;
  const answer = ({ path }: Asked): Answer => {
    whenAsked = memory.saved.at(-1);
    return isSignIn(path) ? session() : SEATED;
  };
  await withService(answer, async (url, asked) => {
    const service = await Service.signIn(url, "Ada", memory, undefined);
    await service.joinCode("aaaaabbbbb", SEATING);
    const secret = asked.at(-1)?.body["reconnect_secret"];
    assert.equal(whenAsked?.asked_with, secret);
    assert.deepEqual(memory.saved.at(-1)?.seats, [{ lobby: "l1", join_code: "AAAAA-BBBBB", reconnect_secret: secret }]);
    assert.equal(memory.saved.at(-1)?.asked_with, undefined);
    await service.joinCode("AAAAA-BBBBB", SEATING);
    const { path, body } = asked.at(-1) as Asked;
    assert.deepEqual([path, body["reconnect_secret"]], ["/v1/lobbies/l1/reconnect", secret]);
    assert.equal(whenAsked?.seats[0]?.next_secret, body["next_secret"]);
    assert.equal(memory.saved.at(-1)?.seats[0]?.reconnect_secret, body["next_secret"]);
  });
});

test("a seat that was asked for by a page that died is found, by the secret that it had saved", async () => {
  const memory = new Memory({ player: "p1", refresh_token: "old", seats: [], asked_with: "hush" });
  const answer = ({ path }: Asked): Answer => {
    if (isSignIn(path)) return session();
    if (path === "/v1/lobbies/join") return [409, { code: "seat_taken", detail: "" }];
    return path === "/v1/players/me/lobbies" ? [200, { joined: ["l1"], hosted: [] }] : SEATED;
  };
  await withService(answer, async (url, asked) => {
    const service = await Service.signIn(url, "Ada", memory, undefined);
    assert.equal((await service.joinCode("AAAAABBBBB", SEATING)).connection, 3);
    assert.equal(asked.at(-1)?.body["reconnect_secret"], "hush");
  });
});

test("who comes too early comes back when it may, and who has to wait for long is told so with its code", async () => {
  let early = 2;
  const soon = ({ path }: Asked): Answer => {
    if (isSignIn(path)) return session();
    early -= 1;
    return early >= 0 ? [429, { code: "rate_limited", detail: "" }, { "retry-after": "0" }] : [200, { lobbies: [] }];
  };
  await withService(soon, async (url, asked) => {
    await (await Service.signIn(url, "Ada", noIdentity(), undefined)).query({});
    assert.equal(asked.length, 1 + 3);
  });
  const late = ({ path }: Asked): Answer =>
    isSignIn(path) ? session() : [429, { code: "rate_limited", detail: "slowly", retry_after_s: 60 }, { "retry-after": "60" }];
  await withService(late, async (url) => {
    const service = await Service.signIn(url, "Ada", noIdentity(), undefined);
    await assert.rejects(service.query({}), new ServiceError("rate_limited", 429, "slowly", 60));
  });
});

test("a service that is not there is unreachable, and an answer that is no JSON unreadable", async () => {
  const unreachable = Service.signIn("http://127.0.0.1:1", "Ada", noIdentity(), undefined);
  await assert.rejects(unreachable, (error: ServiceError) => error.code === "unreachable" && error.status === 0);
  await withService(() => [200, undefined], async (url) => {
    const unreadable = Service.signIn(url, "Ada", noIdentity(), undefined);
    await assert.rejects(unreadable, (error: ServiceError) => error.code === "unreadable");
  });
});

test("the newest seats are kept, one a lobby", () => {
  let identity: Identity = { player: "p1", refresh_token: "r", seats: [] };
  const keep = (lobby: string): void => void (identity = withSeat(identity, { lobby, join_code: "", reconnect_secret: "" }));
  for (let number = 0; number <= SEATS_MAX; number += 1) keep(`l${number}`);
  keep("l5");
  const lobbies = identity.seats.map(({ lobby }) => lobby);
  assert.deepEqual([lobbies.length, lobbies[0], lobbies.at(-1)], [SEATS_MAX, "l1", "l5"]);
});
