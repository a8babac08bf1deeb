/**
 * Runs a session: hands its {@link Migration} what happens, and does what it decides.
 *
 * All happens in turns, one after the other. What takes time (requests, the game's promises) comes back as a turn of its own; what the game is
 * to hear is said at the end of a turn, so that whatever it calls meanwhile finds everything in order.
 */

import type { MigrationTrace, Role, SessionEvent } from "./events.js";
import { followLobby, noteEvent, report } from "./following.js";
import { newFeed, pumpFeed } from "./feeding.js";
import type { Game, Message } from "./game.js";
import { dial, dialStandby, Dialing, heardAgain } from "./guest.js";
import { actOnHandOver, askForLastState, beginHandOver, endHandOver } from "./handing-over.js";
import { Held } from "./holding.js";
import { admit, admitEarly, confirmReady, keepObjects, letSilentGuestsGo, restore, runsTheGame, type EarlyGuest } from "./host.js";
import { leaveWhenDue, startLeaving, type Leaving } from "./leaving.js";
import type { LobbyLink } from "./lobby-link.js";
import { closeDeadLinks, hangUp, handleSignal, lookAtUnannounced, type Unannounced } from "./links.js";
import type { Network } from "./network.js";
import type { HandOver } from "./protocol/hand-over.js";
import type { ConnectionId, HostEpoch, LobbyId, Millis } from "./protocol/id.js";
import { DIAL_RETRY_MS, HEARTBEAT_MS, LEASE_MS } from "./protocol/limits.js";
import type { LossCause, LobbyView, ServerMessage } from "./protocol/message.js";
import { memberAt } from "./protocol/lobby.js";
import type { Migration } from "./protocol/migration.js";
import type { Effect, Notice } from "./protocol/migration-types.js";
import { keepConsent, type Consent } from "./page.js";
import type { Feed } from "./protocol/standby.js";
import type { Image } from "./protocol/image.js";
import type { Sealer } from "./protocol/seal.js";
import { Snapshots, saveWhenDue, stateGiven, takeGiven } from "./saving.js";
import type { Service } from "./service.js";
import type { Settings } from "./start.js";
import type { State, Up } from "./state.js";
import { TRACES_MAX } from "./stats.js";
import { goOnSearching, search, searchDueAt, type Found, type Search } from "./taking-over.js";
import { Timeline } from "./timeline.js";
import type { Timers } from "./timers.js";

/** What a driver stands on. */
export interface Ground {
  readonly settings: Settings;
  readonly service: Service;
  readonly game: Game;
  readonly lobby: LobbyId;
  readonly migration: Migration;
  readonly state: State;
  readonly handOver: HandOver;
  readonly sealer: Sealer | undefined;
  readonly timers: Timers;
}

/** When the whole lobby is asked for. */
type Resync = "not_needed" | "asked" | Millis;

/** The driver of one session. */
export class Driver {
  readonly settings: Settings;
  readonly service: Service;
  readonly game: Game;
  readonly lobby: LobbyId;
  readonly migration: Migration;
  readonly state: State;
  readonly timers: Timers;
  readonly handOver: HandOver;
  /** What seals what goes to the lobby. */
  readonly sealer: Sealer | undefined;
  readonly snapshots = new Snapshots();
  /** What this peer holds for its host. */
  readonly held = new Held();
  readonly timeline = new Timeline();
  readonly dialing = new Dialing();
  /** What this host sends to its successor. */
  feed: Feed<Image> = newFeed();
  /** Whom the lobby asked to hand over to, until it is done with. */
  lobbysWish: ConnectionId | undefined;
  search: Search | undefined;
  /** Found, and not yet given to the game. */
  found: Found | undefined;
  wentOnFromDurable = false;
  /** The newest tick that the host announced which this guest follows. */
  announcedTick = 0;
  /** Why the lobby has lost its host, until another is elected. */
  loss: LossCause | undefined;
  /** The newest election was a wish. */
  planned = false;
  reportAt: Millis;
  /** Since the last heartbeat: what was heard, and the host does not know of yet. */
  unsaid = { messages: 0, bytes: 0 };
  /** Guests that know a newer epoch than this peer. */
  early: EarlyGuest[] = [];
  /** Offers of processes that the lobby does not name yet. */
  unannounced: Unannounced[] = [];
  leaving: Leaving | undefined;
  /** The tab is hidden, and its game is to run elsewhere. */
  isHidden = false;
  /** Whether this peer may be elected, as far as the lobby was told. */
  readonly consent: Consent;
  lobbyReachable = true;
  over = false;
  traces: readonly MigrationTrace[] = [];
  /** Kept once the session is over. */
  readonly ending: Promise<void>;
  private resyncAt: Resync = "not_needed";
  private heartbeatAt: Millis;
  private turns: ((now: Millis) => void)[] = [];
  private outputs: (() => void)[] = [];
  private isTurning = false;
  private isWoken = false;
  private alarm: { readonly at: Millis; readonly cancel: () => void } | undefined;
  private network: Network | undefined;
  private lobbyLink: LobbyLink | undefined;
  private ended: () => void = () => undefined;

  constructor(ground: Ground) {
    ({
      settings: this.settings,
      service: this.service,
      game: this.game,
      lobby: this.lobby,
      migration: this.migration,
      state: this.state,
      handOver: this.handOver,
      sealer: this.sealer,
      timers: this.timers,
    } = ground);
    const canHost = memberAt(this.migration.lobby, this.me)?.can_host ?? false;
    this.consent = { told: canHost, isTelling: false, againAt: 0 };
    this.reportAt = this.now();
    this.heartbeatAt = this.now() + HEARTBEAT_MS;
    this.ending = new Promise((resolve) => (this.ended = resolve));
  }

  /** Begins. */
  begin(network: Network, lobbyLink: LobbyLink): void {
    [this.network, this.lobbyLink] = [network, lobbyLink];
    void lobbyLink.run();
    this.run(() => undefined);
  }

  get me(): ConnectionId {
    return this.migration.me;
  }

  now(): Millis {
    return performance.now();
  }

  /** Makes links. */
  get net(): Network {
    if (this.network === undefined) throw new Error("a driver begins with a network");
    return this.network;
  }

  /** Runs this as a turn of its own: now, or after the one that is under way. */
  run(turn: (now: Millis) => void): void {
    this.turns.push(turn);
    if (this.isTurning) return;
    this.isTurning = true;
    // Bounded by what comes in meanwhile: each turn ends what it began.
    for (let next = this.turns.shift(); next !== undefined && !this.over; next = this.turns.shift()) this.turn(next);
    this.turns = [];
    this.isTurning = false;
    this.setAlarm();
  }

  /** Does what takes time, and what follows from it as a turn. What the work throws is a fault of this package. */
  spawn<T>(work: () => Promise<T>, done: (value: T, now: Millis) => void): void {
    work().then((value) => this.run((now) => done(value, now)), showFault);
  }

  /** The game has left something to look at. */
  wake(): void {
    if (this.isWoken) return;
    this.isWoken = true;
    queueMicrotask(() =>
      this.run((now) => {
        this.isWoken = false;
        stateGiven(this, now);
      }),
    );
  }

  saveNow(): void {
    this.run((now) => this.snapshots.saveSoon(now));
  }

  askHandOver(to: ConnectionId): void {
    this.run((now) => {
      if (!beginHandOver(this, to, "game", now)) this.event({ kind: "hand_over_failed", to, why: "successor_gone" });
    });
  }

  leave(): Promise<void> {
    this.run((now) => startLeaving(this, now));
    return this.ending;
  }

  /** Tells the game. */
  event(event: SessionEvent): void {
    if (event.kind === "migrated") this.traces = [...this.traces, event.trace].slice(-TRACES_MAX);
    this.output(() => this.game.onEvent?.(event));
  }

  /** Gives a message to the game: a numbered one is part of it from then on. */
  message(message: Message, up?: Up): void {
    this.output(() => {
      if (up === undefined || this.state.takes(up)) this.game.onMessage(message);
    });
  }

  /** Says something to the game, after what was said before. */
  output(say: () => void): void {
    this.outputs.push(say);
  }

  /** Says something to the lobby. */
  say(message: Parameters<LobbyLink["say"]>[0]): void {
    this.lobbyLink?.say(message);
  }

  /** The event socket. */
  get events(): LobbyLink | undefined {
    return this.lobbyLink;
  }

  /** The lobby said something. */
  heard(message: ServerMessage): void {
    this.run((now) => this.lobbySaid(message, now));
  }

  reachable(isOpen: boolean): void {
    this.run(() => {
      if (isOpen === this.lobbyReachable) return;
      this.lobbyReachable = isOpen;
      this.event({ kind: isOpen ? "lobby_reachable" : "lobby_unreachable" });
    });
  }

  /** Ends the session. */
  end(last: SessionEvent): void {
    if (this.over) return;
    this.event(last);
    this.over = true;
    for (const link of this.state.links.values()) link.close();
    this.state.links.clear();
    this.network?.close();
    this.lobbyLink?.close();
    this.alarm?.cancel();
    this.timers.close();
    this.ended();
  }

  /** Whether the lobby still waits for this peer to take over, or it has. */
  isHostOrElected(epoch: HostEpoch): boolean {
    const { role } = this.migration;
    return (role.kind === "host" || role.kind === "becoming") && role.epoch === epoch;
  }

  /** It hosts, or becomes host. */
  get hosts(): boolean {
    const { kind } = this.migration.role;
    return kind === "host" || kind === "becoming";
  }

  follows(peer: ConnectionId): boolean {
    const { role } = this.migration;
    return role.kind === "guest" && role.host === peer;
  }

  isInGame(peer: ConnectionId): boolean {
    return this.state.links.get(peer)?.inGame ?? false;
  }

  /** Says on all links that this peer is there, and how far it has heard. */
  beat(now: Millis): void {
    this.unsaid = { messages: 0, bytes: 0 };
    const { state } = this;
    const hosts = state.role === "host" || state.role === "handing_over";
    const heard = hosts ? { received: 0, receivedStable: 0 } : state.own.receivedOf(state.epoch);
    for (const link of state.links.values()) link.beat(state.tick, heard, now);
  }

  /** Asks the lobby for everything. */
  resync(): void {
    if (this.resyncAt === "asked") return;
    this.resyncAt = "asked";
    this.spawn(
      () => this.service.lobby(this.lobby).catch(() => undefined),
      (view, now) => this.resynced(view, now),
    );
  }

  /** Does what the machine has decided. */
  doEffects(): void {
    for (let effect = this.migration.pollEffect(); effect !== undefined; effect = this.migration.pollEffect()) {
      this.showRole();
      this.doEffect(effect);
    }
    this.showRole();
  }

  /** What this peer is now, as the game sees it. */
  showRole(): void {
    const { state, migration } = this;
    state.epoch = migration.epoch;
    state.role = roleOf(migration, state.frozen);
    if (state.role === "becoming" || state.role === "host" || state.role === "handing_over") return;
    // What only a host keeps.
    state.seats.clear();
    state.away.clear();
    state.given = undefined;
  }

  private turn(turn: (now: Millis) => void): void {
    try {
      const now = this.now();
      turn(now);
      if (this.over) return;
      this.doEffects();
      this.doWhatIsDue(now);
    } catch (error) {
      showFault(error);
    } finally {
      this.tellTheGame();
    }
  }

  private tellTheGame(): void {
    while (this.outputs.length > 0) {
      const outputs = this.outputs;
      this.outputs = [];
      for (const say of outputs) {
        try {
          say();
        } catch (error) {
          showFault(error);
        }
      }
    }
  }

  private setAlarm(): void {
    if (this.over) return;
    const at = this.wakeAt();
    if (this.alarm !== undefined && this.alarm.at <= at) return;
    this.alarm?.cancel();
    const ring = (): void => {
      this.alarm = undefined;
      this.run(() => undefined);
    };
    this.alarm = { at, cancel: this.timers.after(Math.max(0, at - this.now()), ring) };
  }

  private wakeAt(): Millis {
    const others = [
      this.migration.pollTimeout(),
      this.snapshots.nextDueAt(),
      this.state.given === undefined ? undefined : this.snapshots.restsUntil,
      this.feed.pollTimeout(),
      this.handOver.pollTimeout(),
      searchDueAt(this),
      this.leaving?.kind === "telling" ? undefined : this.leaving?.until,
      typeof this.resyncAt === "number" ? this.resyncAt : undefined,
      ...this.early.map(({ until }) => until),
    ];
    return others.reduce<Millis>((least, at) => Math.min(least, at ?? least), this.heartbeatAt);
  }

  private doWhatIsDue(now: Millis): void {
    const hasPaused = now >= this.heartbeatAt + HEARTBEAT_MS;
    if (hasPaused) {
      // This process stood still: what others said meanwhile is taken first.
      this.migration.handlePaused(now);
      if (now >= this.heartbeatAt + LEASE_MS) this.lobbyLink?.renew();
      for (const link of this.state.links.values()) link.heardAt = now;
    }
    if ((this.migration.pollTimeout() ?? Number.POSITIVE_INFINITY) <= now) {
      this.migration.handleTimeout(now);
      this.doEffects();
    }
    if (this.heartbeatAt <= now) this.doEachHeartbeat(now, hasPaused);
    if (typeof this.resyncAt === "number" && this.resyncAt <= now) this.resync();
    takeGiven(this, now);
    saveWhenDue(this, now);
    pumpFeed(this, now);
    this.handOver.handleTimeout(now);
    actOnHandOver(this, now);
    goOnSearching(this, now);
    leaveWhenDue(this, now);
    admitEarly(this, now);
    this.doEffects();
  }

  private doEachHeartbeat(now: Millis, hasPaused: boolean): void {
    if (!hasPaused) {
      letSilentGuestsGo(this, now);
      closeDeadLinks(this, now);
    }
    this.heartbeatAt = now + HEARTBEAT_MS;
    this.beat(now);
    report(this, now);
    askForLastState(this, now);
    keepConsent(this, now);
  }

  private lobbySaid(message: ServerMessage, now: Millis): void {
    switch (message.type) {
      case "event":
        this.held.isSuccessor = this.isKeptWarm();
        noteEvent(this, message, now);
        this.migration.handleEvent(message, now);
        lookAtUnannounced(this, now);
        return followLobby(this, now);
      case "resync":
        return this.resynced(message.lobby, now);
      case "challenge":
        return this.migration.handleChallenge(message.epoch, now);
      case "signal":
        return handleSignal(this, message, now);
      case "closing":
        if (message.reason === "replaced") return this.end({ kind: "replaced" });
        if (["not_member", "kicked", "banned", "lobby_closed"].includes(message.reason)) this.migration.handleRemoved();
    }
  }

  /** The host feeds this peer, as its successor. */
  private isKeptWarm(): boolean {
    const { kind } = this.migration.role;
    if (kind === "guest") return this.migration.lobby.successor === this.me;
    return kind === "becoming" && this.held.isSuccessor;
  }

  private resynced(view: LobbyView | undefined, now: Millis): void {
    this.resyncAt = view === undefined ? now + DIAL_RETRY_MS : "not_needed";
    if (view === undefined) return;
    this.migration.handleResync(view, now);
    lookAtUnannounced(this, now);
    followLobby(this, now);
  }

  private doEffect(effect: Effect): void {
    const now = this.now();
    switch (effect.kind) {
      case "dial":
        return dial(this, effect.host, effect.peerKey, effect.epoch, now);
      case "dial_standby":
        return dialStandby(this, effect.successor, effect.peerKey, effect.epoch, now);
      case "hang_up":
        hangUp(this, effect.peer);
        this.feed.handleLinkDown(effect.peer);
        return this.handOver.handleLinkDown(effect.peer);
      case "fetch":
        return search(this, effect.epoch, now);
      case "restore":
        return restore(this, effect.epoch);
      case "confirm_ready":
        return confirmReady(this, effect.epoch);
      // A browser has no relay to show it to.
      case "present_grant":
        return;
      case "admit":
        return admit(this, effect.guest, effect.returning);
      case "upload":
        return this.snapshots.storeFrom(now);
      case "report":
        this.say({ type: "report", epoch: effect.epoch, hears_host: effect.hearsHost });
        if (effect.hearsHost) heardAgain(this);
        return;
      case "hears":
        return this.say({ type: "hears", epoch: effect.epoch, guests: effect.guests });
      case "resync":
        return this.resync();
      case "notify":
        return this.notice(effect.notice, now);
    }
  }

  private notice(notice: Notice, now: Millis): void {
    if (notice.kind === "removed") {
      // A session that leaves is told so by its own answer.
      if (this.leaving === undefined) this.end(notice);
      return;
    }
    if (notice.kind === "disconnected_from_host") {
      this.dialing.isSilent = true;
      this.timeline.noticed(now);
    }
    if (notice.kind === "became_host") runsTheGame(this, notice.epoch);
    if (notice.kind === "demoted") endHandOver(this);
    this.event(notice);
    keepObjects(this, notice);
  }
}

function roleOf({ role }: Migration, frozen: boolean): Role {
  switch (role.kind) {
    case "waiting":
    case "out":
      return "waiting";
    case "guest":
      return role.link.kind === "in_game" ? "guest" : "joining";
    case "becoming":
      return "becoming";
    case "host":
      return frozen ? "handing_over" : "host";
  }
}

/** Whatever is thrown here is a fault of the game or of this package; the session goes on. */
function showFault(error: unknown): void {
  console.error("understudy:", error);
}
