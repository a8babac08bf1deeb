/** A host feeds its successor: each state as the difference to the one before. */

import type { Driver } from "./driver.js";
import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, Millis } from "./protocol/id.js";
import type { Image } from "./protocol/image.js";
import { DIAL_RETRY_MS, FEED_BYTES_PER_SECOND } from "./protocol/limits.js";
import { Feed } from "./protocol/standby.js";
import { settleState } from "./saving.js";

/** What a host sends to its successor, from nothing. */
export function newFeed(): Feed<Image> {
  return new Feed(FEED_BYTES_PER_SECOND);
}

/** A state may go to the successor. */
export function offer(driver: Driver, image: Image, now: Millis): void {
  if (driver.migration.role.kind !== "host") return;
  driver.feed.offer(image, now);
  pumpFeed(driver, now);
}

/** Whoever would be elected is fed, once it is in the game; during a hand-over whoever it goes to. */
export function feedSuccessor(driver: Driver, now: Millis): void {
  const to = driver.handOver.underWay()?.to ?? driver.migration.lobby.successor ?? undefined;
  driver.feed.setSuccessor(to !== undefined && driver.isInGame(to) ? to : undefined);
  pumpFeed(driver, now);
}

/** Sends what the feed has for now. */
export function pumpFeed(driver: Driver, now: Millis): void {
  const { feed, state } = driver;
  for (let job = feed.pollJob(now); job !== undefined; job = feed.pollJob(now)) {
    const record = job.base === undefined ? job.state.toRecord() : job.state.deltaFrom(job.base);
    const link = state.links.get(job.to);
    const isSent = record.ok && link?.inGame === true && link.sendState(record.value);
    feed.handleSent(job, isSent ? record.value.length : undefined, now);
    if (isSent) {
      state.stateBytesSent += record.value.length;
      continue;
    }
    // Once it is in the game again it is fed from the beginning.
    if (link?.inGame !== true) return feed.handleLinkDown(job.to);
    // What was sent before may never arrive, or this one did not go: it begins anew, after a while.
    feed.handleWanted(job.to);
    return feed.holdOff(now + DIAL_RETRY_MS);
  }
}

/** A member holds this state. */
export function stateTaken(driver: Driver, from: ConnectionId, generation: Generation, now: Millis): void {
  const { feed, handOver } = driver;
  feed.handleTaken(from, generation);
  handOver.handleTaken(from, generation, now);
  const held = driver.lobbyReachable ? undefined : feed.acknowledged(from);
  // Warm is as durable as it gets.
  if (held !== undefined) settleState(driver, held);
  pumpFeed(driver, now);
}

/** A member wants a whole state. */
export function stateWanted(driver: Driver, from: ConnectionId, now: Millis): void {
  driver.feed.handleWanted(from);
  pumpFeed(driver, now);
}
