/** The panel: who is host, how safe the state is, by which ways the players are reached, and what became of each migration. */

import type { LinkStats, Migratability, SessionStats } from "../src/index.js";
import { colourOf, numberOf } from "./colours.js";
import { Filled, byId, make } from "./dom.js";
import type { ArenaGame } from "./game.js";
import { type Seat, nameOf } from "./seat.js";
import { SENTENCES_MAX, type Story } from "./story.js";
import { type Shifts, shownShifts } from "./timeline.js";
import { COINS, sorted } from "./world.js";

/** What the panel is drawn of. */
export interface Shown {
  readonly seat: Seat;
  readonly game: ArenaGame;
  readonly story: Story;
  readonly shifts: Shifts;
  /** The library's newest word. */
  readonly migratability: Migratability | undefined;
}

/** One line of the facts; `mood` says in colour what the text says too. */
interface Fact {
  readonly name: string;
  readonly value: string;
  readonly mood: "" | "good" | "bad" | "warn";
}

const PATHS = { direct: "direct", relayed: "TURN", unknown: "…" } as const;

/** The panel's parts. */
export class Panel {
  private readonly facts = new Filled(byId("facts", HTMLElement));
  private readonly players = new Filled(byId("players", HTMLElement));
  private readonly migrations = new Filled(byId("migrations", HTMLElement));
  private readonly story = byId("story", HTMLElement);
  private shownSentences = 0;
  private readonly handOver = byId("hand-over", HTMLButtonElement);

  /** Shows how things are now. */
  public show(shown: Shown): void {
    const { seat, game, story, shifts } = shown;
    const stats = seat.stats();
    const name = (connection: number): string => nameOf(seat, connection);
    const facts = factsOf(shown, stats);
    this.facts.show(facts, () => facts.flatMap(shownFact));
    const rows = playersOf(seat, game, stats);
    this.players.show(rows, () => rows.map(shownPlayer));
    this.migrations.show([shifts.shifts, seat.lobby.members.map((member) => member.name)], () => shownShifts(shifts.shifts, name));
    this.tell(story);
    this.handOver.disabled = seat.role !== "host" || stats.successor === undefined;
  }

  /** Adds what is new above the rest: only that is read aloud. */
  private tell(story: Story): void {
    const fresh = story.told - this.shownSentences;
    if (fresh === 0) {
      return;
    }
    if (this.shownSentences === 0) {
      this.story.replaceChildren();
    }
    this.shownSentences = story.told;
    this.story.prepend(...story.sentences.slice(-fresh).reverse().map(shownSentence));
    while (this.story.children.length > SENTENCES_MAX) {
      this.story.lastElementChild?.remove();
    }
  }
}

function factsOf({ seat, game, migratability }: Shown, stats: SessionStats): Fact[] {
  const who = (connection: number | undefined): string => {
    const name = connection === undefined ? "nobody" : nameOf(seat, connection);
    return connection === seat.me ? `${name} (you)` : name;
  };
  const coins = game.world.coins();
  const isConserved = coins === COINS;
  return [
    { name: "Host", value: who(stats.host), mood: stats.host === undefined ? "warn" : "" },
    { name: "Epoch", value: String(stats.epoch), mood: "" },
    { name: "Successor", value: who(stats.successor), mood: stats.successor === undefined ? "warn" : "" },
    ...stateFacts(stats, migratability),
    { name: "Coins", value: `${coins} of ${COINS} ${isConserved ? "✓ conserved" : "✗ not conserved"}`, mood: isConserved ? "good" : "bad" },
    { name: "Lobby", value: stats.lobbyReachable ? "reached" : "out of reach", mood: stats.lobbyReachable ? "" : "warn" },
    ...(seat.lobby.settings.relay_only === true ? [{ name: "Addresses", value: "hidden from each other", mood: "" } as const] : []),
  ];
}

/** How fresh the states are: on the host what it knows of those of others, on the successor its own. */
function stateFacts(stats: SessionStats, now: Migratability | undefined): Fact[] {
  const hosts = stats.role === "host" || stats.role === "handing_over";
  if (!hosts) {
    const held = stats.newest === undefined ? "none here" : `${milliseconds(stats.newest.ageMs)} old, tick ${stats.newest.tick}`;
    return [{ name: "Held state", value: held, mood: "" }];
  }
  const warm = now?.isWarm === true ? `${milliseconds(now.lagMs)} behind` : "not warm yet";
  const durable = stats.durable === undefined ? "none yet" : `${seconds(stats.durable.ageMs)} old`;
  const pause = now?.predictedPauseMs === undefined ? "nobody could go on" : `about ${milliseconds(now.predictedPauseMs)}`;
  return [
    { name: "Warm state", value: warm, mood: now?.isWarm === true ? "good" : "warn" },
    { name: "Durable state", value: durable, mood: stats.durable === undefined ? "warn" : "good" },
    { name: "If this tab died", value: pause, mood: "" },
  ];
}

/** Whole tens, so that the panel does not flicker. */
function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms / 10) * 10} ms` : seconds(ms);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function shownFact({ name, value, mood }: Fact): Node[] {
  return [make("dt", "", name), make("dd", mood, value)];
}

interface PlayerRow {
  readonly connection: number;
  readonly name: string;
  readonly role: string;
  readonly coins: number;
  readonly link: string;
  readonly enabled: boolean;
}

function playersOf(seat: Seat, game: ArenaGame, stats: SessionStats): PlayerRow[] {
  return sorted(game.world.players).map(([connection, player]) => {
    const roles = [
      connection === seat.me ? "you" : "",
      connection === stats.host ? "host" : "",
      connection === stats.successor ? "next" : "",
      player.enabled ? "" : "away",
    ];
    const link = connection === seat.me ? "" : linkOf(stats.links.filter((link) => link.peer === connection && link.isOpen));
    const role = roles.filter((role) => role !== "").join(", ");
    return { connection, name: nameOf(seat, connection), role, coins: player.coins, link, enabled: player.enabled };
  });
}

function linkOf(links: readonly LinkStats[]): string {
  const link = links[0];
  if (link === undefined) {
    return "–";
  }
  const trip = link.roundTripMs === undefined ? "" : ` ${link.roundTripMs < 10 ? link.roundTripMs.toFixed(1) : Math.round(link.roundTripMs)} ms`;
  return `${PATHS[link.path]}${trip}${link.standby ? " (standby)" : ""}`;
}

function shownPlayer(row: PlayerRow): Node {
  const badge = make("span", "badge", numberOf(row.connection));
  badge.style.setProperty("--player", colourOf(row.connection));
  const who = make("td", "who", badge, make("span", "name", row.name), make("span", "role", row.role));
  const element = make("tr", row.enabled ? "" : "away", who, make("td", "number", String(row.coins)), make("td", "link", row.link));
  return element;
}

function shownSentence({ atMs, text }: { readonly atMs: number; readonly text: string }): Node {
  return make("li", "", make("span", "at", `${(atMs / 1000).toFixed(1)} s`), text);
}
