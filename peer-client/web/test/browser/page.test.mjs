// The page as people use it: with a keyboard, with fingers, by a link, and when something is wrong.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { House, Table } from "./table.mjs";

let house;
before(async () => {
  house = await House.open();
});
after(async () => {
  await house?.close();
});

/** A test with a table of its own. */
function play(name, short, use) {
  test(name, async () => {
    const table = new Table(house, short);
    try {
      await use(table);
    } finally {
      await table.clear();
    }
  });
}

const figure = (status) => status.players.find(({ connection }) => connection === status.me);

play("whoever has keys names a player, hosts, walks and leaves, without a pointer", "keyboard", async (table) => {
  const tab = await table.start("Ada", { viewport: { width: 1280, height: 800 } });
  const { page } = tab;
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "name");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("Ada");
  await table.snap(page, "1-start");
  await page.focus("#host");
  await page.keyboard.press("Enter");
  const { join_code: code } = await tab.wait("that it hosts", (status) => status.role === "host" && status.tick > 5);
  assert.equal(new URL(page.url()).hash, `#${code}`);
  for (const [key, looks] of [["ArrowLeft", "Left"], ["s", "Down"], ["d", "Right"], ["ArrowUp", "Up"]]) {
    await page.keyboard.down(key);
    await tab.wait(`that it walks ${looks}`, (status) => figure(status).looks === looks);
    await page.keyboard.up(key);
  }
  const stands = await tab.status();
  const later = await tab.wait("some ticks", (status) => status.tick > stands.tick + 10);
  assert.equal(figure(later).looks, "Up", "it stands still, and looks where it looked");
  await table.snap(page, "2-game");
  await page.focus("#leave");
  await page.keyboard.press("Enter");
  await tab.until("the start screen", () => !document.querySelector("#start").hidden);
  assert.equal(new URL(page.url()).hash, "");
  assert.match(await page.textContent("#problem"), /You have left/);
});

play("whoever has fingers joins by a link, and walks and shoots by the pad", "touch", async (table) => {
  const host = await table.tab("Ada");
  const { join_code: code } = await host.wait("that it hosts", (status) => status.role === "host");
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
  const tab = await table.start("Grace", phone, `#${code}`);
  await tab.wait("the game", (status) => status.role === "guest" && status.players.length === 2);
  for (const looks of ["Left", "Down", "Right", "Up"]) {
    await tab.page.tap(`[data-walk="${looks}"]`);
    await tab.wait(`that it walks ${looks}`, (status) => figure(status).looks === looks);
  }
  const box = await tab.page.locator("#canvas").boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
  const wide = await tab.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} pixels wide`);
  await tab.page.tap("[data-shoot]");
  await table.snap(tab.page, "1-phone");
});

play("a code of no game is a sentence, and the start screen stays", "wrong-code", async (table) => {
  const tab = await table.start("Ada", { viewport: { width: 1280, height: 800 } }, "#ZZZZZ-ZZZZZ");
  await tab.until("a sentence", () => document.querySelector("#problem").textContent === "There is no game with this code.");
  assert.equal(await tab.page.isVisible("#start"), true);
  assert.equal(await tab.status(), undefined);
  await table.snap(tab.page, "1-start");
});

play("nothing of the page breaks its own policy, and nothing is loaded from elsewhere", "policy", async (table) => {
  const tab = await table.tab("Ada");
  const elsewhere = [];
  tab.page.on("request", (request) => elsewhere.push(request.url()));
  await tab.page.reload();
  await tab.wait("that it hosts", (status) => status.tick > 30);
  const origin = new URL(tab.page.url()).origin;
  assert.deepEqual(elsewhere.filter((url) => !url.startsWith(origin) && !url.startsWith("blob:")), []);
  assert.deepEqual(tab.console.filter((line) => /policy|thrown|error/i.test(line)), []);
});
