/** The event socket to the lobby: opened, resumed after the last event, opened again. */

import { ServiceError } from "./errors.js";
import type { ConnectionId, EventSeq, LobbyId, Millis, PeerKey } from "./protocol/id.js";
import { readSignal } from "./protocol/signal.js";
import type { ClientMessage, CloseReason, ServerMessage } from "./protocol/message.js";
import { SignalQueue, type SignalMessage } from "./signal-queue.js";
import type { Timers } from "./timers.js";

/** First pause between two attempts; doubled each time. */
const RETRY_MS = 50;
/** Longest pause between two attempts, where the service names none. */
const RETRY_MAX_MS = 2000;
/** Longest pause that the service may ask for. */
const ASKED_PAUSE_MAX_MS = 60_000;
/** An attempt that takes longer has failed. */
const OPEN_TIMEOUT_MS = 5000;
/** Messages to the lobby that wait for the socket. They are soft state, repeated while they matter. */
export const MESSAGES_MAX = 64;
/** A socket is let go this long after another took its place. */
const FORMER_LIFE_MS = 1000;

/** Why the service closes a socket for good. */
const FINAL: readonly CloseReason[] = ["not_member", "kicked", "banned", "lobby_closed", "replaced"];

/** What is needed of the service. */
export interface EventsService {
  events(lobby: LobbyId): Promise<string>;
  hasSeat(lobby: LobbyId, seat: ConnectionId): Promise<boolean>;
}

/** What the event socket works with. */
export interface LobbyLinkOptions {
  readonly service: EventsService;
  readonly lobby: LobbyId;
  readonly me: ConnectionId;
  readonly peerKey: PeerKey;
  /** The newest event that is known. */
  readonly after: EventSeq;
  readonly timers: Timers;
  /** The lobby said something. */
  readonly heard: (message: ServerMessage) => void;
  /** The socket is open, or lost. */
  readonly reachable: (isOpen: boolean) => void;
}

/** The event socket. It is opened by {@link run} and is there until it is closed, or the lobby says that this peer has no seat. */
export class LobbyLink {
  private readonly options: LobbyLinkOptions;
  private readonly pause = new Pause();
  private after: EventSeq;
  private socket: WebSocket | undefined;
  private waiting: ClientMessage[] = [];
  private readonly signals = new SignalQueue(performance.now());
  private isPacing = false;
  private lastReport: ClientMessage | undefined;
  private over = false;
  private isSuspended = false;
  /** Ends the pause before the next attempt. */
  private hurry: () => void = () => undefined;
  /** Of the socket that is open, of one that is to take its place, and of one that it has taken it of: what ends it. */
  private readonly sockets = new Map<WebSocket, () => void>();
  private ended: () => void = () => undefined;
  private isRenewing = false;

  constructor(options: LobbyLinkOptions) {
    this.options = options;
    this.after = options.after;
  }

  /** Opens the socket, again and again. */
  async run(): Promise<void> {
    while (!this.over) {
      const url = this.isSuspended ? undefined : await this.find();
      if (url !== undefined && !this.over && !this.isSuspended) await this.serve(url);
      if (this.over) return;
      this.options.reachable(false);
      await this.sleep(this.pause.next(Math.random()));
    }
  }

  /** Says something; later, if the socket is not open. Past the bound the oldest are forgotten. */
  say(message: ClientMessage): void {
    if (message.type === "signal") return this.signal(message);
    if (message.type === "report") this.lastReport = message;
    if (this.socket?.readyState === WebSocket.OPEN) return this.send(this.socket, message);
    if (message.type === "report") return;
    this.waiting.push(message);
    if (this.waiting.length > MESSAGES_MAX) this.waiting.shift();
  }

  /**
   * The network may be another one, or this page was away: what is open may be dead, and nobody would say so for minutes. Another socket takes
   * its place, if one can be opened; the service then forgets the old one, and nothing is missed.
   */
  renew(): void {
    this.pause.served();
    this.hurry();
    if (this.socket === undefined || this.isRenewing) return;
    this.isRenewing = true;
    void this.find().then((url) => {
      this.isRenewing = false;
      if (url !== undefined && this.socket !== undefined && !this.over && !this.isSuspended) this.open(url);
    });
  }

  /** Closes it until it is to be {@link resume}d: to the lobby this peer is disconnected at once. */
  suspend(): void {
    this.isSuspended = true;
    this.dropAll();
  }

  /** Opens it again, if it was suspended. */
  resume(): void {
    if (!this.isSuspended) return;
    this.isSuspended = false;
    this.hurry();
  }

  /** Closes it for good: to the lobby this peer is disconnected at once. */
  close(): void {
    this.over = true;
    this.dropAll();
    this.hurry();
  }

  /** Where the socket is opened; `undefined`: it is not known now. */
  private async find(): Promise<string | undefined> {
    const { service, lobby, me } = this.options;
    try {
      return await service.events(lobby);
    } catch (error) {
      const isDoubtful = error instanceof ServiceError && [403, 404].includes(error.status);
      // One answer on the way in may be another's than the service's.
      const isIn = !isDoubtful || (await service.hasSeat(lobby, me).catch(() => true));
      if (!isIn && !this.over) this.take({ type: "closing", reason: "not_member" });
      return undefined;
    }
  }

  /** Passes messages both ways until the socket ends, and none has taken its place. */
  private serve(url: string): Promise<void> {
    return new Promise((resolve) => {
      this.ended = resolve;
      this.open(url);
    });
  }

  private open(url: string): void {
    const socket = new WebSocket(url, ["understudy.v1"]);
    const end = (): void => {
      giveUp();
      this.sockets.delete(socket);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      if (this.socket === socket) this.socket = undefined;
      if (this.sockets.size === 0) this.ended();
    };
    const giveUp = this.options.timers.after(OPEN_TIMEOUT_MS, () => socket.readyState === WebSocket.CONNECTING && end());
    this.sockets.set(socket, end);
    socket.onopen = () => this.takePlace(socket);
    socket.onclose = end;
    socket.onmessage = ({ data }) => {
      this.read(data);
      if (this.over) this.dropAll();
    };
  }

  private takePlace(socket: WebSocket): void {
    const former = this.socket;
    this.socket = socket;
    this.greet(socket);
    if (former === undefined) return;
    // Closed by the service once that has heard of the new one; before, it would be a member that is gone.
    former.onmessage = null;
    this.options.timers.after(FORMER_LIFE_MS, () => this.sockets.get(former)?.());
  }

  /** Lets go of all sockets: on a network that is gone their own end may take long. */
  private dropAll(): void {
    for (const end of [...this.sockets.values()]) end();
  }

  private greet(socket: WebSocket): void {
    const { peerKey, reachable } = this.options;
    this.send(socket, { type: "hello", peer_key: peerKey, after: this.after, form: "events" });
    // What the service may have forgotten.
    if (this.lastReport !== undefined) this.send(socket, this.lastReport);
    for (const message of this.waiting) this.send(socket, message);
    this.waiting = [];
    this.sendSignals();
    reachable(true);
  }

  private signal(message: SignalMessage): void {
    this.signals.push(message, performance.now());
    this.sendSignals();
  }

  /** Sends what may go, and comes back for the rest. */
  private sendSignals(): void {
    const { socket, isPacing } = this;
    if (socket?.readyState !== WebSocket.OPEN || isPacing) return;
    for (const message of this.signals.poll(performance.now())) this.send(socket, message);
    const pauseMs = this.signals.pauseMs();
    if (pauseMs === undefined) return;
    this.isPacing = true;
    this.options.timers.after(pauseMs, () => {
      this.isPacing = false;
      this.sendSignals();
    });
  }

  private send(socket: WebSocket, message: ClientMessage): void {
    socket.send(JSON.stringify(message));
  }

  private read(data: unknown): void {
    if (typeof data !== "string") return;
    let message: ServerMessage;
    try {
      message = JSON.parse(data) as ServerMessage;
    } catch {
      return;
    }
    this.take(message);
  }

  private take(message: ServerMessage): void {
    switch (message.type) {
      case "event":
        this.after = Math.max(this.after, message.seq);
        break;
      case "resync":
        this.after = message.lobby.seq;
        break;
      case "signal": {
        const signal = readSignal(message.signal);
        if (signal !== undefined) this.options.heard({ ...message, signal });
        return;
      }
      case "closing":
        this.pause.asked(message.retry_after_ms ?? 0);
        if (FINAL.includes(message.reason)) this.over = true;
        return this.options.heard(message);
      case "challenge":
        break;
      default:
        // Something that this version does not understand.
        return;
    }
    this.pause.served();
    this.options.heard(message);
  }

  private sleep(ms: Millis): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.options.timers.after(ms, resolve);
      this.hurry = () => {
        cancel();
        resolve();
      };
    });
  }
}

/** How long to wait until the next attempt. The peers of a service that restarts do not come in step. */
export class Pause {
  /** Of the last attempt. */
  private lastMs = 0;
  /** The service asked for it. */
  private askedMs = 0;

  /** The service serves this peer: the next attempt may come soon. */
  served(): void {
    this.lastMs = 0;
  }

  /** The service asks for time. */
  asked(ms: Millis): void {
    this.askedMs = Math.min(ms, ASKED_PAUSE_MAX_MS);
  }

  /**
   * Three quarters to five quarters of this peer's own pause, but not before the time that the service asked for, spread over half as much
   * again. `random` is from 0 to 1.
   */
  next(random: number): Millis {
    this.lastMs = Math.min(Math.max(2 * this.lastMs, RETRY_MS), RETRY_MAX_MS);
    const asked = this.askedMs;
    this.askedMs = 0;
    return Math.max(this.lastMs * (0.75 + random / 2), asked * (1 + random / 2));
  }
}
