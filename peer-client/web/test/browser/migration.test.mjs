// Games of browsers and native processes whose host is lost: they go on, with every coin, and everybody in their seats.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Wire } from "./processes.mjs";
import { House, Table, expectWhole } from "./table.mjs";

let house;
before(async () => {
  house = await House.open();
});
after(async () => {
  await house?.close();
});

/** A test with a table of its own. */
function game(name, short, play) {
  test(name, async () => {
    const table = new Table(house, short);
    try {
      await play(table);
    } finally {
      await table.clear();
    }
  });
}

/** Everybody's connection ids and whether they are in the game. */
const seats = (status) => status.players.map(({ connection, enabled }) => `${connection}${enabled ? "" : " away"}`).join(", ");

game("the tab that hosts is closed, and another tab goes on", "tabs", async (table) => {
  const first = await table.tab("Ada");
  const { join_code: code } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
  const second = await table.tab("Grace", code);
  const guest = await second.wait("the game", (status) => status.role === "guest" && Number(status.receipts) > 5 && status.players.length === 2);
  await first.wait("a warm successor", (status) => status.successor === guest.me && status.warm !== null);
  await table.picture(second, "1-before");
  await first.close();
  const host = await second.wait("that it hosts", (status) => status.role === "host" && status.tick > guest.tick + 30);
  await table.picture(second, "2-after");
  assert.deepEqual([host.me, host.epoch, host.host], [guest.me, 2, guest.me]);
  assert.equal(seats(host), "0 away, 1");
  expectWhole(undefined, guest, host);
});

game("a hidden host hands over, and is a guest when it is seen again", "hidden", async (table) => {
  const first = await table.tab("Ada", undefined, { hides: true });
  const { join_code: code, me } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
  const second = await table.tab("Grace", code);
  const guest = await second.wait("the game", (status) => status.role === "guest" && Number(status.receipts) > 5);
  await first.wait("a warm successor", (status) => status.successor === guest.me && status.warm !== null);
  await table.picture(first, "1-before");
  await first.hide();
  const host = await second.wait("that it hosts", (status) => status.role === "host" && status.epoch === 2);
  const handed = await first.wait("that it is a guest", (status) => status.role === "guest" && status.epoch === 2 && status.migrations.length > 0);
  assert.equal(handed.me, me);
  assert.ok(host.migrations[0].trace.planned, JSON.stringify(host.migrations));
  assert.equal(host.migrations[0].trace.ticksLost, 0, JSON.stringify(host.migrations));
  await first.show();
  const both = await second.wait("everybody in their places", (status) => status.players.length === 2 && status.players.every(({ enabled }) => enabled));
  await table.picture(second, "2-after");
  expectWhole(undefined, guest, host, handed, both);
});

game("a tab that is cut off from the lobby plays on, and misses no event", "events", async (table) => {
  const wire = await Wire.to(house.service.address);
  try {
    const first = await table.tab("Ada");
    const { join_code: code } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
    const second = await table.tab("Grace", code, { address: wire.address });
    const before = await second.wait("the game", (status) => status.role === "guest" && status.tick > 0);
    wire.cut();
    const cut = await second.wait("that the lobby is out of reach", (status) => !status.lobby_reachable);
    const third = await table.tab("Linus", code);
    const seen = await second.wait("the third player, by its host", (status) => status.tick > cut.tick + 30 && status.players.length === 3);
    assert.deepEqual([seen.role, seen.epoch, seen.lobby_reachable], ["guest", before.epoch, false]);
    assert.equal(seen.members.length, 2, "only the lobby tells of members");
    wire.mend();
    const again = await second.wait("the lobby again, and what happened", (status) => status.lobby_reachable && status.members.length === 3);
    assert.deepEqual([again.me, again.role, again.epoch], [before.me, "guest", before.epoch]);
    expectWhole(undefined, before, seen, again, await third.status());
  } finally {
    wire.close();
  }
});

game("a native host is killed, and a tab goes on; the old host comes back as its guest", "native-host", async (table) => {
  const native = table.native("Ada");
  const { join_code: code, connection } = await native.joined();
  const tab = await table.tab("Grace", code);
  const guest = await tab.wait("the game", (status) => status.role === "guest" && Number(status.receipts) > 5);
  await native.status("a warm successor and a durable state", (status) => status.players.length === 2);
  await native.wait("that the tab is warm", (trace) => trace.kind === "event" && trace.name === "migratability" && trace.is_warm === true);
  await table.picture(tab, "1-before");
  await native.kill();
  const host = await tab.wait("that it hosts", (status) => status.role === "host" && status.tick > guest.tick + 30);
  assert.deepEqual([host.me, host.epoch], [guest.me, 2]);
  await table.picture(tab, "2-after");
  const back = table.native("Ada", code);
  assert.equal((await back.joined()).connection, connection);
  await back.status("the tab's game", (status) => status.role === "guest" && status.epoch === 2 && Number(status.receipts) > 3);
  const both = await tab.wait("everybody in their places", (status) => status.players.length === 2 && status.players.every(({ enabled }) => enabled));
  await table.picture(tab, "3-back");
  expectWhole(native, guest, host, both);
  expectWhole(back);
});

game("the tab that hosts a native guest is closed, and the native one takes over", "native-guest", async (table) => {
  const tab = await table.tab("Ada");
  const { join_code: code } = await tab.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
  const native = table.native("Grace", code);
  const { connection } = await native.joined();
  const before = await native.status("the tab's game", (status) => status.role === "guest" && Number(status.receipts) > 5);
  const hosting = await tab.wait("a warm successor", (status) => status.successor === connection && status.warm !== null);
  await table.picture(tab, "1-before");
  await tab.close();
  const host = await native.status("that it hosts", (status) => status.role === "host" && status.tick > before.tick + 30);
  assert.deepEqual([host.epoch, host.host], [2, connection]);
  assert.equal(seats(host), `0 away, ${connection}`);
  const watcher = await table.tab("Linus", code);
  await watcher.wait("the native one's game", (status) => status.role === "guest" && status.epoch === 2 && status.tick > 0);
  await table.picture(watcher, "2-after");
  expectWhole(native, hosting);
});

game("the tab that hosts crashes without a word, and its guests, a native one and a tab, go on", "crash", async (table) => {
  const first = await table.tab("Ada");
  const { join_code: code } = await first.wait("that it hosts", (status) => status.role === "host" && status.tick > 10);
  const native = table.native("Grace", code);
  const { connection } = await native.joined();
  const second = await table.tab("Linus", code);
  const guest = await second.wait("the game", (status) => status.role === "guest" && Number(status.receipts) > 5 && status.players.length === 3);
  await native.status("the tab's game", (status) => status.role === "guest" && Number(status.receipts) > 5);
  await first.wait("a warm successor", (status) => status.warm !== null && status.successor === connection);
  await table.picture(second, "1-before");
  await first.crash();
  const host = await native.status("that it hosts", (status) => status.role === "host" && status.tick > guest.tick + 30);
  const again = await second.wait("its game", (status) => status.role === "guest" && status.epoch === 2 && status.tick > host.tick && Number(status.receipts) > Number(guest.receipts) + 5);
  assert.deepEqual([again.me, again.host, seats(again)], [guest.me, connection, `0 away, ${connection}, ${guest.me}`]);
  await table.picture(second, "2-after");
  expectWhole(native, guest, again);
});

game("a native host is killed, and a tab is elected as host of native guests", "elected", async (table) => {
  const first = table.native("Ada");
  const { join_code: code } = await first.joined();
  const tab = await table.tab("Grace", code);
  const guest = await tab.wait("the game, and that it is next", (status) => status.role === "guest" && status.successor === status.me);
  const natives = [table.native("Linus", code), table.native("Barbara", code)];
  const seated = await Promise.all(natives.map((native) => native.joined()));
  await Promise.all(natives.map((native) => native.status("the game", (status) => status.role === "guest" && Number(status.receipts) > 5)));
  await tab.wait("that it is still next", (status) => status.successor === status.me && status.players.length === 4);
  await table.picture(tab, "1-before");
  const newest = Math.max(...natives.map((native) => native.statuses().at(-1).tick));
  await first.kill();
  const host = await tab.wait("that it hosts everybody", (status) => status.role === "host" && status.tick > newest + 30 && status.players.filter(({ enabled }) => enabled).length === 3);
  assert.equal(host.epoch, 2);
  for (const [index, native] of natives.entries()) {
    const status = await native.status("the tab's game", (status) => status.role === "guest" && status.epoch === 2 && status.tick > newest);
    assert.equal(status.host, guest.me);
    const me = seated[index].connection;
    assert.ok(status.players.some(({ connection, enabled }) => connection === me && enabled), JSON.stringify(status));
    await native.status("receipts of the new host", ({ receipts }) => Number(receipts) > Number(status.receipts));
    expectWhole(native);
  }
  await table.picture(tab, "2-after");
  expectWhole(first, guest, host, await tab.status());
});
