/** Links between sessions of one process: real lanes over channels that are not WebRTC's. */

import { Lanes } from "../../src/lanes.js";
import { GUEST_FRAME_BYTES_MAX, type Arrive, type Conduit, type ConduitEvents, type Network } from "../../src/network.js";
import { toHex, type ConnectionId, type PeerKey } from "../../src/protocol/id.js";
import type { Path } from "../../src/stats.js";
import type { Transport } from "../../src/start.js";
import type { Timers } from "../../src/timers.js";
import { FakeChannel } from "./channels.js";

/** Where the processes of a test meet. */
export class Hub {
  readonly networks = new Map<PeerKey, HubNetwork>();

  /** A process of its own. */
  process(): Transport {
    const peerKey = toHex(crypto.getRandomValues(new Uint8Array(32)));
    return {
      peerKey,
      network: (_service, driver, arrive, timers) => {
        const network = new HubNetwork(this, peerKey, () => driver.me, arrive, timers);
        this.networks.set(peerKey, network);
        return network;
      },
    };
  }

  /** Ends a process as a crash would: nothing comes from it any more, and nobody is told. */
  crash(peerKey: PeerKey): void {
    const network = this.networks.get(peerKey);
    this.networks.delete(peerKey);
    for (const end of network?.ends ?? []) end.vanish();
  }
}

/** One process's links. */
class HubNetwork implements Network {
  readonly ends = new Set<HubEnd>();

  constructor(
    private readonly hub: Hub,
    private readonly peerKey: PeerKey,
    private readonly me: () => ConnectionId,
    private readonly arrive: Arrive,
    private readonly timers: Timers,
  ) {}

  dial(_peer: ConnectionId, peerKey: PeerKey, frameBytesMax: number, events: ConduitEvents): Conduit {
    const end = this.end(events, frameBytesMax);
    setImmediate(() => {
      const other = this.hub.networks.get(peerKey);
      if (other === undefined || !end.isOpen) return end.fail("nobody is there");
      other.arrive(this.me(), this.peerKey, (events) => {
        const there = other.end(events, GUEST_FRAME_BYTES_MAX);
        end.join(there);
        return there;
      });
    });
    return end;
  }

  handleSignal(): void {
    throw new Error("these links need no signals");
  }

  close(): void {
    for (const end of [...this.ends]) end.close();
  }

  private end(events: ConduitEvents, frameBytesMax: number): HubEnd {
    const end = new HubEnd(this.timers, events, frameBytesMax, () => this.ends.delete(end));
    this.ends.add(end);
    return end;
  }
}

class HubEnd implements Conduit {
  isOpen = true;
  private readonly reliable = new FakeChannel();
  private readonly unreliable = new FakeChannel();
  private readonly lanes: Lanes;
  private other: HubEnd | undefined;

  constructor(
    private readonly timers: Timers,
    private readonly events: ConduitEvents,
    frameBytesMax: number,
    private readonly ended: () => void,
  ) {
    const broken = (why: string): void => this.fail(why);
    const finished = (): void => void timers.after(20, () => this.fail("finished"));
    const frame = (bytes: Uint8Array, isDatagram: boolean): void => events.frame(bytes, isDatagram);
    this.lanes = new Lanes(timers, { frame, broken, finished }, frameBytesMax);
  }

  join(other: HubEnd): void {
    for (const [one, to] of [[this, other], [other, this]] as const) {
      one.other = to;
      one.reliable.onmessage = (bytes) => to.lanes.handleReliable(bytes);
      one.unreliable.onmessage = (bytes) => to.lanes.handleUnreliable(bytes);
      setImmediate(() => one.open());
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
    const { other } = this;
    this.vanish();
    setImmediate(() => other?.fail("closed by the other side"));
  }

  path(): Promise<Path> {
    return Promise.resolve("direct");
  }

  /** Without a word to the other side. */
  vanish(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.other = undefined;
    this.lanes.close();
    this.ended();
  }

  fail(why: string): void {
    if (!this.isOpen) return;
    this.close();
    this.events.down(why);
  }

  private open(): void {
    if (!this.isOpen) return;
    this.events.up();
    this.lanes.open(this.reliable, this.unreliable);
    this.carry();
  }

  /** Delivers what is on its way, every few milliseconds. */
  private carry(): void {
    if (!this.isOpen) return;
    for (const channel of [this.reliable, this.unreliable]) while (this.isOpen && channel.deliver());
    this.timers.after(2, () => this.carry());
  }
}
