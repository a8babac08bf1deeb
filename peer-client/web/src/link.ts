/** A link to a peer, as session and driver use it: frames over a conduit. */

import type { Conduit } from "./network.js";
import { encodeFrame, type PeerBody } from "./protocol/frame.js";
import type { ConnectionId, HostEpoch, Millis, PeerKey } from "./protocol/id.js";
import type { Class, Offer } from "./protocol/journal.js";
import { PING_INTERVAL_MS, SUSPICION_MS } from "./protocol/limits.js";
import type { LinkStats, Path } from "./stats.js";

/** What a link is opened with. */
export interface Opening {
  readonly peer: ConnectionId;
  /** The process at its other end. */
  readonly peerKey: PeerKey;
  /** Which all its frames carry. */
  readonly epoch: HostEpoch;
  /** It is for later: one of its ends is only the successor. */
  readonly standby: boolean;
}

/**
 * For so long after a hello, a welcome or a change of the table nothing overtakes it: what is said next may be about it. Where one was lost,
 * SCTP sends it again after a second.
 */
const IN_ORDER_MS = 1000;

/** How much a host has heard of a guest, or the other way round. */
export interface Heard {
  readonly received: number;
  readonly receivedStable: number;
}

/** This peer's end of a link. */
export class Link {
  readonly peer: ConnectionId;
  readonly peerKey: PeerKey;
  epoch: HostEpoch;
  standby: boolean;
  /** The host has welcomed the guest. */
  inGame = false;
  /** It is up. */
  isOpen = false;
  /** It opened by a hello of the peer, and what that says of its streams, until its game is asked. */
  offer: Offer | undefined;
  /** Of the guest's hello, until its game is asked. */
  extra: Uint8Array = new Uint8Array();
  /** The guest goes on on this link: its game is not asked again, and no event tells of it. */
  moves = false;
  private conduit: Conduit | undefined;
  /** What was said before there was a conduit. */
  private waiting: { readonly frame: Uint8Array<ArrayBuffer>; readonly early: boolean }[] = [];
  private statesWanted = false;
  private over = false;
  private inOrderUntil: Millis = 0;
  private ping = { number: 0, at: 0, isAnswered: true };
  private path: Path = "unknown";
  private roundTripMs: Millis | undefined;

  constructor(
    opening: Opening,
    /** When a frame came last; at first, when the link began. */
    public heardAt: Millis,
  ) {
    ({ peer: this.peer, peerKey: this.peerKey, epoch: this.epoch, standby: this.standby } = opening);
  }

  /** It goes by this from now on. */
  attach(conduit: Conduit): void {
    this.conduit = conduit;
    if (this.over) return conduit.close();
    if (this.statesWanted) conduit.wantStates();
    for (const { frame, early } of this.waiting) conduit.push(frame, early);
    this.waiting = [];
  }

  /** Nothing came for longer than a peer that lives is ever silent. */
  isSilent(now: Millis): boolean {
    return now - this.heardAt >= SUSPICION_MS;
  }

  /** Queues a numbered message. */
  say(kind: Class, number: number, payload: Uint8Array): void {
    this.push({ kind, number, payload }, performance.now() >= this.inOrderUntil);
  }

  /** Queues a frame of the library's own. */
  tell(body: PeerBody): void {
    if (body.kind === "hello" || body.kind === "welcome" || body.kind === "objects") this.inOrderUntil = performance.now() + IN_ORDER_MS;
    this.push(body, false);
  }

  /** Sends a message that may be lost. */
  sendUnreliable(payload: Uint8Array): void {
    this.datagram({ kind: "unreliable", payload });
  }

  /** Sends a state in an order of its own. False: too many wait. */
  sendState(record: Uint8Array): boolean {
    return this.conduit?.pushState(encodeFrame({ epoch: this.epoch, body: { kind: "state", payload: record } })) ?? false;
  }

  /** States may come on this link from now on. */
  wantStates(): void {
    this.statesWanted = true;
    this.conduit?.wantStates();
  }

  /** Says that this peer is there, and how far it has heard; and measures the way, once in a while. */
  beat(tick: number, heard: Heard, now: Millis): void {
    this.datagram({ kind: "heartbeat", tick, ...heard });
    if (!this.isOpen || now - this.ping.at < PING_INTERVAL_MS) return;
    this.ping = { number: this.ping.number + 1, at: now, isAnswered: false };
    this.datagram({ kind: "ping", number: this.ping.number });
    void this.conduit?.path().then((path) => (this.path = path));
  }

  /** The peer measures the way. */
  answerPing(number: number): void {
    this.datagram({ kind: "pong", number });
  }

  /** The peer has answered. */
  handlePong(number: number, now: Millis): void {
    if (number !== this.ping.number || this.ping.isAnswered) return;
    this.ping.isAnswered = true;
    this.roundTripMs = now - this.ping.at;
  }

  /** Measured on it, if it was. */
  get roundTrip(): Millis | undefined {
    return this.roundTripMs;
  }

  /** Closes it when all that is queued has gone out. */
  finish(): void {
    this.conduit?.finish();
  }

  /** Closes it at once. */
  close(): void {
    this.over = true;
    this.waiting = [];
    this.conduit?.close();
  }

  /** For a panel. */
  stats(now: Millis): LinkStats {
    const { peer, isOpen, standby, inGame, path, roundTripMs } = this;
    return { peer, isOpen, standby, inGame, path, roundTripMs, silentMs: now - this.heardAt };
  }

  private push(body: PeerBody, early: boolean): void {
    const frame = encodeFrame({ epoch: this.epoch, body });
    if (this.conduit === undefined) this.waiting.push({ frame, early });
    else this.conduit.push(frame, early);
  }

  private datagram(body: PeerBody): void {
    if (this.isOpen) this.conduit?.datagram(encodeFrame({ epoch: this.epoch, body }));
  }
}
