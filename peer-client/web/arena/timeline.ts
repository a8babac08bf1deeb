/** Migrations as this page saw them: what took how long, as bars. */

import type { MigrationTrace } from "../src/index.js";
import { make } from "./dom.js";
import type { News } from "./game.js";

/** Migrations that are shown. */
const SHOWN_MAX = 4;

/** One migration: the library's trace, and the first tick, which only the game knows. */
export interface Shift {
  readonly epoch: number;
  readonly trace: MigrationTrace | undefined;
  /** From the last tick of the old host to the first of the new one, as seen here. */
  readonly pauseMs: number | undefined;
}

/** The newest migrations. */
export class Shifts {
  /** The newest first. */
  public shifts: readonly Shift[] = [];

  /** Takes what belongs to migrations. The two parts of one come in any order. */
  public add(news: News): void {
    if (news.kind === "first_tick" && news.epoch > 1 && news.pauseMs !== undefined) {
      this.merge({ epoch: news.epoch, trace: undefined, pauseMs: news.pauseMs });
    } else if (news.kind === "event" && news.event.kind === "migrated") {
      this.merge({ epoch: news.event.trace.epoch, trace: news.event.trace, pauseMs: undefined });
    }
  }

  private merge(shift: Shift): void {
    const known = this.shifts.find(({ epoch }) => epoch === shift.epoch);
    const merged = { epoch: shift.epoch, trace: shift.trace ?? known?.trace, pauseMs: shift.pauseMs ?? known?.pauseMs };
    const others = this.shifts.filter(({ epoch }) => epoch !== shift.epoch);
    this.shifts = [merged, ...others].sort((one, other) => other.epoch - one.epoch).slice(0, SHOWN_MAX);
  }
}

/** The migrations as elements. */
export function shownShifts(shifts: readonly Shift[], nameOf: (connection: number) => string): Node[] {
  if (shifts.length === 0) {
    return [make("p", "quiet", "None yet. Close the host's tab, or kill its process, and look here.")];
  }
  return shifts.map((shift) => shown(shift, nameOf));
}

function shown({ epoch, trace, pauseMs }: Shift, nameOf: (connection: number) => string): Node {
  const from = trace?.from === undefined ? "nobody" : nameOf(trace.from);
  const title = trace === undefined ? `Epoch ${epoch}` : `Epoch ${epoch}: ${from} → ${nameOf(trace.to)}`;
  const pause = pauseMs === undefined ? "" : `${Math.round(pauseMs)} ms`;
  const bars = phases(trace, pauseMs);
  const longest = Math.max(1, ...bars.map(([, ms]) => ms));
  const rows = bars.map(([name, ms]) => bar(name, ms, longest));
  const head = make("h3", "", make("span", "", title), make("span", "pause", pause));
  const about = make("p", "quiet", remarks(trace));
  return make("article", "shift", head, make("dl", "bars", ...rows.flat()), about);
}

/** The steps that this peer saw, with the time of each since the last sign of the old host. */
function phases(trace: MigrationTrace | undefined, pauseMs: number | undefined): [string, number][] {
  const all: [string, number | undefined][] = [
    ["noticed", trace?.noticedMs],
    ["elected", trace?.electedMs],
    ["found", trace?.foundMs],
    ["restored", trace?.restoredMs],
    [trace?.restoredMs === undefined ? "reconnected" : "hosts", trace?.resumedMs],
    ["first tick", pauseMs],
  ];
  return all.filter((phase): phase is [string, number] => phase[1] !== undefined);
}

function bar(name: string, ms: number, longest: number): [Node, Node] {
  const fill = make("span", "fill");
  fill.style.width = `${Math.max(1, (100 * ms) / longest)}%`;
  return [make("dt", "", name), make("dd", "", make("span", "track", fill), make("span", "ms", `${Math.round(ms)} ms`))];
}

function remarks(trace: MigrationTrace | undefined): string {
  if (trace === undefined) {
    return "";
  }
  const source = trace.source === undefined ? [] : [`from a ${trace.source === "warm" ? "warm" : `${trace.source}'s`} state`];
  const ticks = trace.source === undefined ? [] : [`${counted(trace.ticksLost, "tick")} lost`];
  const again = trace.saidAgain > 0 ? [`${counted(trace.saidAgain, "message")} said again`] : [];
  return [trace.planned ? "handed over" : "unplanned", ...source, ...ticks, ...again].join(" · ");
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}
