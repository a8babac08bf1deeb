/** An elected member finds the newest state: its own, the lobby's, or another member's. */

import type { Driver } from "./driver.js";
import type { StateSource } from "./events.js";
import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, HostEpoch, Millis } from "./protocol/id.js";
import { DIAL_RETRY_MS } from "./protocol/limits.js";
import { applyDelta, fromRecord, type Sealer } from "./protocol/seal.js";
import { deltaRecordBytes, recordBytes, type SnapshotError } from "./protocol/record.js";
import type { Result } from "./protocol/result.js";
import type { Snapshot } from "./protocol/snapshot.js";
import { Takeover, type Source } from "./protocol/takeover.js";
import type { Durable } from "./saving.js";

/** The search of an elected member. */
export interface Search {
  readonly takeover: Takeover;
  lobbys: Durable | undefined;
  /** Another member has sent what is held here by now. */
  fromMember: boolean;
  /** The lobby did not answer: it is asked again then. */
  againAt: Millis | undefined;
}

/** What was found. */
export interface Found {
  readonly snapshot: Snapshot;
  /** The lobby has it too. */
  readonly isDurable: boolean;
}

/** Looks for the newest state, or goes on looking. */
export function search(driver: Driver, epoch: HostEpoch, now: Millis): void {
  const { held, planned } = driver;
  if (driver.search?.takeover.epoch !== epoch) {
    const takeover = new Takeover(epoch, held.generation, held.isSuccessor || planned, holders(driver), now);
    // The host stood still since.
    if (planned && held.isComplete) takeover.handleLobby(undefined);
    driver.search = { takeover, lobbys: undefined, fromMember: false, againAt: undefined };
  }
  goOnSearching(driver, now);
}

/** Members that may hold a state: all that are there. */
function holders({ migration, me }: Driver): ConnectionId[] {
  const there = migration.lobby.members.filter(({ connection, presence }) => connection !== me && presence.state === "connected");
  return there.map(({ connection }) => connection);
}

/** Does what the search asks for now. */
export function goOnSearching(driver: Driver, now: Millis): void {
  for (let step = poll(driver, now); step !== undefined; step = poll(driver, now)) {
    switch (step.kind) {
      case "ask_lobby":
        askLobby(driver, step.newerThan);
        break;
      case "ask_member":
        driver.state.links.get(step.member)?.wantStates();
        driver.state.links.get(step.member)?.tell({ kind: "state_asked", generation: step.generation });
        break;
      case "use":
        goOnFrom(driver, step.source, now);
        break;
    }
  }
}

function poll({ search }: Driver, now: Millis): ReturnType<Takeover["poll"]> {
  if (search === undefined || (search.againAt !== undefined && search.againAt > now)) return undefined;
  search.againAt = undefined;
  return search.takeover.poll(now);
}

/** When there is something to search although nothing happened. */
export function searchDueAt({ search }: Driver): Millis | undefined {
  return search?.againAt ?? search?.takeover.pollTimeout();
}

function askLobby(driver: Driver, newerThan: Generation | undefined): void {
  const { service, lobby, settings, sealer } = driver;
  const { epoch } = driver.migration;
  const ask = async (): Promise<{ readonly durable: Durable | undefined } | { readonly error: string }> => {
    try {
      const chain = await service.newestState(lobby, newerThan);
      return { durable: chain === undefined ? undefined : await readChain(chain, settings.buildId, sealer) };
    } catch (error) {
      return { error: String(error) };
    }
  };
  driver.spawn(ask, (has, now) => {
    const { search } = driver;
    if (search?.takeover.epoch !== epoch) return;
    if ("error" in has) {
      console.warn("understudy: the lobby could not be asked for its state:", has.error);
      search.takeover.handleLobbyFailed();
      search.againAt = now + DIAL_RETRY_MS;
      return;
    }
    search.lobbys = has.durable;
    search.takeover.handleLobby(has.durable?.image.generation);
    goOnSearching(driver, now);
  });
}

/** A member's answer is held here now. */
export function foundState(driver: Driver, from: ConnectionId, generation: Generation, now: Millis): void {
  if (driver.search === undefined) return;
  driver.search.takeover.handleState(from, generation);
  driver.search.fromMember = true;
  goOnSearching(driver, now);
}

/** A member has arrived, and says what it holds. */
export function isHeldBy(driver: Driver, member: ConnectionId, generation: Generation | undefined, now: Millis): void {
  driver.search?.takeover.handleHello(member, generation);
  goOnSearching(driver, now);
}

/** A member is gone. */
export function isGone(driver: Driver, member: ConnectionId, now: Millis): void {
  driver.search?.takeover.handleGone(member);
  goOnSearching(driver, now);
}

function goOnFrom(driver: Driver, source: Source, now: Millis): void {
  const { search, migration, held, timeline } = driver;
  driver.search = undefined;
  if (search === undefined) return;
  const { takeover, lobbys, fromMember } = search;
  const { epoch } = takeover;
  const { role } = migration;
  if (role.kind !== "becoming" || role.epoch !== epoch || role.stage.kind !== "fetching") return;
  const image = source === "own" ? held.newest?.image : source === "lobby" ? lobbys?.image : undefined;
  const decoded = image?.decode();
  if (decoded !== undefined && !decoded.ok) return migration.handleFetchFailed(epoch, now);
  const snapshot = decoded?.value;
  timeline.found(nameOf(source, fromMember), snapshot?.generation, now);
  timeline.ticksLost = snapshot === undefined ? 0 : Math.max(0, driver.announcedTick - snapshot.tick);
  driver.snapshots.goOnFrom(snapshot?.generation, lobbys);
  driver.found = snapshot && { snapshot, isDurable: source === "lobby" };
  const played = snapshot?.body.seats.filter((seat) => seat.played).map((seat) => seat.connection) ?? [];
  migration.handleFetched(epoch, played);
}

function nameOf(source: Source, fromMember: boolean): StateSource {
  if (source !== "own") return source;
  return fromMember ? "member" : "warm";
}

/** Reads a snapshot and the deltas after it. Throws what is wrong with it. */
async function readChain(chain: Uint8Array, buildId: string, sealer: Sealer | undefined): Promise<Durable> {
  const first = must(recordBytes(chain));
  let image = must(await fromRecord(chain.subarray(0, first), sealer));
  let [rest, deltas, deltaBytes] = [chain.subarray(first), 0, 0];
  while (rest.length > 0) {
    const length = must(deltaRecordBytes(rest));
    image = must(await applyDelta(image, rest.subarray(0, length), sealer));
    [rest, deltas, deltaBytes] = [rest.subarray(length), deltas + 1, deltaBytes + length];
  }
  if (must(image.decode()).body.buildId !== buildId) throw new Error("the state is of another build");
  return { image, at: performance.now(), deltas, deltaBytes };
}

function must<T>(result: Result<T, SnapshotError>): T {
  if (!result.ok) throw new Error(`the state cannot be read: ${result.error}`);
  return result.value;
}
