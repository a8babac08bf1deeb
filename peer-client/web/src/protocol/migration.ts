import { Detector } from "./detector.js";
import type { ConnectionId, HostEpoch, Millis, PeerKey } from "./id.js";
import { DIAL_RETRY_MS, HEARTBEAT_MS, REPORT_INTERVAL_MS, SUSPICION_MS } from "./limits.js";
import { applyEvent, hostOf, memberAt } from "./lobby.js";
import type { EventBody, LeaveReason, LobbyEvent, LobbyView } from "./message.js";
import type { Admission, Effect, Notice, ReadyAnswer, Role } from "./migration-types.js";

/*
 * One peer's view of its lobby: who is host, which epoch counts, what to do when the host is lost.
 *
 *   guest:    dialing ──link up, welcome──▶ in game ──silent, link down──▶ dialing, or the guest of the next host
 *   elected:  fetching ──▶ restoring ──▶ host, which the lobby is told meanwhile
 *   host:     a higher epoch in the lobby ──▶ demoted: guest of the new host
 *
 * `migration.rs` is the original; each method does what its namesake there does, in the same order.
 */

/** Whether the lobby knows that a host is ready: it does, or it is told, or told again at this time. */
type Confirmation = { readonly kind: "done" } | { readonly kind: "asking"; readonly againAt: Millis | undefined };

/** A guest's link to the successor. `againAt` is `undefined` while it is up, or an attempt is under way. */
interface Standby {
  readonly successor: ConnectionId;
  readonly peerKey: PeerKey;
  readonly up: boolean;
  readonly againAt: Millis | undefined;
}

interface Guest {
  readonly heardAt: Millis;
  readonly inGame: boolean;
}

/** One peer in one lobby: `handle…` in, {@link Migration.pollEffect} out. The lobby's events alone say who is host. */
export class Migration {
  /** This peer's seat. */
  readonly me: ConnectionId;
  #lobby: LobbyView;
  #role: Role;
  /** Links of guests, while this peer is host or becomes it. */
  readonly #guests = new Map<ConnectionId, Guest>();
  /** Who was in the game before, on this host or one before it. */
  #known = new Set<ConnectionId>();
  #wasInGame: boolean;
  #confirmation: Confirmation = { kind: "done" };
  /** When the host that this guest follows is silent. */
  #detector = new Detector();
  #standby: Standby | undefined;
  /** The successor before, while the new one is not reached yet. */
  #formerStandby: ConnectionId | undefined;
  /** Since when the lobby has lost the host that this guest follows, and when the lobby was last told that it is heard. */
  #lobbyLostHost: { readonly lostAt: Millis; told: Millis | undefined } | undefined;
  readonly #effects: Effect[] = [];

  /** A peer that has just created the lobby and so runs its game at the first epoch, or that has just joined it. */
  constructor(me: ConnectionId, lobby: LobbyView, created: boolean, now: Millis) {
    this.me = me;
    this.#lobby = lobby;
    this.#role = created ? { kind: "host", epoch: lobby.epoch } : { kind: "waiting" };
    this.#wasInGame = created;
    if (created) {
      this.#startsToHost(lobby.epoch);
      this.#isConfirmed(lobby.epoch);
    }
    this.#followLobby(now);
  }

  /** The lobby, as far as this peer knows. */
  get lobby(): LobbyView {
    return this.#lobby;
  }

  /** What it is. */
  get role(): Role {
    return this.#role;
  }

  /** The epoch that its frames carry. */
  get epoch(): HostEpoch {
    return "epoch" in this.#role ? this.#role.epoch : this.#lobby.epoch;
  }

  /** The guests that are in the game, while this peer is host, by connection id. */
  guestsInGame(): ConnectionId[] {
    return this.#guestsWhere((guest) => guest.inGame);
  }

  /** What is to be done next. */
  pollEffect(): Effect | undefined {
    return this.#effects.shift();
  }

  /** When {@link Migration.handleTimeout} has something to do. */
  pollTimeout(): Millis | undefined {
    return earliest(this.#ownTimeout(), this.#standby?.againAt);
  }

  /** The next event of the lobby. One that is not the next asks for a resync and changes nothing. */
  handleEvent(event: LobbyEvent, now: Millis): void {
    if (event.seq <= this.#lobby.seq) return;
    const next = applyEvent(this.#lobby, event);
    if (next === undefined) {
      this.#push({ kind: "resync" });
      return;
    }
    this.#lobby = next;
    this.#tellOf(event, now);
    this.#followLobby(now);
  }

  /** The whole lobby. One that is older than what this peer knows is ignored. */
  handleResync(lobby: LobbyView, now: Millis): void {
    const before = this.#lobby;
    if ((lobby.epoch - before.epoch || lobby.seq - before.seq) < 0) return;
    this.#lobby = lobby;
    this.#notify({ kind: "peers_updated" });
    for (const { connection, peer_key } of before.members) {
      const member = memberAt(lobby, connection);
      // Why is not known any more; that it is gone is what counts.
      if (member === undefined) this.#memberLeft(connection, "left");
      else if (member.peer_key !== peer_key) this.#memberRestarted(connection, now);
    }
    this.#followLobby(now);
  }

  /** The service says that this peer has no seat (any more). */
  handleRemoved(): void {
    this.#leaveLinks();
    this.#role = { kind: "out" };
    this.#notify({ kind: "removed" });
  }

  /** A relay says which epoch is the host's. A hint: if it is news, the lobby is asked. */
  handleRelayHint(epoch: HostEpoch): void {
    if (epoch > this.#lobby.epoch) this.#push({ kind: "resync" });
  }

  /** The lobby asks whom this host hears. */
  handleChallenge(epoch: HostEpoch, now: Millis): void {
    if (!this.#isHostAt(epoch)) return;
    const guests = this.#guestsWhere((guest) => Math.max(0, now - guest.heardAt) < SUSPICION_MS);
    this.#push({ kind: "hears", epoch, guests });
  }

  /** Fences a frame by its epoch, and notes that its sender lives. Anything but `accept` is to be dropped. */
  admit(from: ConnectionId, epoch: HostEpoch, now: Millis): Admission {
    if (epoch > this.epoch) return "ahead";
    if (epoch < this.epoch) return "stale";
    switch (this.#role.kind) {
      case "guest":
        if (this.#role.host !== from) return "stale";
        this.#hostHeard(now);
        return "accept";
      case "host":
      case "becoming": {
        const guest = this.#guests.get(from);
        if (guest === undefined) return "stale";
        this.#guests.set(from, { ...guest, heardAt: now });
        return "accept";
      }
      case "waiting":
      case "out":
        return "stale";
    }
  }

  /** The link to the successor is up: the one to the successor before it is not needed any more. */
  handleStandbyUp(successor: ConnectionId): void {
    if (this.#standby?.successor !== successor) return;
    this.#standby = { ...this.#standby, up: true };
    this.#hangUpFormerStandby();
  }

  /** This process stood still until now: others were not silent meanwhile, it was deaf. */
  handlePaused(now: Millis): void {
    this.#detector.paused(now);
  }

  /** A member opens a link to this one, because it is the successor. Returns false if it is to be hung up. */
  takesStandby(from: ConnectionId): boolean {
    const isMember = memberAt(this.#lobby, from) !== undefined;
    if (this.#role.kind === "guest") return this.#role.host !== from && isMember;
    return this.#role.kind === "waiting" && isMember;
  }

  /** A link could not be opened, or is down. */
  handleLinkDown(peer: ConnectionId, now: Millis): void {
    const againAt = now + DIAL_RETRY_MS;
    if (this.#standby?.successor === peer) this.#standby = { ...this.#standby, up: false, againAt };
    if (this.#formerStandby === peer) this.#formerStandby = undefined;
    const role = this.#role;
    if (role.kind === "guest" && role.host === peer) {
      this.#role = { ...role, link: { kind: "dialing", againAt } };
      if (role.link.kind === "in_game") this.#losesHost(role.host, role.epoch);
    } else if (role.kind === "host" || role.kind === "becoming") {
      const wasInGame = this.#guests.get(peer)?.inGame === true;
      this.#guests.delete(peer);
      if (wasInGame) this.#notify({ kind: "player_disconnected", connection: peer });
    }
  }

  /** The host let this guest in. */
  handleWelcome(from: ConnectionId, now: Millis): void {
    if (this.#role.kind !== "guest" || this.#role.host !== from) return;
    const { host, epoch } = this.#role;
    this.#role = { kind: "guest", host, epoch, link: { kind: "in_game", heardAt: now, hears: true } };
    this.#detector = new Detector();
    this.#detector.heard(now);
    this.#push({ kind: "report", epoch, hearsHost: true });
    const hasMoved = this.#wasInGame && !this.#known.has(host);
    this.#known = new Set([host]);
    this.#wasInGame = true;
    this.#notify({ kind: hasMoved ? "host_migrated" : "joined_game", host, epoch });
    this.#followSuccessor();
  }

  /** The host says goodbye: the lobby will tell who is next. */
  handleGoodbye(from: ConnectionId, now: Millis): void {
    if (this.#role.kind !== "guest" || this.#role.host !== from) return;
    this.#notify({ kind: "host_shut_down", host: from });
    this.handleLinkDown(from, now);
    this.#push({ kind: "hang_up", peer: from });
  }

  /**
   * A member, proven by its certificate, has opened a link and said hello at this epoch. It is let in once the game runs. Returns false
   * if it is to be hung up: it speaks of another epoch, or this peer is not host.
   */
  handleHello(from: ConnectionId, epoch: HostEpoch, now: Millis): boolean {
    const role = this.#role;
    if (role.kind !== "host" && role.kind !== "becoming") return false;
    if (epoch !== role.epoch || memberAt(this.#lobby, from) === undefined) return false;
    this.#guests.set(from, { heardAt: now, inGame: false });
    if (role.kind === "host") this.#push({ kind: "admit", guest: from, returning: this.#known.has(from) });
    return true;
  }

  /** The game has let a guest in, and it was welcomed. */
  handleAdmitted(guest: ConnectionId): void {
    const state = this.#guests.get(guest);
    if (state === undefined) return;
    this.#guests.set(guest, { ...state, inGame: true });
    const returns = this.#known.has(guest);
    this.#known.add(guest);
    this.#notify({ kind: returns ? "player_reconnected" : "player_joined", connection: guest });
  }

  /** Whether the game of this host knows a seat: its own, or one that was let in, here or before the snapshot that it restored. */
  hasPlayed(connection: ConnectionId): boolean {
    return connection === this.me || this.#known.has(connection);
  }

  /** The snapshot is here, or there is none. `seats` are those that had played when it was taken. */
  handleFetched(epoch: HostEpoch, seats: Iterable<ConnectionId>): void {
    if (!this.#isFetchingFor(epoch)) return;
    this.#role = { kind: "becoming", epoch, stage: { kind: "restoring" } };
    this.#known = new Set(seats);
    this.#push({ kind: "restore", epoch });
  }

  /** The snapshot could not be had: it is tried again until the time to be ready is over. */
  handleFetchFailed(epoch: HostEpoch, now: Millis): void {
    if (!this.#isFetchingFor(epoch)) return;
    this.#role = { kind: "becoming", epoch, stage: { kind: "fetching", againAt: now + DIAL_RETRY_MS } };
  }

  /** The game runs from the state. It is host from now on: its epoch is its own, whoever is elected after it. */
  handleRestored(epoch: HostEpoch): void {
    const role = this.#role;
    if (role.kind !== "becoming" || role.epoch !== epoch || role.stage.kind !== "restoring") return;
    this.#confirmation = { kind: "asking", againAt: undefined };
    this.#push({ kind: "confirm_ready", epoch });
    this.#startsToHost(epoch);
  }

  /** The lobby's answer to `ready`. */
  handleReady(epoch: HostEpoch, answer: ReadyAnswer, now: Millis): void {
    if (!this.#isHostAt(epoch) || this.#confirmation.kind === "done") return;
    switch (answer) {
      case "confirmed":
        this.#isConfirmed(epoch);
        break;
      case "unknown":
        this.#confirmation = { kind: "asking", againAt: now + DIAL_RETRY_MS };
        break;
      case "refused":
        this.#stopHosting();
        this.#notify({ kind: "demoted", epoch: this.#lobby.epoch });
        this.#push({ kind: "resync" });
        break;
    }
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    const isDue = (at: Millis | undefined): boolean => at !== undefined && at <= now;
    if (isDue(this.#standby?.againAt)) this.#dialStandby();
    const role = this.#role;
    if (role.kind === "guest") {
      if (role.link.kind === "in_game") this.#listen(now);
      else if (isDue(role.link.againAt)) this.#dial(role.host, role.epoch);
    } else if (role.kind === "becoming") {
      if (role.stage.kind === "fetching" && isDue(role.stage.againAt)) this.#fetch(role.epoch);
    } else if (role.kind === "host" && this.#confirmation.kind === "asking" && isDue(this.#confirmation.againAt)) {
      this.#confirmation = { kind: "asking", againAt: undefined };
      this.#push({ kind: "confirm_ready", epoch: role.epoch });
    }
  }

  #ownTimeout(): Millis | undefined {
    const role = this.#role;
    if (role.kind === "guest") {
      if (role.link.kind === "dialing") return role.link.againAt;
      const told = this.#lobbyLostHost?.told;
      const repeatAt = told === undefined ? undefined : told + REPORT_INTERVAL_MS;
      return earliest(role.link.hears ? this.#detector.silentAt() : undefined, repeatAt);
    }
    if (role.kind === "becoming") return role.stage.kind === "fetching" ? role.stage.againAt : undefined;
    return role.kind === "host" && this.#confirmation.kind === "asking" ? this.#confirmation.againAt : undefined;
  }

  /** Takes the part that the lobby gives this peer. */
  #followLobby(now: Millis): void {
    this.#takePart(now);
    this.#followSuccessor();
  }

  #takePart(now: Millis): void {
    if (this.#role.kind === "out") return;
    if (this.#lobby.closed || memberAt(this.#lobby, this.me) === undefined) {
      this.handleRemoved();
      return;
    }
    const { epoch } = this.#lobby;
    const host = hostOf(this.#lobby.host);
    this.#noteLoss(now);
    if (this.#role.kind === "host" || this.#role.kind === "becoming") {
      // A host that the lobby has lost, and not replaced, goes on.
      if (!this.#isReplaced()) return;
      const hasFailed = this.#role.epoch >= epoch;
      this.#stopHosting();
      if (hasFailed || host !== this.me) this.#notify({ kind: "demoted", epoch });
    }
    if (host === undefined) this.#leaveReplacedHost(epoch);
    else if (host === this.me) this.#followOwnElection(epoch);
    else this.#followHost(host, epoch);
  }

  /** Whoever hosts at an older epoch hosts no more, and an election may have failed. */
  #isReplaced(): boolean {
    const role = this.#role;
    if (role.kind !== "host" && role.kind !== "becoming") return false;
    return role.epoch < this.#lobby.epoch || (role.kind === "becoming" && this.#lobby.host.state === "parked");
  }

  /**
   * Elected; or host for the lobby, but not any more in this process (its confirmation was taken for refused): then it restores what it
   * last saved.
   */
  #followOwnElection(epoch: HostEpoch): void {
    if (this.#role.kind === "guest") this.#push({ kind: "hang_up", peer: this.#role.host });
    this.#lobbyLostHost = undefined;
    this.#fetch(epoch);
  }

  #fetch(epoch: HostEpoch): void {
    this.#role = { kind: "becoming", epoch, stage: { kind: "fetching", againAt: undefined } };
    this.#push({ kind: "fetch", epoch });
  }

  /** Nobody is host, but the one that this guest follows was replaced meanwhile: whoever did that has failed since. */
  #leaveReplacedHost(epoch: HostEpoch): void {
    if (this.#role.kind !== "guest" || this.#role.epoch >= epoch) return;
    this.#leaveLinks();
    this.#known.clear();
    this.#role = { kind: "waiting" };
  }

  #followHost(host: ConnectionId, epoch: HostEpoch): void {
    if (this.#role.kind === "guest") {
      if (this.#role.host === host && this.#role.epoch === epoch) return;
      this.#push({ kind: "hang_up", peer: this.#role.host });
      // What it was told there is of the old host: the next welcome is of a new one.
      this.#known.clear();
    }
    this.#lobbyLostHost = undefined;
    this.#dial(host, epoch);
  }

  /** A guest in game holds a link to whoever would be elected now; the one before is let go once the new one is up. */
  #followSuccessor(): void {
    const role = this.#role;
    // For now it is as good as it was.
    if (role.kind === "guest" && role.link.kind === "dialing") return;
    const wanted = role.kind === "guest" ? this.#wantedStandby(role.host) : undefined;
    if (wanted === undefined) this.#hangUpFormerStandby();
    const before = this.#standby;
    if (before?.successor === wanted?.successor && before?.peerKey === wanted?.peerKey) return;
    this.#standby = undefined;
    if (before !== undefined) this.#leaveStandby(before, wanted?.successor);
    if (wanted === undefined) return;
    if (this.#formerStandby === wanted.successor) this.#hangUpFormerStandby();
    this.#standby = { ...wanted, up: false, againAt: undefined };
    this.#dialStandby();
  }

  #wantedStandby(host: ConnectionId): { readonly successor: ConnectionId; readonly peerKey: PeerKey } | undefined {
    const successor = this.#lobby.successor ?? undefined;
    if (successor === undefined || successor === this.me || successor === host) return undefined;
    const member = memberAt(this.#lobby, successor);
    return member === undefined ? undefined : { successor, peerKey: member.peer_key };
  }

  #leaveStandby(before: Standby, wanted: ConnectionId | undefined): void {
    if (!before.up || wanted === before.successor || wanted === undefined) {
      this.#push({ kind: "hang_up", peer: before.successor });
      return;
    }
    this.#hangUpFormerStandby();
    this.#formerStandby = before.successor;
  }

  #hangUpFormerStandby(): void {
    if (this.#formerStandby !== undefined) this.#push({ kind: "hang_up", peer: this.#formerStandby });
    this.#formerStandby = undefined;
  }

  #dialStandby(): void {
    if (this.#standby === undefined) return;
    const { successor, peerKey } = this.#standby;
    this.#standby = { ...this.#standby, againAt: undefined };
    this.#push({ kind: "dial_standby", successor, peerKey, epoch: this.epoch });
  }

  #dial(host: ConnectionId, epoch: HostEpoch): void {
    // The link to it, if it is up, is taken.
    if (this.#standby?.successor === host) this.#standby = undefined;
    if (this.#formerStandby === host) this.#formerStandby = undefined;
    this.#role = { kind: "guest", host, epoch, link: { kind: "dialing", againAt: undefined } };
    const member = memberAt(this.#lobby, host);
    if (member !== undefined) this.#push({ kind: "dial", host, peerKey: member.peer_key, epoch });
  }

  #startsToHost(epoch: HostEpoch): void {
    this.#role = { kind: "host", epoch };
    this.#wasInGame = true;
    this.#notify({ kind: "became_host", epoch });
    for (const guest of this.#guestsWhere(() => true)) {
      this.#push({ kind: "admit", guest, returning: this.#known.has(guest) });
    }
  }

  #isConfirmed(epoch: HostEpoch): void {
    this.#confirmation = { kind: "done" };
    this.#push({ kind: "present_grant", epoch });
    this.#push({ kind: "upload", epoch });
  }

  #stopHosting(): void {
    this.#confirmation = { kind: "done" };
    this.#leaveLinks();
    this.#known.clear();
    this.#role = { kind: "waiting" };
  }

  #leaveLinks(): void {
    const host = this.#role.kind === "guest" ? this.#role.host : undefined;
    const peers = [...this.#guestsWhere(() => true), host, this.#standby?.successor, this.#formerStandby];
    this.#guests.clear();
    this.#standby = undefined;
    this.#formerStandby = undefined;
    for (const peer of peers) if (peer !== undefined) this.#push({ kind: "hang_up", peer });
  }

  /** Keeps in mind since when the lobby has lost the host that this guest may still hear. */
  #noteLoss(now: Millis): void {
    const { state } = this.#lobby.host;
    if (state === "lost" || state === "vouched") this.#lobbyLostHost ??= { lostAt: now, told: undefined };
    else this.#lobbyLostHost = undefined;
  }

  /** The host was heard. If the lobby has lost it, that is worth telling, once it cannot be from before the loss. */
  #hostHeard(now: Millis): void {
    const role = this.#role;
    if (role.kind !== "guest" || role.link.kind !== "in_game") return;
    this.#role = { ...role, link: { kind: "in_game", heardAt: now, hears: true } };
    this.#detector.heard(now);
    const loss = this.#lobbyLostHost;
    const isFirstSinceLoss = loss !== undefined && loss.told === undefined && now - loss.lostAt >= HEARTBEAT_MS;
    if (isFirstSinceLoss) loss.told = now;
    if (!role.link.hears || isFirstSinceLoss) this.#push({ kind: "report", epoch: role.epoch, hearsHost: true });
  }

  /** A guest in game listens for silence, and repeats what it hears while the lobby has lost the host. */
  #listen(now: Millis): void {
    const role = this.#role;
    if (role.kind !== "guest" || role.link.kind !== "in_game") return;
    const isSilent = this.#detector.isSilent(now);
    const fellSilent = isSilent && role.link.hears;
    if (fellSilent) {
      this.#role = { ...role, link: { ...role.link, hears: false } };
      this.#losesHost(role.host, role.epoch);
    }
    const loss = this.#lobbyLostHost;
    if (loss?.told === undefined || now - loss.told < REPORT_INTERVAL_MS) return;
    loss.told = now;
    if (!fellSilent) this.#push({ kind: "report", epoch: role.epoch, hearsHost: !isSilent });
  }

  #losesHost(host: ConnectionId, epoch: HostEpoch): void {
    this.#push({ kind: "report", epoch, hearsHost: false });
    this.#notify({ kind: "disconnected_from_host", host });
  }

  #tellOf(body: EventBody, now: Millis): void {
    switch (body.kind) {
      case "member_joined":
        this.#notify({ kind: "peers_updated" });
        this.#tellOfPlayer("player_joined", body.member.connection);
        break;
      case "member_changed":
        this.#notify({ kind: "peers_updated" });
        break;
      case "member_connected":
        this.#notify({ kind: "peers_updated" });
        if (body.restarted) this.#memberRestarted(body.connection, now);
        this.#tellOfPlayer("player_reconnected", body.connection);
        break;
      case "member_disconnected":
        this.#notify({ kind: "peers_updated" });
        this.#tellOfPlayer("player_disconnected", body.connection);
        break;
      case "member_left":
        this.#notify({ kind: "peers_updated" });
        this.#memberLeft(body.connection, body.reason);
        break;
      default:
        this.#tellOfHost(body);
    }
  }

  #tellOfHost(body: EventBody): void {
    switch (body.kind) {
      case "host_lost":
        this.#notify({ kind: "host_lost", host: body.host, cause: body.cause });
        break;
      case "host_returned":
      case "host_vouched":
        this.#notify({ kind: "host_returned", host: body.host });
        break;
      case "host_elected":
        this.#notify({ kind: "host_elected", host: body.host, epoch: this.#lobby.epoch });
        break;
      case "host_parked":
        this.#notify({ kind: "parked", reason: body.reason });
        break;
      case "host_ready":
        // The answer to its own word may be lost.
        if (body.host !== this.me || this.#role.kind !== "host" || this.#confirmation.kind !== "asking") break;
        this.#isConfirmed(this.#role.epoch);
        break;
      default:
      // All others change the view alone.
    }
  }

  /** A host, or one that becomes it, knows better who is in its game. */
  #tellOfPlayer(kind: "player_joined" | "player_reconnected" | "player_disconnected", connection: ConnectionId): void {
    const isHosting = this.#role.kind === "host" || this.#role.kind === "becoming";
    if (!isHosting && connection !== this.me) this.#notify({ kind, connection });
  }

  #memberLeft(connection: ConnectionId, reason: LeaveReason): void {
    if (this.#guests.delete(connection)) this.#push({ kind: "hang_up", peer: connection });
    this.#known.delete(connection);
    this.#notify({ kind: "player_left", connection, reason });
  }

  /** The old process of a guest has a link that will never speak again. */
  #memberRestarted(connection: ConnectionId, now: Millis): void {
    if (!this.#guests.has(connection)) return;
    this.handleLinkDown(connection, now);
    this.#push({ kind: "hang_up", peer: connection });
  }

  #isHostAt(epoch: HostEpoch): boolean {
    return this.#role.kind === "host" && this.#role.epoch === epoch;
  }

  #isFetchingFor(epoch: HostEpoch): boolean {
    return this.#role.kind === "becoming" && this.#role.epoch === epoch && this.#role.stage.kind === "fetching";
  }

  #guestsWhere(holds: (guest: Guest) => boolean): ConnectionId[] {
    const found = [...this.#guests].filter(([, guest]) => holds(guest));
    return found.map(([connection]) => connection).sort((one, other) => one - other);
  }

  #notify(notice: Notice): void {
    this.#push({ kind: "notify", notice });
  }

  #push(effect: Effect): void {
    this.#effects.push(effect);
  }
}

function earliest(one: Millis | undefined, other: Millis | undefined): Millis | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}
