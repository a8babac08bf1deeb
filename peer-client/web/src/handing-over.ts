/** A host hands over, in two phases: because its game asks for it, it leaves or is hidden, or whoever manages the lobby asks. */

import type { Driver } from "./driver.js";
import { ServiceError } from "./errors.js";
import { feedSuccessor, offer } from "./feeding.js";
import { leaveWithASnapshot } from "./leaving.js";
import type { Action, CommitAnswer, Wish } from "./protocol/hand-over.js";
import type { ConnectionId, Millis } from "./protocol/id.js";
import { askForState } from "./saving.js";

/** Begins, if this peer hosts and none is under way. False: it does not. */
export function beginHandOver(driver: Driver, to: ConnectionId, wish: Wish, now: Millis): boolean {
  const { migration, feed, snapshots, handOver } = driver;
  if (migration.role.kind !== "host" || !driver.isInGame(to)) return false;
  const acknowledged = snapshots.newest === undefined ? undefined : feed.acknowledged(to);
  if (!handOver.begin(to, wish, acknowledged, now)) return false;
  driver.event({ kind: "hand_over_begun", to });
  feedSuccessor(driver, now);
  // Something to prepare the successor with.
  if (acknowledged === undefined && snapshots.newest === undefined) askForState(driver);
  else if (acknowledged === undefined && snapshots.newest !== undefined) offer(driver, snapshots.newest.image, now);
  actOnHandOver(driver, now);
  return true;
}

/** Does what the lobby's wish means to its host. */
export function heedLobbysWish(driver: Driver, now: Millis): void {
  const to = driver.migration.lobby.hand_over?.to;
  const underWay = driver.handOver.underWay();
  if (to === undefined) {
    driver.lobbysWish = undefined;
    if (underWay?.wish !== "operator") return;
    driver.handOver.cancel();
    return actOnHandOver(driver, now);
  }
  if (underWay !== undefined || driver.lobbysWish === to) return;
  driver.lobbysWish = to;
  beginHandOver(driver, to, "operator", now);
}

/** Does what the hand-over under way asks for. */
export function actOnHandOver(driver: Driver, now: Millis): void {
  for (let action = driver.handOver.pollAction(); action !== undefined; action = driver.handOver.pollAction()) act(driver, action, now);
}

function act(driver: Driver, action: Action, now: Millis): void {
  switch (action.kind) {
    case "freeze":
      driver.state.freezeWanted = true;
      return askForLastState(driver, now);
    case "commit":
      return commit(driver, action.to);
    case "go_on":
      driver.state.freezeWanted = driver.state.frozen = false;
      driver.showRole();
      driver.event({ kind: "hand_over_failed", to: action.to, why: action.why });
      feedSuccessor(driver, now);
      if (action.wish === "leave") leaveWithASnapshot(driver, now);
  }
}

/** A game that gives its state at each tick has its next one for its last; another is asked. */
export function askForLastState(driver: Driver, now: Millis): void {
  if (driver.handOver.isFreezing() && !driver.snapshots.givesUnasked(now)) askForState(driver);
}

function commit(driver: Driver, to: ConnectionId): void {
  const { service, lobby, snapshots, handOver, migration } = driver;
  const { epoch } = migration;
  const generation = snapshots.newest?.image.generation;
  if (generation !== undefined) driver.state.links.get(to)?.tell({ kind: "last_state", generation });
  const ask = async (): Promise<CommitAnswer> => {
    try {
      await service.transfer(lobby, epoch, to);
      return "done";
    } catch (error) {
      if (!(error instanceof ServiceError)) return "unknown";
      // The epoch has moved: by an answer that was lost, or otherwise. The lobby's event will tell.
      if (error.code === "stale_epoch") return "done";
      return error.isRefusal ? "refused" : "unknown";
    }
  };
  driver.spawn(ask, (answer, now) => {
    if (epoch === driver.migration.epoch) handOver.handleCommit(answer, now);
  });
}

/** This peer hosts no more: a hand-over that was under way has done what it should, or is of no more use. */
export function endHandOver(driver: Driver): void {
  driver.handOver.handleReplaced();
  driver.lobbysWish = undefined;
  driver.state.freezeWanted = driver.state.frozen = false;
}
