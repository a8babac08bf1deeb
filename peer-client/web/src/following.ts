/** What the lobby's news, and the passing of time, mean beside the part that this peer plays. */

import type { Driver } from "./driver.js";
import type { Migratability } from "./events.js";
import { feedSuccessor, newFeed } from "./feeding.js";
import { actOnHandOver, endHandOver, heedLobbysWish } from "./handing-over.js";
import type { Millis } from "./protocol/id.js";
import { memberAt } from "./protocol/lobby.js";
import type { LobbyEvent } from "./protocol/message.js";
import { handOverWhileHidden } from "./page.js";

/** How often a host tells how well its game would survive. */
const REPORT_MS = 1000;
/** What a new host needs beside round trips, as measured on one machine: to notice, to elect durably, to restore. */
const WORK_MS = 20;

/** Notes when this peer learnt what, before it acts on it. */
export function noteEvent(driver: Driver, event: LobbyEvent, now: Millis): void {
  const { migration, timeline } = driver;
  if (event.seq <= migration.lobby.seq) return;
  if (event.kind === "host_lost") {
    if (migration.role.kind === "host") timeline.heard(event.host, now);
    timeline.noticed(now);
    driver.loss = event.cause;
  } else if (event.kind === "host_elected") {
    driver.planned = driver.loss === "replaced";
    driver.loss = undefined;
    timeline.elected(driver.planned, now);
  }
}

/** What a changed lobby means to a host. */
export function followLobby(driver: Driver, now: Millis): void {
  driver.doEffects();
  if (driver.migration.role.kind === "host") {
    forgetTheAbsent(driver);
    feedSuccessor(driver, now);
    heedLobbysWish(driver, now);
    return actOnHandOver(driver, now);
  }
  driver.feed = newFeed();
  if (driver.handOver.underWay() !== undefined) {
    endHandOver(driver);
    driver.showRole();
  }
}

/** For those that the lobby has lost nothing is kept: they get the game anew when they are back. */
function forgetTheAbsent({ migration, state }: Driver): void {
  for (const guest of state.away) {
    if (memberAt(migration.lobby, guest)?.presence.state !== "connected") state.away.delete(guest);
  }
}

/** A host tells its game how well it would survive. */
export function report(driver: Driver, now: Millis): void {
  if (driver.migration.role.kind !== "host" || driver.reportAt > now) return;
  driver.reportAt = now + REPORT_MS;
  driver.event({ kind: "migratability", report: migratability(driver, now) });
  handOverWhileHidden(driver, now);
}

function migratability({ migration, feed, snapshots, state }: Driver, now: Millis): Migratability {
  const { settings, successor: next } = migration.lobby;
  const successor = next ?? undefined;
  const lag = feed.successor === successor ? feed.lag(now) : undefined;
  const durableAgeMs = snapshots.durableGivenAt === undefined ? undefined : now - snapshots.durableGivenAt;
  const roundTripMs = (successor === undefined ? undefined : state.links.get(successor)?.roundTrip) ?? 0;
  // The lobby's word and the guests' arrival; for a successor that is not warm also the way to the lobby and back for the state.
  const trips = lag === undefined ? 4 : 2;
  return {
    successor,
    isWarm: lag !== undefined,
    lagTicks: lag?.ticks ?? 0,
    lagMs: lag?.time ?? 0,
    durableAgeMs,
    predictedLossMs: lag?.time ?? durableAgeMs,
    predictedPauseMs: successor === undefined ? undefined : settings.election_delay_ms + trips * roundTripMs + WORK_MS,
  };
}
