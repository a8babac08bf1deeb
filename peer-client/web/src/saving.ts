/**
 * A host's states: when the game is asked for one, and what becomes of each that it gives.
 *
 * Each state becomes an {@link Image}. Images go to the successor ({@link ./feeding}), and at the interval of snapshots to the lobby, as the
 * difference to the one before where that is smaller. Once one is durable, guests forget what it covers, and what waited for it goes out.
 */

import type { Driver } from "./driver.js";
import { HostError, ServiceError } from "./errors.js";
import { offer } from "./feeding.js";
import { lastSaveIsDone } from "./leaving.js";
import { compareGenerations, type Generation } from "./protocol/generation.js";
import type { HostEpoch, Millis } from "./protocol/id.js";
import { Image } from "./protocol/image.js";
import type { Ledger } from "./protocol/journal.js";
import type { Settled } from "./protocol/host-streams.js";
import { FEED_IN_FLIGHT_MAX } from "./protocol/limits.js";
import { deltaFrom, toRecord } from "./protocol/seal.js";
import type { Saved } from "./state.js";

/** The first snapshot of an epoch is tried again after this long. */
const FIRST_SNAPSHOT_RETRY_MS = 250;
/** A game that has given a state unasked within this time is not asked: its next one serves. */
const UNASKED_MS = 250;
/** Deltas on one snapshot: with as many bytes as the snapshot, a new one begins sooner. */
const DELTAS_MAX = 64;
/** Hashing and comparing a large state takes the page's own time: after each so many times what it took is left to the game. */
const REST = 3;
/** Ledgers of states that are not durable yet. */
const LEDGERS_MAX = 2 * FEED_IN_FLIGHT_MAX;

/** A state, as it goes to others. */
export interface Kept {
  readonly image: Image;
  readonly ledger: Ledger;
  readonly givenAt: Millis;
}

/** What the lobby has. */
export interface Durable {
  readonly image: Image;
  /** When it was given, or came. */
  readonly at: Millis;
  /** Deltas since the last snapshot, and their bytes. */
  readonly deltas: number;
  readonly deltaBytes: number;
}

/** What became of an upload. */
type Uploaded = { readonly bytes: number; readonly isDelta: boolean } | { readonly reason: string; readonly isRefused: boolean };

/** What of the game's states is where. */
export class Snapshots {
  epoch: HostEpoch = 0;
  /** The next state is to be stored. */
  wanted = false;
  /** The game has been asked and has not answered yet. */
  asked = false;
  newest: Kept | undefined;
  uploading = false;
  /** The newest that waits for the upload under way. */
  waiting: Kept | undefined;
  /** What the lobby has, to make differences to. */
  durable: Durable | undefined;
  /** The newest durable state was given then. */
  durableGivenAt: Millis | undefined;
  /** The game last gave one unasked. */
  unaskedAt: Millis | undefined;
  /** Until then the page's time is the game's. */
  restsUntil: Millis = 0;
  /** When one is to be stored next; `undefined`: this peer does not host. */
  dueAt: Millis | undefined;
  /** What guests have said and heard in states that are not durable yet. */
  ledgers: { readonly generation: Generation; readonly ledger: Ledger }[] = [];
  /** The state that this host went on from, so that numbers go on. */
  wentOnFrom: Generation | undefined;
  private nextSeq = 0;

  /** This peer runs the game from now on. */
  start(epoch: HostEpoch): void {
    this.epoch = epoch;
    this.nextSeq = this.wentOnFrom?.epoch === epoch ? this.wentOnFrom.seq + 1 : 0;
    this.wanted = this.asked = this.uploading = false;
    this.newest = this.waiting = this.durableGivenAt = this.unaskedAt = this.dueAt = undefined;
    this.ledgers = [];
  }

  /** The lobby takes snapshots of this host: the first is due. */
  storeFrom(now: Millis): void {
    this.dueAt = now;
  }

  /** This peer hosts no more, or is about to leave. */
  stop(): void {
    this.dueAt = undefined;
    this.wanted = false;
  }

  /** This host goes on from this state, and the lobby has this one. */
  goOnFrom(from: Generation | undefined, durable: Durable | undefined): void {
    [this.wentOnFrom, this.durable] = [from, durable];
  }

  /** Nothing is asked for, nor under way. */
  get isIdle(): boolean {
    return !this.asked && !this.uploading && !this.wanted;
  }

  saveSoon(now: Millis): void {
    if (this.dueAt !== undefined) this.dueAt = now;
  }

  /** When one is due. A game that has not answered is not asked again. */
  nextDueAt(): Millis | undefined {
    return this.asked ? undefined : this.dueAt;
  }

  givesUnasked(now: Millis): boolean {
    return this.unaskedAt !== undefined && now - this.unaskedAt < UNASKED_MS;
  }

  next(): Generation {
    const seq = this.nextSeq;
    this.nextSeq += 1;
    return { epoch: this.epoch, seq };
  }

  /** What the next upload's difference is made to, if one is worth it. */
  base(): Image | undefined {
    const { durable } = this;
    const isWorth = durable !== undefined && durable.deltas < DELTAS_MAX && durable.deltaBytes < durable.image.bytes.length;
    return isWorth ? durable.image : undefined;
  }
}

// From the game to an image.

/** Has the next state stored, once that is due. */
export function saveWhenDue(driver: Driver, now: Millis): void {
  const { snapshots, migration } = driver;
  const { role } = migration;
  if (role.kind !== "host" || role.epoch !== snapshots.epoch) return snapshots.stop();
  const dueAt = snapshots.nextDueAt();
  if (dueAt === undefined || dueAt > now) return;
  snapshots.dueAt = now + driver.settings.snapshotIntervalMs;
  const isOverdue = snapshots.wanted;
  snapshots.wanted = true;
  if (isOverdue || !snapshots.givesUnasked(now)) askForState(driver);
}

/** Asks the game for its state, unless it owes one. */
export function askForState(driver: Driver): void {
  const { snapshots, state } = driver;
  if (snapshots.asked) return;
  snapshots.asked = true;
  const { epoch } = snapshots;
  driver.output(() => {
    let answer: Saved | HostError | undefined;
    try {
      const given = state.role === "host" ? driver.game.saveState() : undefined;
      answer = given && state.save(given);
      // What it gave before is older.
      if (answer !== undefined) state.given = undefined;
    } catch (error) {
      console.error("understudy: the game could not save its state:", error);
      answer = error instanceof HostError ? error : undefined;
    }
    driver.run((now) => saved(driver, epoch, answer, now));
  });
}

/** The game has answered, or skipped. */
function saved(driver: Driver, epoch: HostEpoch, answer: Saved | HostError | undefined, now: Millis): void {
  const { snapshots } = driver;
  if (epoch !== snapshots.epoch || !driver.isHostOrElected(epoch)) return;
  snapshots.asked = false;
  if (answer !== undefined && !(answer instanceof HostError)) return given(driver, answer, now);
  if (answer !== undefined) driver.event({ kind: "snapshot_failed", generation: snapshots.next(), reason: "the scene's name is too long" });
  hasNoState(driver, now);
}

/** The game has none. If it never had any, what it has taken is as durable as it gets. */
function hasNoState(driver: Driver, now: Millis): void {
  const { snapshots, state } = driver;
  snapshots.wanted = false;
  if (snapshots.newest === undefined && snapshots.wentOnFrom === undefined) settle(driver, state.streams.settledByNow());
  driver.handOver.handleNotFrozen();
  lastSaveIsDone(driver, now);
}

/** The game has given a state unasked. */
export function stateGiven(driver: Driver, now: Millis): void {
  driver.snapshots.unaskedAt = now;
  takeGiven(driver, now);
}

/** Takes the state that the game gave last, unless those before it have taken too much of the page's time: then a newer one may take its place. */
export function takeGiven(driver: Driver, now: Millis): void {
  const { state, snapshots } = driver;
  const saved = state.given;
  if (saved === undefined || (!saved.isLast && now < snapshots.restsUntil)) return;
  state.given = undefined;
  given(driver, saved, now);
  const end = driver.now();
  snapshots.restsUntil = end + REST * (end - now);
}

function given(driver: Driver, saved: Saved, now: Millis): void {
  const { snapshots, migration, settings } = driver;
  if (!driver.isHostOrElected(snapshots.epoch)) return;
  const generation = snapshots.next();
  const { state, changes, objects, ledger } = saved;
  const seats = saved.seats.map((seat) => ({ ...seat, played: migration.hasPlayed(seat.connection) }));
  const body = { buildId: settings.buildId, scene: state.scene, seats, objects, ledger, state: state.state, changes: [...changes] };
  const image = Image.of({ generation, tick: state.tick, elapsedUs: Math.round(1000 * state.elapsedMs), body });
  if (image.ok) return keep(driver, { image: image.value, ledger, givenAt: now }, saved.isLast, now);
  driver.event({ kind: "snapshot_failed", generation, reason: `the state cannot be kept: ${image.error}` });
  hasNoState(driver, now);
}

function keep(driver: Driver, kept: Kept, isLast: boolean, now: Millis): void {
  const { snapshots, state } = driver;
  const { generation } = kept.image;
  snapshots.newest = kept;
  if (snapshots.ledgers.length === LEDGERS_MAX) snapshots.ledgers.shift();
  snapshots.ledgers.push({ generation, ledger: kept.ledger });
  // Of a hand-over that came to nothing meanwhile it is one like any other.
  if (isLast && state.frozen) driver.handOver.handleFrozen(generation);
  offer(driver, kept.image, now);
  if (snapshots.wanted) {
    snapshots.wanted = false;
    if (snapshots.uploading) snapshots.waiting = kept;
    else upload(driver, kept);
  }
  // Nobody can take over: there is nothing to wait for.
  if (!driver.lobbyReachable && driver.feed.successor === undefined) settleState(driver, generation);
}

// To the lobby, and what follows.

function upload(driver: Driver, kept: Kept): void {
  const base = driver.snapshots.base();
  driver.snapshots.uploading = true;
  driver.spawn(
    () => store(driver, kept.image, base),
    (uploaded, now) => stored(driver, kept, uploaded, now),
  );
}

async function store({ service, lobby, sealer }: Driver, image: Image, base: Image | undefined): Promise<Uploaded> {
  try {
    const delta = base === undefined ? undefined : await deltaFrom(image, base, sealer);
    if (delta?.ok === true && delta.value.length <= image.bytes.length / 2) {
      try {
        await service.patchSnapshot(lobby, delta.value);
        return { bytes: delta.value.length, isDelta: true };
      } catch (error) {
        if (!(error instanceof ServiceError) || error.code !== "delta_base_missing") throw error;
      }
    }
    const record = await toRecord(image, sealer);
    if (!record.ok) return { reason: record.error, isRefused: false };
    await service.putSnapshot(lobby, record.value);
    return { bytes: record.value.length, isDelta: false };
  } catch (error) {
    // Refused: the lobby has another host, or is not there.
    const isRefused = error instanceof ServiceError && [404, 409].includes(error.status);
    return { reason: String(error), isRefused };
  }
}

function stored(driver: Driver, kept: Kept, uploaded: Uploaded, now: Millis): void {
  const { snapshots } = driver;
  const { generation, tick } = kept.image;
  if (generation.epoch !== snapshots.epoch || !driver.isHostOrElected(generation.epoch)) return;
  snapshots.uploading = false;
  if ("bytes" in uploaded) {
    isDurable(driver, kept, uploaded.bytes, uploaded.isDelta);
    driver.event({ kind: "snapshot_stored", generation, tick, bytes: uploaded.bytes });
  } else {
    driver.event({ kind: "snapshot_failed", generation, reason: uploaded.reason });
    // What the lobby has is not known any more.
    snapshots.durable = undefined;
    if (uploaded.isRefused) driver.resync();
    else if (generation.seq === 0) snapshots.dueAt = now + FIRST_SNAPSHOT_RETRY_MS;
  }
  const { waiting } = snapshots;
  snapshots.waiting = undefined;
  if (waiting !== undefined) upload(driver, waiting);
  else lastSaveIsDone(driver, now);
}

function isDurable(driver: Driver, { image, givenAt }: Kept, bytes: number, isDelta: boolean): void {
  const { snapshots } = driver;
  const before = isDelta ? snapshots.durable : undefined;
  snapshots.durableGivenAt = givenAt;
  snapshots.durable = {
    image,
    at: givenAt,
    deltas: before === undefined ? 0 : before.deltas + 1,
    deltaBytes: before === undefined ? 0 : before.deltaBytes + bytes,
  };
  settleState(driver, image.generation);
}

/** This state is durable, or as durable as it gets for now. */
export function settleState(driver: Driver, generation: Generation): void {
  const { ledgers } = driver.snapshots;
  const isSettled = ({ generation: older }: { readonly generation: Generation }): boolean => compareGenerations(older, generation) <= 0;
  const settled = ledgers.filter(isSettled).at(-1);
  driver.snapshots.ledgers = ledgers.filter((entry) => !isSettled(entry));
  if (settled !== undefined) settle(driver, driver.state.streams.handleDurable(settled.ledger));
}

/** Guests forget what is durable, and hear what waited for that. */
function settle(driver: Driver, settled: readonly Settled[]): void {
  const { state } = driver;
  for (const one of settled) {
    if (one.connection === driver.me) {
      state.own.handleDurable(one.applied);
      hearOwn(driver, one);
      continue;
    }
    const link = state.links.get(one.connection);
    if (link?.inGame !== true || link.epoch !== state.epoch) continue;
    if (one.applied > 0) link.tell({ kind: "durable", number: one.applied });
    for (const [number, payload] of state.streams.released(one)) link.say("after_stable", number, payload);
  }
}

/** What this host, or the one before it, had to say to this very seat once it is durable. */
function hearOwn(driver: Driver, settled: Settled): void {
  const { state, me } = driver;
  for (const [number, payload] of state.streams.released(settled)) {
    if (state.own.receive("after_stable", number) === "next") driver.message({ from: me, delivery: "after_stable", payload });
  }
  const { received, receivedStable } = state.own.receivedOf(state.epoch);
  state.streams.heard(me, received, receivedStable);
}
