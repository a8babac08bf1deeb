/** Leaving in good order: the last state is handed on or stored, the others are told, the seat is given up. */

import type { Driver } from "./driver.js";
import { beginHandOver } from "./handing-over.js";
import type { Millis } from "./protocol/id.js";
import { HAND_OVER_PATIENCE_MS } from "./protocol/limits.js";

/** A host that leaves waits this long for its game's state to be stored. */
const LAST_SAVE_MS = 5000;
/** A peer that leaves gives its goodbyes this long to arrive. */
const GOODBYE_MS = 150;

/** How far a session is that leaves. */
export type Leaving =
  /** Another member is being made host. */
  | { readonly kind: "handing_over"; readonly until: Millis }
  /** The game is asked for its state, or this state is being stored. */
  | { readonly kind: "saving"; readonly until: Millis; asked: boolean }
  /** The others are told. */
  | { readonly kind: "telling" };

/** The game wishes to leave. */
export function startLeaving(driver: Driver, now: Millis): void {
  if (driver.leaving !== undefined) return;
  const { migration, handOver } = driver;
  if (migration.role.kind !== "host") return tellLeaving(driver);
  const successor = migration.lobby.successor ?? undefined;
  // One that is under way already serves as well.
  const handsOver = handOver.underWay() !== undefined || (successor !== undefined && beginHandOver(driver, successor, "leave", now));
  if (!handsOver) return leaveWithASnapshot(driver, now);
  driver.leaving ??= { kind: "handing_over", until: now + HAND_OVER_PATIENCE_MS + LAST_SAVE_MS };
}

/** Nobody takes over now: what there is, is stored for whoever does later. */
export function leaveWithASnapshot(driver: Driver, now: Millis): void {
  const { snapshots } = driver;
  if (driver.leaving?.kind === "saving" || driver.leaving?.kind === "telling") return;
  // A state that was asked for before is older than the wish to leave: another is asked for after it.
  driver.leaving = { kind: "saving", until: now + LAST_SAVE_MS, asked: !snapshots.asked };
  snapshots.saveSoon(now);
}

/** A snapshot is done with. If it was the last one, the others are told. */
export function lastSaveIsDone(driver: Driver, now: Millis): void {
  const { leaving, snapshots } = driver;
  if (leaving?.kind !== "saving") return;
  const { asked } = leaving;
  leaving.asked = true;
  if (!asked) snapshots.saveSoon(now);
  else if (snapshots.isIdle) tellLeaving(driver);
}

/** Goes on with leaving, once what it waited for is there or has taken too long. */
export function leaveWhenDue(driver: Driver, now: Millis): void {
  const { leaving, migration, handOver } = driver;
  if (leaving === undefined || leaving.kind === "telling") return;
  const { role } = migration;
  const hosts = role.kind === "host";
  const handsOver = leaving.kind === "handing_over" && leaving.until > now;
  if (handsOver && hosts) {
    if (handOver.underWay() === undefined) leaveWithASnapshot(driver, now);
    return;
  }
  // Whoever follows the new host already leaves as any guest.
  if (handsOver && !(role.kind === "guest" && role.link.kind === "in_game")) return;
  if (leaving.until <= now || !hosts) tellLeaving(driver);
}

function tellLeaving(driver: Driver): void {
  if (driver.leaving?.kind === "telling") return;
  driver.leaving = { kind: "telling" };
  driver.snapshots.stop();
  const { service, lobby, state, timers } = driver;
  const waitsMs = sayGoodbye(driver) ? GOODBYE_MS : 0;
  // In this order, so that guests know that it is no crash before the lobby elects another.
  driver.spawn(
    async () => {
      await new Promise<void>((resolve) => timers.after(waitsMs, resolve));
      await service.leave(lobby).catch((error: unknown) => console.warn("understudy: the seat is kept for a while:", String(error)));
    },
    () => driver.end({ kind: "left" }),
  );
  state.given = undefined;
}

/** Tells all peers that this one leaves. False: there is none. */
export function sayGoodbye({ state }: Driver): boolean {
  for (const link of state.links.values()) {
    link.tell({ kind: "goodbye" });
    link.finish();
  }
  return state.links.size > 0;
}
