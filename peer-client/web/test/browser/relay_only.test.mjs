// Games by way of a TURN server: where nobody may learn another's address, and where a browser has no UDP.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { candidatesIn, expectNoAddress, toldOnWires } from "./capture.mjs";
import { Wire } from "./processes.mjs";
import { House, SERVERS, Table, expectWhole } from "./table.mjs";

/** A test with a table of its own. */
function game(house, name, short, play) {
  test(name, async () => {
    const table = new Table(house(), short);
    try {
      await play(table);
    } finally {
      await table.clear();
    }
  });
}

/** The ways by which a tab and the others of its game reach each other. */
const ways = (status) => status.links.filter(({ isOpen, inGame }) => isOpen && inGame).map(({ path }) => path);

/** Of a tab: it plays with so many, by the TURN server alone. */
const isRelayed = (status, count) => ways(status).length === count && ways(status).every((way) => way === "relayed");

/** Of a tab that is a guest: what it banks has its effect, in this epoch. */
const plays = (status, epoch, tick = 0) => status.role === "guest" && status.epoch === epoch && status.tick > tick && isRelayed(status, 1);

/** There were signals with candidates in all of these, and no address of a player. */
function expectSecret(...captures) {
  for (const told of captures) {
    for (const way of ["sent", "received"]) {
      const signals = told.filter((one) => one.way === way && one.text.includes('"signal"'));
      assert.ok(candidatesIn(signals).length > 0, `no candidate was ${way}`);
    }
    expectNoAddress(told, [SERVERS]);
  }
}

describe("in a game in which nobody learns another's address", () => {
  let house;
  before(async () => {
    house = await House.open({ turn: "udp" });
  });
  after(async () => {
    await house?.close();
  });

  game(() => house, "a native host is killed, and all that was signalled holds no address of a player", "secret-native", async (table) => {
    const wire = await Wire.to(house.service.address, SERVERS);
    try {
      const native = table.nativeAt(wire.address, "Ada", undefined, "--relay-only");
      const { join_code: code } = await native.joined();
      const tabs = [await table.tab("Grace", code, { captures: true }), await table.tab("Linus", code, { captures: true })];
      const guests = await Promise.all(tabs.map((tab) => tab.wait("the game", (status) => plays(status, 1) && Number(status.receipts) > 5)));
      await native.status("turned links", ({ links }) => links.filter(({ in_game, path }) => in_game && path === "web_rtc_turned").length === 2);
      await native.wait("a warm successor", (trace) => trace.kind === "event" && trace.name === "migratability" && trace.is_warm === true);
      await table.picture(tabs[0], "1-before");
      await native.kill();
      const isNext = (status) => status.role === "host" && status.tick > guests[0].tick + 30 && isRelayed(status, 1);
      const after = await Promise.all(tabs.map((tab) => tab.wait("the next game", (status) => isNext(status) || plays(status, 2, guests[0].tick + 30))));
      assert.deepEqual(after.map(({ role }) => role).sort(), ["guest", "host"]);
      await table.picture(tabs[0], "2-after");
      expectSecret(toldOnWires(wire), ...(await Promise.all(tabs.map((tab) => tab.capture.all()))));
      expectWhole(native, ...guests, ...after);
    } finally {
      wire.close();
    }
  });

  game(() => house, "a tab hosts a native guest and a tab, is closed, and leaves no address of a player behind", "secret-tab", async (table) => {
    const wire = await Wire.to(house.service.address, SERVERS);
    try {
      const first = await table.tab("Ada", undefined, { captures: true, relayOnly: true });
      const { join_code: code } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
      const native = table.nativeAt(wire.address, "Grace", code);
      const { connection } = await native.joined();
      const second = await table.tab("Linus", code, { captures: true });
      const guest = await second.wait("the game", (status) => plays(status, 1) && Number(status.receipts) > 5);
      await native.status("the game", ({ role, path, receipts }) => role === "guest" && path === "web_rtc_turned" && receipts > 5);
      const hosting = await first.wait("its guests, and a warm successor", (status) => isRelayed(status, 2) && status.successor === connection && status.warm !== null);
      await table.picture(first, "1-before");
      const ofFirst = await first.capture.all();
      await first.close();
      const host = await native.status("that it hosts", (status) => status.role === "host" && status.tick > guest.tick + 30);
      const again = await second.wait("its game", (status) => plays(status, 2, host.tick));
      await table.picture(second, "2-after");
      expectSecret(toldOnWires(wire), ofFirst, await second.capture.all());
      expectWhole(native, hosting, guest, again);
    } finally {
      wire.close();
    }
  });
});

describe("where a browser has no UDP", () => {
  let house;
  before(async () => {
    house = await House.open({ turn: "tcp", flags: ["--webrtc-ip-handling-policy=disable_non_proxied_udp"] });
  });
  after(async () => {
    await house?.close();
  });

  game(() => house, "two tabs play by a TURN server over TCP, and one goes on when the other is closed", "tcp", async (table) => {
    const first = await table.tab("Ada");
    const { join_code: code } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
    const second = await table.tab("Grace", code);
    const guest = await second.wait("the game", (status) => plays(status, 1) && Number(status.receipts) > 5);
    const hosting = await first.wait("its guest, which is warm", (status) => isRelayed(status, 1) && status.successor === guest.me && status.warm !== null);
    await table.picture(second, "1-before");
    await first.close();
    const host = await second.wait("that it hosts", (status) => status.role === "host" && status.tick > guest.tick + 30);
    expectWhole(undefined, hosting, guest, host);
  });
});
