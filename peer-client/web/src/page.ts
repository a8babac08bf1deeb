/**
 * What a session does about its page.
 *
 * - *Hidden.* Browsers slow hidden tabs down, and may freeze them: a host hands over at once, and no hidden tab is elected (its consent is
 *   withdrawn until it is shown again). With nobody to take over it goes on as well as its browser lets it, and hands over as soon as
 *   somebody is there. Timers run in a worker, so that a hidden guest stays in the game.
 * - *Frozen or gone.* The others are told at once: a goodbye on each link, the event socket closed; a host asks the lobby to make its successor
 *   host without delay, by a request that outlives the page. The seat is kept for the removal delay, unless the game wants it given up.
 * - *Back*, from a freeze or the back button: the event socket is opened again, and the session goes on as a guest's does.
 * - *On another network*: another event socket takes the place of the one that may be dead. Links that are, are noticed by their silence.
 */

import type { Driver } from "./driver.js";
import { beginHandOver } from "./handing-over.js";
import { sayGoodbye } from "./leaving.js";
import { hangUp, lostLink } from "./links.js";
import type { Millis } from "./protocol/id.js";

/** The lobby is told again after this long, if it could not be. */
const CONSENT_RETRY_MS = 2000;

/** Follows the page until the session is over. Returns what stops that. */
export function followPage(driver: Driver): () => void {
  if (typeof document === "undefined") return () => undefined;
  const stop = new AbortController();
  const { signal } = stop;
  const turn = (work: (now: Millis) => void) => () => driver.run(work);
  document.addEventListener("visibilitychange", turn((now) => visibilityChanged(driver, now)), { signal });
  document.addEventListener("freeze", turn((now) => goes(driver, false, now)), { signal });
  document.addEventListener("resume", turn(() => comesBack(driver)), { signal });
  addEventListener("pagehide", turn((now) => goes(driver, driver.settings.leavesOnClose, now)), { signal });
  addEventListener("pageshow", turn(() => comesBack(driver)), { signal });
  addEventListener("online", turn(() => driver.events?.renew()), { signal });
  const { connection } = navigator as { connection?: EventTarget };
  connection?.addEventListener("change", turn(() => driver.events?.renew()), { signal });
  driver.isHidden = isHidden(driver);
  return () => stop.abort();
}

/** Whether a tab that begins now may be elected. */
export function mayHostNow(canHost: boolean, handsOverWhenHidden: boolean): boolean {
  return canHost && !(handsOverWhenHidden && typeof document !== "undefined" && document.visibilityState === "hidden");
}

/** Whether the lobby may elect this peer, as it was told last, and as it is to be told. */
export interface Consent {
  told: boolean;
  isTelling: boolean;
  againAt: Millis;
}

/** Tells the lobby whether this peer may be elected, until it knows. What others have set meanwhile stays. */
export function keepConsent(driver: Driver, now: Millis): void {
  const { consent, service, lobby, me, settings } = driver;
  const wanted = settings.canHost && !driver.isHidden;
  if (consent.told === wanted || consent.isTelling || consent.againAt > now) return;
  consent.isTelling = true;
  driver.spawn(
    () => service.consent(lobby, me, wanted).then(() => true, () => false),
    (isTold, at) => {
      consent.isTelling = false;
      if (isTold) consent.told = wanted;
      else consent.againAt = at + CONSENT_RETRY_MS;
    },
  );
}

/** A hidden host hands over, as soon as there is somebody. */
export function handOverWhileHidden(driver: Driver, now: Millis): void {
  const { successor } = driver.migration.lobby;
  if (!driver.isHidden || typeof successor !== "number" || driver.leaving !== undefined) return;
  beginHandOver(driver, successor, "game", now);
}

function isHidden({ settings }: Driver): boolean {
  return settings.handsOverWhenHidden && document.visibilityState === "hidden";
}

function visibilityChanged(driver: Driver, now: Millis): void {
  const hidden = isHidden(driver);
  if (hidden === driver.isHidden) return;
  driver.isHidden = hidden;
  // If it is not heard, the worst is that a hidden tab is elected, and hands over as any hidden host does.
  keepConsent(driver, now);
  if (!hidden) driver.events?.renew();
  handOverWhileHidden(driver, now);
}

function goes(driver: Driver, leaves: boolean, now: Millis): void {
  const { migration, service, lobby, state } = driver;
  const { role } = migration;
  const { successor } = migration.lobby;
  sayGoodbye(driver);
  if (leaves) service.leave(lobby, true).catch(() => undefined);
  else if (role.kind === "host" && typeof successor === "number") service.transferAtOnce(lobby, role.epoch, successor);
  driver.events?.suspend();
  for (const peer of [...state.links.keys()]) {
    hangUp(driver, peer);
    lostLink(driver, peer, now);
  }
}

function comesBack(driver: Driver): void {
  driver.events?.resume();
}
