/** What happens, for people: short sentences with the time since the game began. */

import type { SessionEvent } from "../src/index.js";
import type { News } from "./game.js";
import { type Seat, nameOf } from "./seat.js";

/** Sentences that are kept. */
export const SENTENCES_MAX = 12;

/** A sentence, and how many milliseconds after the beginning it was true. */
export interface Sentence {
  readonly atMs: number;
  readonly text: string;
}

/** The last things that happened. */
export class Story {
  /** The oldest first. */
  public readonly sentences: Sentence[] = [];
  /** How many there were, with those that are not kept. */
  public told = 0;

  /** Began at `began`, of the clock that gives all times here. */
  public constructor(private readonly began: number) {}

  /** Adds what is new, if people care about it. */
  public add(news: News, seat: Seat, now: number): void {
    const text = news.kind === "event" ? sentence(news.event, (connection) => nameOf(seat, connection)) : firstTick(news);
    if (text !== undefined) {
      this.tell(text, now);
    }
  }

  /** Adds a sentence. */
  public tell(text: string, now: number): void {
    if (this.sentences.length === SENTENCES_MAX) {
      this.sentences.shift();
    }
    this.told += 1;
    this.sentences.push({ atMs: now - this.began, text });
  }
}

function firstTick(news: News & { kind: "first_tick" }): string | undefined {
  if (news.epoch <= 1 || news.pauseMs === undefined) {
    return undefined;
  }
  return `the game goes on at epoch ${news.epoch}, after ${Math.round(news.pauseMs)} ms`;
}

/** An event in plain words; `undefined` for what only machines care about. */
function sentence(event: SessionEvent, of: (connection: number) => string): string | undefined {
  switch (event.kind) {
    case "host_lost":
      return `host lost: ${of(event.host)}`;
    case "host_returned":
      return `${of(event.host)} is still there and stays host`;
    case "host_elected":
      return `${of(event.host)} elected, epoch ${event.epoch}`;
    case "host_migrated":
      return `in the game of ${of(event.host)}`;
    case "joined_game":
      return `joined the game of ${of(event.host)}`;
    case "reconnected_to_host":
      return `heard from ${of(event.host)} again`;
    case "refused_by_host":
      return `${of(event.host)} does not let us in: ${event.reason}`;
    case "disconnected_from_host":
      return `nothing heard from ${of(event.host)}`;
    case "host_shut_down":
      return `${of(event.host)} says goodbye`;
    case "became_host":
      return `you are host, epoch ${event.epoch}`;
    case "demoted":
      return `you are host no more, epoch ${event.epoch} counts`;
    case "player_joined":
      return `${of(event.connection)} joined`;
    case "player_left":
      return `${of(event.connection)} left`;
    case "player_disconnected":
      return `${of(event.connection)} is away`;
    case "player_reconnected":
      return `${of(event.connection)} is back`;
    case "snapshot_failed":
      return `a snapshot could not be stored: ${event.reason}`;
    case "hand_over_begun":
      return `hands over to ${of(event.to)}`;
    case "hand_over_failed":
      return `the hand-over to ${of(event.to)} came to nothing: the game goes on here`;
    case "inputs_lost":
      return `something that ${of(event.who)} did is lost`;
    case "parked":
      return "nobody can be host for now";
    case "lobby_unreachable":
      return "lobby service out of reach";
    case "lobby_reachable":
      return "lobby service reached again";
    case "removed":
      return "you have no seat any more";
    case "replaced":
      return "another tab took this seat";
    case "left":
      return "left";
    case "peers_updated":
    case "object_reconnected":
    case "authority_changed":
    case "snapshot_stored":
    case "taken_back":
    case "never_heard":
    case "migrated":
    case "migratability":
      return undefined;
  }
}
