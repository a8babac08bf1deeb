/** The page: a start screen, and the game. */

import { Client, type Session, ServiceError, noIdentity } from "../src/index.js";
import { byId } from "./dom.js";
import { ArenaGame, type News } from "./game.js";
import { Play } from "./play.js";
import { VERSION } from "./version.js";

declare global {
  interface Window {
    /** How the game is, for tests; `undefined` while none is played. */
    arenaStatus: () => Record<string, unknown> | undefined;
  }
}

const NAME_KEY = "understudy-arena-name";
const LOBBY_NAME = "arena";

const options = new URLSearchParams(location.search);
const isBot = options.has("bot");
let play: Play | undefined;
window.arenaStatus = () => play?.status();

const start = byId("start", HTMLElement);
const form = byId("form", HTMLFormElement);
const nameField = byId("name", HTMLInputElement);
const codeField = byId("join-code", HTMLInputElement);
const relayOnly = byId("relay-only", HTMLInputElement);
const problem = byId("problem", HTMLElement);
const copy = byId("copy", HTMLButtonElement);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void enter(codeField.value.trim());
});
byId("host", HTMLButtonElement).addEventListener("click", () => void enter(undefined));
byId("hand-over", HTMLButtonElement).addEventListener("click", () => play?.handOver());
copy.addEventListener("click", () => void copyLink());
nameField.value = options.get("name") ?? remembered() ?? `Player ${1 + randomOf(99)}`;
relayOnly.checked = options.has("relay-only");
addEventListener("hashchange", joinByAddress);
joinByAddress();
if (options.has("host")) {
  void enter(undefined);
}

/** The part after `#` is a join code: whoever got the link is in the game at once. */
function joinByAddress(): void {
  const code = decodeURIComponent(location.hash.slice(1));
  if (code !== "" && play === undefined) {
    codeField.value = code;
    void enter(code);
  }
}

/** Hosts a new game, or joins the one with this code. */
async function enter(code: string | undefined): Promise<void> {
  if (code === "") {
    tellProblem("Which game? Enter its join code, or host a new one.");
    codeField.focus();
    return;
  }
  tellProblem("");
  setBusy(true);
  try {
    await begin(code);
  } catch (error) {
    tellProblem(error instanceof ServiceError ? sentenceOf(error) : String(error));
  } finally {
    setBusy(false);
  }
}

/** What the service says, for people who have typed a code. */
function sentenceOf(error: ServiceError): string {
  const sentences: Record<string, string> = {
    not_found: "There is no game with this code.",
    unreachable: "The lobby service cannot be reached.",
  };
  return sentences[error.code] ?? (error.detail || error.code);
}

async function begin(code: string | undefined): Promise<void> {
  const name = nameField.value.trim() || "Player";
  remember(name);
  // Each tab is a player of its own: two tabs can play together.
  const client = await Client.signIn({ url: location.origin, playerName: name, buildId: `arena ${VERSION}`, identity: noIdentity() });
  const early: News[] = [];
  let heed = (news: News): void => void early.push(news);
  const seed = randomBits();
  const game = new ArenaGame({ seed, process: randomBits() | 1n, now: () => performance.now(), onNews: (news) => heed(news) });
  // Links of such a game go by the operator's TURN server, or not at all.
  const settings = { relay_only: relayOnly.checked };
  const session = code === undefined ? await client.host({ name: LOBBY_NAME, settings }, game) : await client.join(code, game);
  play = new Play(session, game, isBot, over);
  const playing = play;
  heed = (news) => playing.heed(news);
  early.forEach(heed);
  show(session);
  game.sit(session);
  scrollTo(0, 0);
  play.start();
}

/** Shows the game in place of the start screen. */
function show(session: Session): void {
  start.hidden = true;
  byId("play", HTMLElement).hidden = false;
  byId("lobby", HTMLElement).hidden = false;
  byId("code", HTMLOutputElement).value = session.joinCode;
  // Not by `location.hash`, which would be a visit of its own.
  history.replaceState(null, "", `${location.search}#${session.joinCode}`);
  byId("leave", HTMLButtonElement).onclick = () => void session.leave();
}

function over(why: string): void {
  play = undefined;
  const reasons: Record<string, string> = {
    left: "You have left the game.",
    removed: "You have no seat in that game any more.",
    replaced: "Another tab of yours took the seat over.",
  };
  history.replaceState(null, "", location.search === "" ? location.pathname : location.search);
  byId("play", HTMLElement).hidden = true;
  byId("lobby", HTMLElement).hidden = true;
  start.hidden = false;
  tellProblem(reasons[why] ?? "");
  byId("host", HTMLButtonElement).focus();
}

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    copy.textContent = "Copied";
  } catch {
    // Only pages of trusted origins may; the address bar has it too.
    copy.textContent = "Copy it from the address bar";
  }
  setTimeout(() => (copy.textContent = "Copy link"), 2000);
}

/** The name of the last time; browsers that keep nothing have none. */
function remembered(): string | undefined {
  try {
    return localStorage.getItem(NAME_KEY) ?? undefined;
  } catch {
    return undefined;
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // It is asked for again the next time.
  }
}

function tellProblem(text: string): void {
  problem.textContent = text;
}

function setBusy(isBusy: boolean): void {
  form.querySelectorAll("button").forEach((button) => (button.disabled = isBusy));
  form.setAttribute("aria-busy", String(isBusy));
}

function randomOf(limit: number): number {
  return Math.floor(Math.random() * limit);
}

function randomBits(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
}
