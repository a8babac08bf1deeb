// A table to play at: one service, one browser, and the players of one test, who are gone when it ends.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as nextLook } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { TabCapture } from "./capture.mjs";
import { Native, PATIENCE_MS, startChromium, startService, startTurn } from "./processes.mjs";

const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../../../..");
/** Cargo's output folder for programs; `cargo xtask test` names it. */
const binaries = process.env.UNDERSTUDY_BINARIES ?? join(repository, "target/debug");
/** Where screenshots are kept. */
const artefacts = process.env.UNDERSTUDY_ARTEFACTS ?? join(repository, "target/browser");
/** Debian's. */
const CHROMIUM = "/usr/bin/chromium";
/** How often a page is asked for its status. */
const LOOK_MS = 25;
/** All coins of an arena, for ever. */
export const COINS = 60;

/** Nothing of the browser's own goes anywhere; peers of this machine may meet on its loopback. */
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--allow-loopback-in-peer-connection",
  // There is a mouse: without a screen the browser finds none.
  "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
];

/** Players have the usual address of this machine, and servers this one where it is to be told apart. */
export const SERVERS = "127.0.0.2";

/** What tests share. */
export class House {
  /** With `turn`, udp or tcp, there is a TURN server that is reached so. `flags`: the browser's, beside the usual ones. */
  static async open({ turn, flags = [] } = {}) {
    for (const program of ["lobby-service", "examples/arena"]) {
      assert.ok(existsSync(join(binaries, program)), `${program} is not built: \`cargo build --workspace --bins --examples\``);
    }
    assert.ok(existsSync(CHROMIUM), "Chromium is not installed (Debian, as root: `apt-get install chromium`)");
    mkdirSync(artefacts, { recursive: true });
    const house = new House();
    try {
      await house.build(turn, flags);
      return house;
    } catch (error) {
      await house.close();
      throw error;
    }
  }

  async build(turn, flags) {
    this.folder = mkdtempSync(join(tmpdir(), "understudy-browser-"));
    if (turn !== undefined) this.turn = await startTurn(this.folder, SERVERS, turn);
    const at = turn === undefined ? "127.0.0.1" : SERVERS;
    this.service = await startService(binaries, this.folder, at, this.turn?.args ?? []);
    this.chromium = await startChromium(CHROMIUM, [...FLAGS, ...flags, `--user-data-dir=${join(this.folder, "chromium")}`]);
    // Else it would keep each tab awake, and a test could hide none.
    this.browser = await chromium.connectOverCDP(this.chromium.endpoint, { noDefaults: true });
  }

  async close() {
    await this.browser?.close();
    await this.chromium?.process.kill();
    await this.service?.process.kill();
    await this.turn?.process.kill();
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A player in a tab of its own. */
class Tab {
  constructor(name, context, page, hasWindow) {
    Object.assign(this, { name, context, page, hasWindow });
    this.console = [];
    page.on("console", (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => this.console.push(`thrown: ${error.stack ?? error}`));
  }

  async status() {
    return await this.page.evaluate(() => window.arenaStatus());
  }

  /** The first status for which `matches` holds. Of all that are looked at until then, none may have lost a coin. */
  async wait(what, matches) {
    const until = Date.now() + PATIENCE_MS;
    let status;
    try {
      for (;;) {
        status = await this.status();
        if (status !== undefined) assert.equal(status.coins, COINS, JSON.stringify(status));
        if (status !== undefined && matches(status)) return status;
        if (Date.now() > until) throw new Error("the time is over");
        await nextLook(LOOK_MS);
      }
    } catch (error) {
      throw new Error(`${this.name} did not see ${what}: ${error.message}\n${JSON.stringify(status)}\n${this.console.join("\n")}`);
    }
  }

  /** Waits until this holds in the page. By questions from here: a page with our policy cannot be given a function to ask itself. */
  async until(what, matches) {
    const until = Date.now() + PATIENCE_MS;
    while (!(await this.page.evaluate(matches))) {
      if (Date.now() > until) throw new Error(`${this.name}: ${what} is missing\n${this.console.join("\n")}`);
      await nextLook(LOOK_MS);
    }
  }

  /** Hides the tab, as another one in front of it would. */
  async hide() {
    this.cover = await this.context.newPage();
    await this.cover.bringToFront();
    await this.until("being hidden", () => document.visibilityState === "hidden");
  }

  /** Shows it again. */
  async show() {
    await this.cover.close();
    await this.page.bringToFront();
    await this.until("being visible", () => document.visibilityState === "visible");
  }

  /** Ends the process that runs the tab, as if it had run out of memory: it says nothing to anybody. */
  async crash() {
    const session = await this.context.newCDPSession(this.page);
    const crashed = this.page.waitForEvent("crash", { timeout: PATIENCE_MS });
    // Nobody is there to answer.
    session.send("Page.crash").catch(() => {});
    await crashed;
  }

  /** Whatever it is, it is there no more. */
  async gone() {
    await Promise.all([this.page.close(), this.cover?.close()]);
    if (this.hasWindow) await this.context.close();
  }

  /** Closes the tab as a person would. */
  async close() {
    await this.page.close({ runBeforeUnload: false });
  }
}

/** One game with its players. */
export class Table {
  constructor(house, name) {
    this.house = house;
    this.name = name;
    this.players = [];
    this.tabs = [];
  }

  /** A native player. Without `code` it hosts. */
  native(name, code, ...args) {
    return this.nativeAt(this.house.service.address, name, code, ...args);
  }

  /** A native player that reaches the service by this address. */
  nativeAt(address, name, code, ...args) {
    const how = code === undefined ? ["--host", "--election-delay-ms", "0"] : ["--join", code];
    const identity = ["--identity", join(this.house.folder, `${this.name}-${name}.identity`)];
    const player = new Native(binaries, name, address, [...how, ...identity, ...args]);
    this.players.push(player);
    return player;
  }

  /**
   * A player in a browser, a bot. Without `code` it hosts, with `relayOnly` a game in which nobody learns another's address. With `hides` its
   * tab can be hidden; else it has a window of its own. With `captures` what it says to the lobby and hears from it is kept.
   */
  async tab(name, code, { address = this.house.service.address, hides = false, captures = false, relayOnly = false } = {}) {
    const { browser } = this.house;
    const context = hides ? browser.contexts()[0] : await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const tab = new Tab(name, context, await context.newPage(), !hides);
    this.tabs.push(tab);
    if (captures) tab.capture = await TabCapture.of(context, tab.page);
    const how = code === undefined ? `&host${relayOnly ? "&relay-only" : ""}` : `#${encodeURIComponent(code)}`;
    await tab.page.goto(`http://${address}/arena/?bot&name=${name}${how}`);
    await tab.wait("its seat", (status) => status.me !== undefined);
    return tab;
  }

  /** A tab at the start screen, or where `hash` leads: nobody plays but the test. */
  async start(name, options, hash = "") {
    const context = await this.house.browser.newContext(options);
    const tab = new Tab(name, context, await context.newPage(), true);
    this.tabs.push(tab);
    await tab.page.goto(`http://${this.house.service.address}/arena/?name=${name}${hash}`);
    return tab;
  }

  /** Keeps what a page shows, as it is. */
  async snap(page, what) {
    await page.screenshot({ path: join(artefacts, `${this.name}-${what}.png`) });
  }

  /** Keeps what a tab shows. */
  async picture(tab, when) {
    // The panel is drawn a few times a second: what is to be seen is in the picture.
    const isShown = () => document.querySelector("#facts")?.textContent?.includes(`Epoch${window.arenaStatus().epoch}`) === true;
    await tab.until("the panel", isShown);
    await tab.page.screenshot({ path: join(artefacts, `${this.name}-${when}.png`), fullPage: true });
  }

  async clear() {
    await Promise.all(this.players.map((player) => player.kill()));
    await Promise.all(this.tabs.map((tab) => tab.gone()));
  }
}

/** Nobody has ever seen another number of coins, and of what was banked nothing was lost or came twice. */
export function expectWhole(native, ...statuses) {
  for (const status of [...(native?.statuses() ?? []), ...statuses]) {
    assert.equal(status.coins, COINS, JSON.stringify(status));
    assert.equal(Number(status.receipts_lost), 0, JSON.stringify(status));
    assert.equal(Number(status.receipts_twice), 0, JSON.stringify(status));
    const bank = status.bank ?? status;
    assert.equal(Number(bank.lost ?? 0), 0, JSON.stringify(status));
    assert.equal(Number(bank.twice ?? 0), 0, JSON.stringify(status));
  }
}
