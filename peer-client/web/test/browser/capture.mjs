// What players and the lobby tell each other, and whether it holds an address that it should not.
import assert from "node:assert/strict";
import { isIPv6 } from "node:net";

/** Everything that a tab says to the lobby and hears from it: each message of its sockets, and each body. */
export class TabCapture {
  /** Begins before the page is loaded. */
  static async of(context, page) {
    const capture = new TabCapture();
    capture.told = [];
    capture.pending = new Set();
    const session = await context.newCDPSession(page);
    session.on("Network.webSocketFrameSent", ({ response }) => capture.frame("sent", response));
    session.on("Network.webSocketFrameReceived", ({ response }) => capture.frame("received", response));
    await session.send("Network.enable");
    page.on("response", (response) => capture.exchange(response));
    return capture;
  }

  frame(way, { opcode, payloadData }) {
    const isText = opcode === 1;
    this.told.push({ way, isText, text: isText ? payloadData : Buffer.from(payloadData, "base64").toString("latin1") });
  }

  exchange(response) {
    const path = new URL(response.url()).pathname;
    if (!path.startsWith("/v1/")) return;
    const request = response.request();
    this.body("asked", path, request.postDataBuffer());
    const read = response.body().then((body) => this.body("answered", path, body));
    this.pending.add(read);
    read.finally(() => this.pending.delete(read)).catch(() => {});
  }

  body(way, path, bytes) {
    const text = bytes?.toString("latin1") ?? "";
    this.told.push({ way, path, isText: /^\s*[{[]/.test(text), text });
  }

  /** What was told until now. */
  async all() {
    await Promise.all(this.pending);
    return [...this.told];
  }
}

/** What went over wires that were recorded: messages of sockets one by one, all else as it is. */
export function toldOnWires(...wires) {
  return wires.flatMap(({ streams }) =>
    streams.flatMap(({ way, chunks }) => {
      const bytes = Buffer.concat(chunks);
      const headEnd = bytes.indexOf("\r\n\r\n") + 4;
      const isSocket = /^upgrade: websocket/im.test(bytes.toString("latin1", 0, headEnd));
      const plain = { way, isText: false, text: bytes.toString("latin1", 0, isSocket ? headEnd : bytes.length) };
      return [plain, ...(isSocket ? messages(bytes.subarray(headEnd)).map((text) => ({ way, isText: true, text })) : [])];
    }),
  );
}

/** Payloads of WebSocket frames (RFC 6455, section 5.2). Of one that is not complete, none. */
function messages(bytes) {
  const found = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const isMasked = (bytes[at + 1] & 0x80) !== 0;
    let length = bytes[at + 1] & 0x7f;
    at += 2;
    if (length === 126) {
      if (at + 2 > bytes.length) break;
      length = bytes.readUInt16BE(at);
      at += 2;
    } else if (length === 127) {
      if (at + 8 > bytes.length) break;
      length = Number(bytes.readBigUInt64BE(at));
      at += 8;
    }
    const mask = isMasked ? bytes.subarray(at, at + 4) : Buffer.alloc(4);
    at += isMasked ? 4 : 0;
    if (at + length > bytes.length) break;
    found.push(Buffer.from(bytes.subarray(at, at + length).map((byte, index) => byte ^ mask[index % 4])).toString("latin1"));
    at += length;
  }
  return found;
}

/** All candidates for links among it. */
export function candidatesIn(told) {
  return told.flatMap(({ text }) => text.match(/candidate:[^"\\]*/g) ?? []);
}

/** No address but the servers' own is told anywhere, and of candidates those of TURN servers alone, without what is behind them. */
export function expectNoAddress(told, servers) {
  for (const { way, isText, text } of told) {
    const elsewhere = addressesIn(text, isText).filter((address) => !servers.includes(address));
    assert.deepEqual(elsewhere, [], `${way}: ${text}`);
  }
  for (const candidate of candidatesIn(told)) {
    assert.match(candidate, / typ relay$/);
    assert.ok(servers.includes(candidate.split(" ")[4]), candidate);
  }
}

/** Addresses, and names that a browser says in their place. In bytes that are no text, colons mean nothing. */
function addressesIn(text, isText) {
  const version4 = text.match(/(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])/g) ?? [];
  const names = text.match(/[A-Za-z0-9-]+\.local\b/g) ?? [];
  const version6 = isText ? (text.match(/[0-9A-Fa-f]*:[0-9A-Fa-f:.]+/g) ?? []).filter((word) => isIPv6(word)) : [];
  return [...version4, ...names, ...version6];
}
