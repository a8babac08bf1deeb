/** A guest's part: dial the host, be welcomed, mirror the ownership table. */

import type { Driver } from "./driver.js";
import type { SessionEvent } from "./events.js";
import { tellsOfLeaving } from "./host.js";
import { Link } from "./link.js";
import { eventsOf, hangUp, lostLink } from "./links.js";
import { HOST_FRAME_BYTES_MAX } from "./network.js";
import type { ConnectionId, HostEpoch, Millis, ObjectId, PeerKey } from "./protocol/id.js";
import type { Resumed } from "./protocol/journal.js";
import type { Change, ObjectTable } from "./protocol/objects.js";
import { decodeObjects, decodeRefused, decodeWelcome, encodeHello } from "./protocol/payload.js";

/** A guest that was refused asks again after this long, then after twice as long, up to {@link REFUSED_PAUSE_MAX_MS}. */
const REFUSED_PAUSE_MS = 1000;
/** Longest pause of a guest that is refused again and again. */
const REFUSED_PAUSE_MAX_MS = 30_000;

/** What a guest remembers of its dials. */
export class Dialing {
  /** The game was told that the host is not heard, on a link that may still be up. */
  isSilent = false;
  /** The host's game refused this guest at this epoch: how long it waits before it asks again. */
  private refusal: { readonly epoch: HostEpoch; readonly pauseMs: Millis } | undefined;

  pauseMs(epoch: HostEpoch): Millis {
    return this.refusal?.epoch === epoch ? this.refusal.pauseMs : 0;
  }

  refused(epoch: HostEpoch): void {
    const pauseMs = Math.min(Math.max(2 * this.pauseMs(epoch), REFUSED_PAUSE_MS), REFUSED_PAUSE_MAX_MS);
    this.refusal = { epoch, pauseMs };
  }

  welcomed(): void {
    this.isSilent = false;
    this.refusal = undefined;
  }
}

/** Opens a link to the host, or takes the one that was for later. */
export function dial(driver: Driver, host: ConnectionId, peerKey: PeerKey, epoch: HostEpoch, now: Millis): void {
  if (tellsOfLeaving(driver)) return;
  driver.dialing.isSilent = false;
  const link = driver.state.links.get(host);
  if (link?.standby === true && link.isOpen && link.peerKey === peerKey) {
    [link.standby, link.inGame, link.epoch] = [false, false, epoch];
    link.tell({ kind: "hello", payload: hello(driver, false) });
    link.wantStates();
    return;
  }
  openLink(driver, new Link({ peer: host, peerKey, epoch, standby: false }, now), driver.dialing.pauseMs(epoch));
}

/** Opens a link to the successor, for later. */
export function dialStandby(driver: Driver, successor: ConnectionId, peerKey: PeerKey, epoch: HostEpoch, now: Millis): void {
  if (driver.leaving !== undefined) return;
  openLink(driver, new Link({ peer: successor, peerKey, epoch, standby: true }, now), 0);
}

function hello(driver: Driver, standby: boolean): Uint8Array {
  const { settings, state, held } = driver;
  const holds = held.generation;
  return encodeHello({ extra: settings.returnPayload, standby, moves: false, offer: state.own.offer(), holds });
}

function openLink(driver: Driver, link: Link, pauseMs: Millis): void {
  const { peer, peerKey } = link;
  driver.state.links.get(peer)?.close();
  driver.state.links.set(peer, link);
  link.tell({ kind: "hello", payload: hello(driver, link.standby) });
  if (!link.standby) link.wantStates();
  const open = (): void => {
    if (driver.state.links.get(peer) !== link) return;
    link.attach(driver.net.dial(peer, peerKey, HOST_FRAME_BYTES_MAX, eventsOf(driver, link)));
  };
  if (pauseMs > 0) driver.timers.after(pauseMs, open);
  else open();
}

/** The host is heard, on the link that had fallen silent if no other was dialled since. */
export function heardAgain(driver: Driver): void {
  const { role } = driver.migration;
  if (role.kind !== "guest" || !driver.dialing.isSilent) return;
  driver.dialing.isSilent = false;
  driver.event({ kind: "reconnected_to_host", host: role.host });
}

/** The host lets this guest in. */
export function welcomed(driver: Driver, link: Link, payload: Uint8Array, now: Millis): void {
  const { state, migration, timeline } = driver;
  const host = link.peer;
  if (!driver.follows(host) || link.inGame) return;
  const welcome = decodeWelcome(payload);
  if (welcome === undefined) return hangUpAndTell(driver, host, now);
  const resumed = state.own.handleWelcome(welcome.position);
  state.hasPlayed = link.inGame = true;
  for (const [number, message] of state.own.journal.after(resumed.sayAfter)) {
    timeline.saidAgain += 1;
    link.say("reliable", number, message);
  }
  state.entry = { tick: welcome.tick, elapsedMs: welcome.elapsedUs / 1000, scene: welcome.scene };
  const before = state.objects;
  state.objects = welcome.objects;
  driver.dialing.welcomed();
  driver.announcedTick = welcome.tick;
  migration.handleWelcome(host, now);
  driver.doEffects();
  tellResumed(driver, resumed);
  const trace = timeline.finish(host, migration.epoch, now);
  if (trace !== undefined) driver.event({ kind: "migrated", trace });
  timeline.heard(host, now);
  for (const [object, owner] of ownersThatDiffer(state.objects, before)) driver.event({ kind: "authority_changed", object, owner });
  for (const object of state.objects.ownedBy(driver.me)) driver.event({ kind: "object_reconnected", object, owner: driver.me });
}

/** What this peer's streams lost on the way to its host. */
export function tellResumed(driver: Driver, { inputsLost, takenBack, neverHeard }: Resumed): void {
  if (inputsLost !== undefined) driver.event({ kind: "inputs_lost", who: driver.me, numbers: inputsLost });
  if (takenBack !== undefined) driver.event({ kind: "taken_back", numbers: takenBack });
  if (neverHeard !== undefined) driver.event({ kind: "never_heard", numbers: neverHeard });
}

/** Of the objects that were known before, those that have another owner now. */
function ownersThatDiffer(now: ObjectTable, before: ObjectTable): [ObjectId, ConnectionId | undefined][] {
  const differ = now.entries().filter(([id, { owner }]) => {
    const known = before.object(id);
    return known !== undefined && known.owner !== owner;
  });
  return differ.map(([id, { owner }]) => [id, owner]);
}

/** The host's game did not let this guest in. */
export function refusedByHost(driver: Driver, link: Link, payload: Uint8Array, now: Millis): void {
  const host = link.peer;
  if (!driver.follows(host)) return;
  driver.event({ kind: "refused_by_host", host, reason: decodeRefused(payload) ?? "no reason that can be read" });
  driver.dialing.refused(driver.migration.epoch);
  hangUpAndTell(driver, host, now);
}

/** The host's table is another. */
export function objectsChanged(driver: Driver, link: Link, payload: Uint8Array): void {
  if (!driver.follows(link.peer) || !link.inGame) return;
  for (const change of decodeObjects(payload) ?? []) {
    const events = newsOf(driver.state.objects, change);
    driver.state.objects.apply(change);
    for (const event of events) driver.event(event);
  }
}

/** What a change is to the game. */
function newsOf(objects: ObjectTable, change: Change): SessionEvent[] {
  switch (change.kind) {
    case "placed": {
      const before = objects.object(change.id);
      const { owner } = change.object;
      const isNews = before !== undefined && before.owner !== owner;
      return isNews ? [{ kind: "authority_changed", object: change.id, owner }] : [];
    }
    case "removed":
      return [];
    case "enabled": {
      const { owner } = change;
      const back = change.enabled ? objects.ownedBy(owner).filter((id) => objects.object(id)?.enabled === false) : [];
      return back.map((object) => ({ kind: "object_reconnected", object, owner }));
    }
  }
}

function hangUpAndTell(driver: Driver, host: ConnectionId, now: Millis): void {
  hangUp(driver, host);
  lostLink(driver, host, now);
}
