/** Links over WebRTC: one peer connection each, with two channels that both sides know beforehand. */

import { Lanes, type Channel } from "./lanes.js";
import { GUEST_FRAME_BYTES_MAX, type Arrive, type Conduit, type ConduitEvents, type Network } from "./network.js";
import type { ConnectionId, Millis, PeerKey } from "./protocol/id.js";
import { SIGNAL_CANDIDATES_MAX } from "./protocol/limits.js";
import { localIce, remoteSdp, strippedCandidate, type Description, type Signal } from "./protocol/signal.js";
import type { IceServers } from "./service.js";
import type { Path } from "./stats.js";
import type { Timers } from "./timers.js";

/** An offer that is not answered by then was not heard. */
const ANSWER_TIMEOUT_MS = 2000;
/** A link that is not up by then will not be. Relayed ones take some round trips to their servers first. */
const OPEN_TIMEOUT_MS = 8000;
/** Candidates that are found this soon go with offer and answer, or together. */
const GATHERING_MS = 20;
/** After its last bytes were handed on, a link that finishes is open for as long as they may need to arrive. */
const LINGER_MS = 200;
/** Links that others open and that are not up yet. Above it they are turned away, and dial again. */
const ARRIVALS_MAX = 256;

/** What WebRTC links of one session work with. */
export interface RtcOptions {
  readonly certificate: RTCCertificate;
  /** What links are made with, asked for once in a while. */
  readonly iceServers: () => Promise<IceServers>;
  /** Whether nobody is to learn another's address by now: the lobby may have been changed since the servers were asked for. */
  readonly isRelayOnly: () => boolean;
  /** Says something to a process of a member, through the lobby. */
  readonly signal: (peer: ConnectionId, peerKey: PeerKey, signal: Signal) => void;
  readonly arrive: Arrive;
  readonly timers: Timers;
}

/** WebRTC links of one session. */
export class RtcNetwork implements Network {
  private readonly links = new Map<string, RtcLink>();
  private servers: { readonly answer: Promise<IceServers>; readonly until: Millis } | undefined;

  constructor(private readonly options: RtcOptions) {
    void this.configuration();
  }

  dial(peer: ConnectionId, peerKey: PeerKey, frameBytesMax: number, events: ConduitEvents): Conduit {
    const attempt = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const link = this.link(peer, peerKey, attempt, frameBytesMax, events);
    link.offer();
    return link;
  }

  handleSignal(peer: ConnectionId, peerKey: PeerKey, signal: Signal): void {
    const known = this.links.get(nameOf(peerKey, signal.attempt));
    if (known !== undefined) return known.handleSignal(signal);
    if (signal.kind !== "offer") return;
    const pending = [...this.links.values()].filter((link) => !link.isUp).length;
    if (pending >= ARRIVALS_MAX) return;
    this.options.arrive(peer, peerKey, (events) => {
      const link = this.link(peer, peerKey, signal.attempt, GUEST_FRAME_BYTES_MAX, events);
      link.answer(signal);
      return link;
    });
  }

  close(): void {
    for (const link of [...this.links.values()]) link.close();
  }

  private link(peer: ConnectionId, peerKey: PeerKey, attempt: number, frameBytesMax: number, events: ConduitEvents): RtcLink {
    const name = nameOf(peerKey, attempt);
    const link = new RtcLink({
      attempt,
      peerKey,
      frameBytesMax,
      events,
      timers: this.options.timers,
      configuration: () => this.configuration(),
      signal: (signal) => this.options.signal(peer, peerKey, signal),
      ended: () => this.links.delete(name),
    });
    this.links.set(name, link);
    return link;
  }

  private async configuration(): Promise<RTCConfiguration> {
    const now = performance.now();
    if (this.servers === undefined || this.servers.until <= now) {
      const answer = this.options.iceServers();
      // Of their life one half is left to whoever dials with them. An answer that failed is asked for again.
      const servers = { answer, until: Number.POSITIVE_INFINITY };
      this.servers = servers;
      answer.then(
        ({ expires_in_s }) => (this.servers = { answer, until: now + 500 * expires_in_s }),
        () => (this.servers = undefined),
      );
    }
    const { ice_servers, relay_only } = await this.servers.answer;
    return {
      certificates: [this.options.certificate],
      iceServers: [...ice_servers],
      iceTransportPolicy: relay_only || this.options.isRelayOnly() ? "relay" : "all",
      bundlePolicy: "max-bundle",
    };
  }
}

function nameOf(peerKey: PeerKey, attempt: number): string {
  return `${peerKey} ${attempt}`;
}

interface RtcLinkOptions {
  readonly attempt: number;
  readonly peerKey: PeerKey;
  readonly frameBytesMax: number;
  readonly events: ConduitEvents;
  readonly timers: Timers;
  readonly configuration: () => Promise<RTCConfiguration>;
  readonly signal: (signal: Signal) => void;
  readonly ended: () => void;
}

/** One attempt to open a link, and the link that comes of it. */
class RtcLink implements Conduit {
  isUp = false;
  private readonly lanes: Lanes;
  private connection: RTCPeerConnection | undefined;
  private reliable: RTCDataChannel | undefined;
  private unreliable: RTCDataChannel | undefined;
  /** What WebRTC does takes its time: one step after the other. */
  private steps: Promise<void> = Promise.resolve();
  /** Found, and not told yet. */
  private candidates: string[] = [];
  private isDescribed = false;
  private isTelling = false;
  private isAnswered = false;
  /**
   * The other side has its channels too: what comes for one that is not there yet is lost at native peers, and the channel with it. The
   * side that answers has them last, and speaks first.
   */
  private maySpeak = false;
  private answers = false;
  private isClosedThere = false;
  private over = false;

  constructor(private readonly options: RtcLinkOptions) {
    const { timers, events, frameBytesMax } = options;
    this.lanes = new Lanes(
      timers,
      {
        frame: (bytes, isDatagram) => events.frame(bytes, isDatagram),
        broken: (why) => this.fail(why),
        finished: () => timers.after(LINGER_MS, () => this.fail("finished")),
      },
      frameBytesMax,
    );
    timers.after(OPEN_TIMEOUT_MS, () => this.isUp || this.fail("not up in time"));
  }

  /** Dials. */
  offer(): void {
    this.options.timers.after(ANSWER_TIMEOUT_MS, () => this.isAnswered || this.fail("no answer"));
    this.step(async () => {
      const connection = await this.connect();
      await connection?.setLocalDescription();
      await this.describe("offer");
    });
  }

  /** Takes an offer. */
  answer(description: Description): void {
    [this.isAnswered, this.answers, this.maySpeak] = [true, true, true];
    this.step(async () => {
      const connection = await this.connect();
      await connection?.setRemoteDescription({ type: "offer", sdp: remoteSdp("offer", description, this.options.peerKey) });
      await connection?.setLocalDescription();
      await this.describe("answer");
    });
  }

  handleSignal(signal: Signal): void {
    switch (signal.kind) {
      // It came twice.
      case "offer":
        return;
      case "answer":
        if (this.isAnswered) return;
        this.isAnswered = true;
        return this.step(async () => {
          const sdp = remoteSdp("answer", signal, this.options.peerKey);
          await this.connection?.setRemoteDescription({ type: "answer", sdp });
        });
      case "candidates":
        return this.step(async () => {
          for (const candidate of signal.candidates) await this.addCandidate(candidate);
        });
      case "close":
        this.isClosedThere = true;
        return this.fail("closed by the other side");
    }
  }

  push(frame: Uint8Array<ArrayBuffer>, early: boolean): void {
    this.lanes.push(frame, early);
  }

  pushState(frame: Uint8Array<ArrayBuffer>): boolean {
    return this.lanes.pushState(frame);
  }

  datagram(frame: Uint8Array<ArrayBuffer>): void {
    this.lanes.datagram(frame);
  }

  wantStates(): void {
    this.lanes.wantStates();
  }

  finish(): void {
    this.lanes.finish();
  }

  close(): void {
    if (this.over) return;
    this.over = true;
    this.lanes.close();
    if (!this.isClosedThere) this.options.signal({ kind: "close", attempt: this.options.attempt });
    this.connection?.close();
    this.options.ended();
  }

  async path(): Promise<Path> {
    const stats = await this.connection?.getStats().catch(() => undefined);
    return stats === undefined ? "unknown" : pathOf(stats);
  }

  private fail(why: string): void {
    if (this.over) return;
    this.close();
    this.options.events.down(why);
  }

  private step(work: () => Promise<void>): void {
    this.steps = this.steps.then(async () => {
      try {
        if (!this.over) await work();
      } catch (error) {
        this.fail(String(error));
      }
    });
  }

  private async connect(): Promise<RTCPeerConnection | undefined> {
    const configuration = await this.options.configuration();
    if (this.over) return undefined;
    const connection = new RTCPeerConnection(configuration);
    this.connection = connection;
    connection.onicecandidate = ({ candidate }) => this.found(candidate);
    connection.onconnectionstatechange = () => connection.connectionState === "failed" && this.fail("no way to the peer");
    this.reliable = this.channel(connection, "reliable", 0, { ordered: true });
    this.unreliable = this.channel(connection, "unreliable", 1, { ordered: false, maxRetransmits: 0 });
    return connection;
  }

  private channel(connection: RTCPeerConnection, label: string, id: number, how: RTCDataChannelInit): RTCDataChannel {
    const channel = connection.createDataChannel(label, { ...how, negotiated: true, id });
    channel.binaryType = "arraybuffer";
    channel.onopen = () => this.opened();
    channel.onclose = () => this.fail("its channels are closed");
    channel.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) return this.fail("a message that is text");
      if (id === 0) this.maySpeak = true;
      // Of the two, one may be told to be open later than the other's first message comes.
      this.opened();
      const bytes = new Uint8Array(data);
      if (id === 0) this.lanes.handleReliable(bytes);
      else this.lanes.handleUnreliable(bytes);
    };
    return channel;
  }

  private opened(): void {
    const { reliable, unreliable } = this;
    if (this.isUp || this.over || !this.maySpeak || reliable?.readyState !== "open" || unreliable?.readyState !== "open") return;
    this.isUp = true;
    this.options.events.up();
    this.lanes.open(reliable as Channel, unreliable as Channel);
    if (this.answers) this.lanes.tellTaken();
  }

  /** Says how this side is reached, with the candidates that are known by then. */
  private async describe(kind: "offer" | "answer"): Promise<void> {
    await this.gathered();
    const ice = this.over ? undefined : localIce(this.connection?.localDescription?.sdp ?? "");
    if (ice === undefined) return this.fail("this browser describes no connection");
    const { ufrag, pwd } = ice;
    const { attempt } = this.options;
    const candidates = this.candidates.splice(0, SIGNAL_CANDIDATES_MAX);
    this.options.signal({ kind, attempt, ufrag, pwd, candidates });
    this.isDescribed = true;
    this.tellCandidates();
  }

  private gathered(): Promise<void> {
    return new Promise((resolve) => {
      const connection = this.connection;
      if (connection === undefined || connection.iceGatheringState === "complete") return resolve();
      connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && resolve();
      this.options.timers.after(GATHERING_MS, resolve);
    });
  }

  private found(candidate: RTCIceCandidate | null): void {
    const stripped = strippedCandidate(candidate?.candidate ?? "");
    if (stripped === undefined || this.over) return;
    this.candidates.push(stripped);
    if (!this.isDescribed || this.isTelling) return;
    this.isTelling = true;
    this.options.timers.after(GATHERING_MS, () => {
      this.isTelling = false;
      this.tellCandidates();
    });
  }

  private tellCandidates(): void {
    const { attempt } = this.options;
    while (this.candidates.length > 0 && !this.over) {
      this.options.signal({ kind: "candidates", attempt, candidates: this.candidates.splice(0, SIGNAL_CANDIDATES_MAX) });
    }
  }

  private async addCandidate(candidate: string): Promise<void> {
    try {
      await this.connection?.addIceCandidate({ candidate, sdpMid: "0", sdpMLineIndex: 0 });
    } catch {
      // One that this browser cannot use: others may do.
    }
  }
}

/** By which way the chosen pair of candidates goes. */
function pathOf(stats: RTCStatsReport): Path {
  const all = [...(stats as unknown as Map<string, Record<string, unknown>>).values()];
  const chosenId = all.find(({ type }) => type === "transport")?.["selectedCandidatePairId"];
  const isChosen = (entry: Record<string, unknown>): boolean =>
    chosenId === undefined
      ? entry["type"] === "candidate-pair" && entry["nominated"] === true && entry["state"] === "succeeded"
      : entry["id"] === chosenId;
  const pair = all.find(isChosen);
  if (pair === undefined) return "unknown";
  const ends = all.filter(({ id }) => id === pair["localCandidateId"] || id === pair["remoteCandidateId"]);
  return ends.some((end) => end["candidateType"] === "relay") ? "relayed" : "direct";
}
