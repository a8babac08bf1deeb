/** One game on the page, from the first tick to the last. */

import type { Migratability } from "../src/index.js";
import { Board } from "./board.js";
import { botInput } from "./bot.js";
import { Controls } from "./controls.js";
import { byId } from "./dom.js";
import type { ArenaGame, News } from "./game.js";
import { Panel } from "./panel.js";
import { type Seat, nameOf } from "./seat.js";
import { statusOf } from "./status.js";
import { Story } from "./story.js";
import { Shifts } from "./timeline.js";
import { TICKS_PER_SECOND } from "./world.js";

const TICK_MS = 1000 / TICKS_PER_SECOND;
/** A tab that was stopped for longer does not catch up. */
const LAG_MS_MAX = 100;
const PANEL_MS = 200;

/** Plays, draws, and tells. */
export class Play {
  private readonly board = new Board(byId("canvas", HTMLCanvasElement));
  private readonly ended = new AbortController();
  private readonly controls = new Controls(byId("pad", HTMLElement), this.ended.signal);
  private readonly panel = new Panel();
  private readonly banner = byId("banner", HTMLElement);
  private readonly story = new Story(performance.now());
  private readonly shifts = new Shifts();
  private migratability: Migratability | undefined;
  private nextTick = performance.now();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private nextPanel = 0;

  /** `bot`: the machine plays. `onOver` is called once the seat is gone. */
  public constructor(
    private readonly seat: Seat,
    private readonly game: ArenaGame,
    private readonly bot: boolean,
    private readonly onOver: (why: string) => void,
  ) {}

  /** Begins. */
  public start(): void {
    byId("canvas", HTMLCanvasElement).focus({ preventScroll: true });
    this.turn();
    requestAnimationFrame(() => this.draw());
  }

  /** Something happened in the game. */
  public heed(news: News): void {
    this.story.add(news, this.seat, performance.now());
    this.shifts.add(news);
    if (news.kind === "first_tick") {
      return;
    }
    switch (news.event.kind) {
      case "migratability":
        this.migratability = news.event.report;
        break;
      case "became_host":
        // The first tick of a new host is due before its time.
        this.nextTick = performance.now();
        this.plan();
        break;
      case "left":
      case "removed":
      case "replaced":
        this.end(news.event.kind);
        break;
      default:
        break;
    }
  }

  /** Hands over, if this player hosts; tells why it cannot. */
  public handOver(): void {
    try {
      this.seat.handOver();
    } catch (error) {
      this.story.tell(`not handed over: ${error instanceof Error ? error.message : String(error)}`, performance.now());
    }
  }

  /** See {@link statusOf}. */
  public status(): Record<string, unknown> {
    return statusOf(this.seat, this.game, this.shifts.shifts);
  }

  private turn(): void {
    const now = performance.now();
    this.game.tick(this.bot ? botInput(this.game.world, this.seat.me) : this.controls.take());
    this.nextTick = now > this.nextTick + LAG_MS_MAX ? now + TICK_MS : this.nextTick + TICK_MS;
    if (!this.ended.signal.aborted) {
      this.plan();
    }
  }

  private plan(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.turn(), Math.max(0, this.nextTick - performance.now()));
  }

  private draw(): void {
    if (this.ended.signal.aborted) {
      return;
    }
    const { seat, game, story, shifts, migratability } = this;
    const now = performance.now();
    this.board.draw({ world: game.world, me: seat.me, nameOf: (connection) => nameOf(seat, connection), now });
    if (now >= this.nextPanel) {
      this.nextPanel = now + PANEL_MS;
      this.panel.show({ seat, game, story, shifts, migratability });
      this.tell();
    }
    requestAnimationFrame(() => this.draw());
  }

  /** What stands over the board while nobody runs the game. */
  private tell(): void {
    const texts = {
      waiting: "The host is lost. Another player is being chosen …",
      joining: "Reaching the host …",
      becoming: "You are elected: restoring the game …",
      handing_over: "Handing the game over …",
      guest: "",
      host: "",
    };
    const text = texts[this.seat.role];
    this.banner.hidden = text === "";
    if (this.banner.textContent !== text) {
      this.banner.textContent = text;
    }
  }

  private end(why: string): void {
    this.ended.abort();
    clearTimeout(this.timer);
    this.onOver(why);
  }
}
