/** A host's part: restore the game, let guests in, keep what they own. */

import type { Driver } from "./driver.js";
import { ServiceError } from "./errors.js";
import type { SessionEvent } from "./events.js";
import { feedSuccessor, newFeed } from "./feeding.js";
import type { Restored, Verdict } from "./game.js";
import { tellResumed } from "./guest.js";
import type { Link } from "./link.js";
import { fail, hangUpGuest, lostLink, movedTo } from "./links.js";
import { decodeFrame } from "./protocol/frame.js";
import { HostStreams } from "./protocol/host-streams.js";
import type { ConnectionId, HostEpoch, Millis, ObjectId } from "./protocol/id.js";
import type { Missing } from "./protocol/journal.js";
import { EXTRA_BYTES_MAX } from "./protocol/limits.js";
import { memberAt } from "./protocol/lobby.js";
import type { ReadyAnswer } from "./protocol/migration-types.js";
import { decodeHello, encodeRefused, encodeWelcome, type Hello } from "./protocol/payload.js";
import { isHeldBy, type Found } from "./taking-over.js";

/** A guest that knows a newer epoch than this peer waits for the lobby to tell this peer too. */
const EARLY_GUEST_MS = 2000;
/** Guests that wait so: as many as a lobby has members. */
const EARLY_GUESTS_MAX = 1000;

/** A guest that knows a newer epoch than this peer. */
export interface EarlyGuest {
  readonly link: Link;
  readonly epoch: HostEpoch;
  readonly hello: Hello;
  readonly until: Millis;
}

// Becoming host.

/** Restores seats and objects, then asks the game to restore the rest. */
export function restore(driver: Driver, epoch: HostEpoch): void {
  const found = driver.found;
  driver.found = undefined;
  driver.wentOnFromDurable = found?.isDurable ?? false;
  const restored = found === undefined ? undefined : restoreTables(driver, found, epoch);
  if (restored === undefined) driver.state.startAnew(epoch);
  driver.output(() => {
    // The game's answer, or whatever it throws, comes as a turn of its own.
    const answer = (async () => driver.game.restoreState(restored))();
    driver.spawn(
      () => answer.then(() => undefined, (error: unknown) => ({ error })),
      (failure, now) => {
        if (failure === undefined) isRestored(driver, epoch, now);
        else console.error("understudy: the game could not restore a state, another member will be elected:", failure.error);
      },
    );
  });
}

function restoreTables(driver: Driver, { snapshot }: Found, epoch: HostEpoch): Restored {
  const { generation, tick, elapsedUs, body } = snapshot;
  const { scene, seats, objects, ledger, state: bytes, changes } = body;
  const elapsedMs = elapsedUs / 1000;
  const { state, migration } = driver;
  const isMember = (connection: ConnectionId): boolean => memberAt(migration.lobby, connection) !== undefined;
  const owners = new Set(objects.entries().map(([, { owner }]) => owner));
  const gone = [...owners].filter((owner) => owner !== undefined && !isMember(owner)) as ConnectionId[];
  const orphans = gone.flatMap((owner) => objects.orphan(owner));
  objects.disableAllBut(driver.me);
  state.seats.clear();
  for (const seat of seats) if (isMember(seat.connection)) state.seats.set(seat.connection, seat.hostData);
  state.objects = objects;
  state.tick = tick;
  state.streams = HostStreams.restore(ledger, epoch);
  for (const seat of seats) if (!isMember(seat.connection)) state.streams.forget(seat.connection);
  state.lastSaved = state.withTables({ tick, elapsedMs, scene, state: bytes }, changes);
  for (const object of orphans) driver.event({ kind: "authority_changed", object, owner: undefined });
  return { generation, tick, elapsedMs, scene, seats, objects: new Map(objects.entries()), state: bytes, changes };
}

/** The game runs: what this peer had still to say to its host, and to hear from it, is the game's now. */
function isRestored(driver: Driver, epoch: HostEpoch, now: Millis): void {
  const { state, migration, timeline, me } = driver;
  timeline.restored(now);
  migration.handleRestored(epoch);
  const { role } = migration;
  if (role.kind !== "host" || role.epoch !== epoch) return;
  driver.showRole();
  for (const guest of expectedGuests(driver)) state.away.add(guest);
  if (driver.wentOnFromDurable) state.streams.handleDurable(state.streams.ledger());
  const own = state.streams.takeOwn(me, state.own);
  const { stream } = state.own.offer();
  driver.doEffects();
  timeline.saidAgain = own.inputs.length;
  tellResumed(driver, own.resumed);
  for (const [delivery, payload] of own.told) driver.message({ from: me, delivery, payload });
  for (const [number, payload] of own.inputs) {
    driver.message({ from: me, delivery: "reliable", payload }, { epoch, from: me, stream, number });
  }
  const trace = timeline.finish(me, epoch, now);
  if (trace !== undefined) driver.event({ kind: "migrated", trace });
}

/** This peer hosts from now on. */
export function runsTheGame(driver: Driver, epoch: HostEpoch): void {
  driver.feed = newFeed();
  driver.snapshots.start(epoch);
  driver.held.forget();
  driver.state.hasPlayed = true;
}

/** Guests of the game that are there for the lobby, and will come: what is said meanwhile is kept for them. */
function expectedGuests({ state, migration, me }: Driver): ConnectionId[] {
  const there = migration.lobby.members.filter(({ presence }) => presence.state === "connected");
  return there.map(({ connection }) => connection).filter((guest) => guest !== me && state.streams.knows(guest));
}

/** Tells the lobby that the game runs. */
export function confirmReady(driver: Driver, epoch: HostEpoch): void {
  const ask = async (): Promise<ReadyAnswer> => {
    try {
      await driver.service.ready(driver.lobby, epoch);
      return "confirmed";
    } catch (error) {
      return error instanceof ServiceError && [404, 409].includes(error.status) ? "refused" : "unknown";
    }
  };
  driver.spawn(ask, (answer, now) => driver.migration.handleReady(epoch, answer, now));
}

// Letting guests in.

/** The others are being told that this peer leaves: nobody is let in any more. */
export function tellsOfLeaving({ leaving }: Driver): boolean {
  return leaving?.kind === "telling";
}

/** A peer has opened a link and said something. */
export function arrived(driver: Driver, link: Link, bytes: Uint8Array, now: Millis): void {
  const decoded = decodeFrame(bytes);
  const hello = decoded.ok && decoded.value.body.kind === "hello" ? decodeHello(decoded.value.body.payload) : undefined;
  if (!decoded.ok || hello === undefined || hello.extra.length > EXTRA_BYTES_MAX) return link.close();
  comesIn(driver, { link, epoch: decoded.value.epoch, hello, until: now + EARLY_GUEST_MS }, now);
}

/** A member whose link was for later comes in now, or comes in anew on the link that it has. */
export function saidHelloAgain(driver: Driver, link: Link, epoch: HostEpoch, payload: Uint8Array, now: Millis): void {
  const hello = decodeHello(payload);
  if (hello === undefined || hello.extra.length > EXTRA_BYTES_MAX) return fail(driver, link, "a hello that is none");
  comesIn(driver, { link, epoch, hello, until: now + EARLY_GUEST_MS }, now);
}

function comesIn(driver: Driver, guest: EarlyGuest, now: Millis): void {
  const { link, epoch, hello } = guest;
  const { state, migration } = driver;
  const { peer } = link;
  const known = state.links.get(peer);
  const isProven = memberAt(migration.lobby, peer)?.peer_key === link.peerKey;
  if (!isProven || tellsOfLeaving(driver)) return sendAway(driver, link, "it is not one of this lobby");
  if (epoch > migration.epoch) return waitsForNews(driver, guest);
  if (hello.moves && known !== undefined && known.inGame && known.peerKey === link.peerKey && driver.isHostOrElected(epoch)) {
    return moves(driver, known, guest, now);
  }
  if (known !== undefined && known !== link && driver.isHostOrElected(epoch)) {
    // A guest that dials anew has lost its old link, whether this side has noticed or not.
    hangUpGuest(driver, peer);
    lostLink(driver, peer, now);
  }
  const isTaken = hello.standby ? takesStandby(driver, peer) : migration.handleHello(peer, epoch, now);
  if (!isTaken) return sendAway(driver, link, "not host of its epoch");
  takeIn(driver, guest, now);
  if (!hello.standby) isHeldBy(driver, peer, hello.holds, now);
}

function takeIn({ state }: Driver, { link, epoch, hello }: EarlyGuest, now: Millis): void {
  const known = state.links.get(link.peer);
  if (known !== link) known?.close();
  state.links.set(link.peer, link);
  [link.epoch, link.standby, link.inGame, link.heardAt] = [epoch, hello.standby, false, now];
  [link.extra, link.offer] = [hello.extra, hello.offer];
}

/** A guest that is in the game goes on on this link: nobody has to be asked, and nothing was missed. */
function moves(driver: Driver, known: Link, guest: EarlyGuest, now: Millis): void {
  takeIn(driver, guest, now);
  if (known !== guest.link) known.close();
  welcome(driver, guest.link);
  movedTo(driver, guest.link.peer, now);
}

/** A member opens a link for later. It may not take the place of the one to this peer's own host. */
function takesStandby({ migration, state }: Driver, peer: ConnectionId): boolean {
  return migration.takesStandby(peer) && (state.links.get(peer)?.standby ?? true);
}

function waitsForNews(driver: Driver, guest: EarlyGuest): void {
  driver.early = driver.early.filter(({ link }) => link !== guest.link);
  if (driver.early.length >= EARLY_GUESTS_MAX) return sendAway(driver, guest.link, "one early hello too many");
  driver.early.push(guest);
}

function sendAway(driver: Driver, link: Link, why: string): void {
  if (driver.state.links.get(link.peer) === link) fail(driver, link, why);
  else link.close();
}

/** Lets guests try again that were ahead of this peer; sends those away that waited in vain: they dial anew once their link is down. */
export function admitEarly(driver: Driver, now: Millis): void {
  const waiting = driver.early;
  driver.early = [];
  for (const guest of waiting) {
    if (guest.epoch <= driver.migration.epoch) comesIn(driver, guest, now);
    else if (guest.until > now) driver.early.push(guest);
    else sendAway(driver, guest.link, "a hello of an epoch that did not come");
  }
}

/**
 * Lets go of guests that the lobby has lost and that are not heard here either: their links would only end by time-out. A guest that is heard
 * has lost the lobby alone, and stays.
 */
export function letSilentGuestsGo(driver: Driver, now: Millis): void {
  if (!driver.hosts) return;
  for (const { connection, presence } of driver.migration.lobby.members) {
    if (presence.state !== "disconnected" || driver.state.links.get(connection)?.isSilent(now) !== true) continue;
    hangUpGuest(driver, connection);
    lostLink(driver, connection, now);
  }
}

/** Asks the game whether a guest may come in. */
export function admit(driver: Driver, guest: ConnectionId, returning: boolean): void {
  const member = memberAt(driver.migration.lobby, guest);
  const link = driver.state.links.get(guest);
  if (member === undefined || link === undefined || tellsOfLeaving(driver)) return;
  const { player, name } = member;
  const { extra } = link;
  link.extra = new Uint8Array();
  driver.output(() => {
    const visitor = { connection: guest, player, name, returning, extra };
    const answer = (async (): Promise<Verdict> => driver.game.acceptPlayer?.(visitor) ?? "accept")();
    driver.spawn(
      () => answer.catch((error: unknown): Verdict => {
        console.error("understudy: the game did not say whether a player may come in:", error);
        return { refuse: "the game did not answer" };
      }),
      (verdict, now) => decided(driver, link, verdict, now),
    );
  });
}

/** The game has decided: the guest is welcomed with the table as it is now, and told all changes from then on. */
function decided(driver: Driver, link: Link, verdict: Verdict, now: Millis): void {
  const { state, migration } = driver;
  const guest = link.peer;
  if (tellsOfLeaving(driver) || state.links.get(guest) !== link || link.epoch !== state.epoch || !driver.hosts) return;
  if (verdict !== "accept") {
    link.tell({ kind: "refused", payload: encodeRefused(verdict.refuse) });
    link.finish();
    return migration.handleLinkDown(guest, now);
  }
  if (link.offer === undefined) return;
  const { changed, change } = state.objects.enable(guest, true);
  if (change !== undefined) state.tellChanges([change]);
  const inputsLost = welcome(driver, link);
  state.away.delete(guest);
  migration.handleAdmitted(guest);
  if (inputsLost !== undefined) driver.event({ kind: "inputs_lost", who: guest, numbers: inputsLost });
  feedSuccessor(driver, now);
  driver.doEffects();
  for (const object of changed) driver.event({ kind: "object_reconnected", object, owner: guest });
}

/** Tells a guest that it is in, and what it has missed. Returns which of its inputs are lost. */
function welcome({ state }: Driver, link: Link): Missing | undefined {
  if (link.offer === undefined) return undefined;
  const { position, inputsLost } = state.streams.handleHello(link.peer, link.offer);
  link.offer = undefined;
  const saved = state.lastSaved?.state;
  const elapsedUs = Math.round(1000 * (saved?.elapsedMs ?? 0));
  const payload = encodeWelcome({ tick: state.tick, elapsedUs, scene: saved?.scene ?? "", objects: state.objects, position });
  link.tell({ kind: "welcome", payload });
  for (const [kind, number, message] of state.streams.toSay(link.peer)) link.say(kind, number, message);
  link.inGame = true;
  return inputsLost;
}

/** What an event means for what players own. */
export function keepObjects(driver: Driver, event: SessionEvent): void {
  const { state } = driver;
  if (!driver.hosts) return;
  if (event.kind === "player_left") {
    for (const object of orphan(driver, event.connection)) driver.event({ kind: "authority_changed", object, owner: undefined });
    state.streams.forget(event.connection);
    state.away.delete(event.connection);
  } else if (event.kind === "player_disconnected") {
    const { change } = state.objects.enable(event.connection, false);
    if (change !== undefined) state.tellChanges([change]);
  }
}

function orphan({ state }: Driver, connection: ConnectionId): ObjectId[] {
  state.seats.delete(connection);
  const orphans = state.objects.orphan(connection);
  const changes = orphans.flatMap((id) => {
    const object = state.objects.object(id);
    return object === undefined ? [] : [{ kind: "placed" as const, id, object }];
  });
  state.tellChanges(changes);
  return orphans;
}
