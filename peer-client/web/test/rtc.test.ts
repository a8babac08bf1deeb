import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import type { ConduitEvents } from "../src/network.js";
import { RtcNetwork } from "../src/rtc.js";
import type { Signal } from "../src/protocol/signal.js";
import type { Timers } from "../src/timers.js";

const KEY = "ab".repeat(32);
const SDP = `a=ice-ufrag:frag\r\na=ice-pwd:${"p".repeat(22)}\r\n`;
const TAKEN = 2;

/** A data channel whose other end is the test. */
class Channel {
  readyState: RTCDataChannelState = "connecting";
  binaryType = "";
  readonly bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  onbufferedamountlow: (() => void) | null = null;
  onopen: () => void = () => undefined;
  onmessage: (event: { data: ArrayBuffer }) => void = () => undefined;
  readonly sent: Uint8Array[] = [];

  send(bytes: Uint8Array): void {
    this.sent.push(bytes.slice());
  }

  open(): void {
    this.readyState = "open";
    this.onopen();
  }
}

/** A connection that does nothing by itself. */
class Connection {
  static newest: Connection;
  readonly iceGatheringState = "complete";
  readonly localDescription = { sdp: SDP };
  readonly channels: Channel[] = [];

  constructor() {
    Connection.newest = this;
  }

  createDataChannel(): Channel {
    const channel = new Channel();
    this.channels.push(channel);
    return channel;
  }

  async setLocalDescription(): Promise<void> {}
  async setRemoteDescription(): Promise<void> {}
  close(): void {}
}

const timers: Timers = { after: () => () => undefined, close: () => undefined };
const real = globalThis.RTCPeerConnection;

beforeEach(() => {
  globalThis.RTCPeerConnection = Connection as unknown as typeof RTCPeerConnection;
});
afterEach(() => {
  globalThis.RTCPeerConnection = real;
});

/** A network, what becomes of its links, and its first signal. */
function peer() {
  const happened: string[] = [];
  const events: ConduitEvents = {
    up: () => void happened.push("up"),
    frame: () => void happened.push("frame"),
    down: (why) => void happened.push(why),
  };
  let tell: (signal: Signal) => void = () => undefined;
  const told = new Promise<Signal>((resolve) => (tell = resolve));
  const network = new RtcNetwork({
    certificate: {} as RTCCertificate,
    iceServers: async () => ({ ice_servers: [], relay_only: false, expires_in_s: 3600 }),
    isRelayOnly: () => false,
    signal: (_peer, _key, signal) => tell(signal),
    arrive: (_peer, _key, take) => take(events),
    timers,
  });
  return { network, events, told, happened };
}

test("the side that offers says nothing on either channel before it has heard the other side", async () => {
  const { network, events, told, happened } = peer();
  const link = network.dial(2, KEY, 1024, events);
  link.push(new Uint8Array(8), true);
  assert.equal((await told).kind, "offer");
  const { channels } = Connection.newest;
  channels.forEach((channel) => channel.open());
  link.push(new Uint8Array(8), true);
  link.datagram(new Uint8Array(8));
  assert.deepEqual([happened, channels.map(({ sent }) => sent.length)], [[], [0, 0]]);
  channels[0]?.onmessage({ data: Uint8Array.of(TAKEN, ...new Uint8Array(16)).buffer });
  assert.deepEqual(happened, ["up"]);
  assert.equal(channels[0]?.sent.length, 1, "both frames are in one message");
});

test("the side that answers speaks first, even if it has nothing to say", async () => {
  const { network, told, happened } = peer();
  network.handleSignal(1, KEY, { kind: "offer", attempt: 7, ufrag: "frag", pwd: "p".repeat(22), candidates: [] });
  assert.equal((await told).kind, "answer");
  const { channels } = Connection.newest;
  channels[1]?.open();
  assert.deepEqual(channels.map(({ sent }) => sent.length), [0, 0]);
  channels[0]?.open();
  assert.deepEqual(happened, ["up"]);
  assert.deepEqual(channels[0]?.sent, [Uint8Array.of(TAKEN, ...new Uint8Array(16))]);
});
