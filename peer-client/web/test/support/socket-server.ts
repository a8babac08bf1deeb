/** A WebSocket server of a test, on loopback: as much of RFC 6455 as the tests need. */

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** One client's socket. */
export class Served {
  /** What the client has said, as JSON. */
  readonly heard: unknown[] = [];
  private buffer = Buffer.alloc(0);

  constructor(
    readonly path: string,
    private readonly socket: Socket,
    private readonly changed: () => void,
  ) {
    socket.on("data", (data) => this.take(data));
    socket.on("error", () => undefined);
  }

  say(message: unknown): void {
    const bytes = Buffer.from(JSON.stringify(message));
    const head = bytes.length < 126 ? Buffer.of(0x81, bytes.length) : Buffer.of(0x81, 126, bytes.length >> 8, bytes.length & 0xff);
    this.socket.write(Buffer.concat([head, bytes]));
  }

  /** Ends it without a word. */
  drop(): void {
    this.socket.destroy();
  }

  private take(data: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (let frame = this.frame(); frame !== undefined; frame = this.frame()) {
      if (frame.opcode === 1) this.heard.push(JSON.parse(frame.payload.toString()));
      if (frame.opcode === 8) this.socket.end(Buffer.of(0x88, 0));
    }
    this.changed();
  }

  /** The next masked frame, of at most 65,535 bytes. */
  private frame(): { opcode: number; payload: Buffer } | undefined {
    const { buffer } = this;
    if (buffer.length < 2) return undefined;
    const isLong = ((buffer[1] ?? 0) & 0x7f) === 126;
    if (isLong && buffer.length < 4) return undefined;
    const length = isLong ? buffer.readUInt16BE(2) : (buffer[1] ?? 0) & 0x7f;
    const start = isLong ? 8 : 6;
    if (buffer.length < start + length) return undefined;
    const mask = buffer.subarray(start - 4, start);
    const payload = buffer.subarray(start, start + length).map((byte, index) => byte ^ (mask[index % 4] ?? 0));
    this.buffer = buffer.subarray(start + length);
    return { opcode: (buffer[0] ?? 0) & 0xf, payload: Buffer.from(payload) };
  }
}

/** The server. Requests that are no upgrade are answered by `answer`. */
export class SocketServer {
  readonly sockets: Served[] = [];
  private readonly server: Server;
  private waiting: (() => void)[] = [];

  private constructor(answer: (path: string) => { status: number; body: unknown }) {
    this.server = createServer((request, response) => {
      const { status, body } = answer(request.url ?? "");
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    this.server.on("upgrade", (request, socket) => {
      const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${GUID}`).digest("base64");
      const offered = request.headers["sec-websocket-protocol"];
      const protocol = offered === undefined ? "" : `Sec-WebSocket-Protocol: ${offered.split(",")[0]}\r\n`;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${protocol}\r\n`,
      );
      this.sockets.push(new Served(request.url ?? "", socket as Socket, () => this.look()));
      this.look();
    });
  }

  static async start(answer: (path: string) => { status: number; body: unknown } = () => ({ status: 404, body: {} })): Promise<SocketServer> {
    const server = new SocketServer(answer);
    server.server.listen(0, "127.0.0.1");
    await once(server.server, "listening");
    return server;
  }

  /** `127.0.0.1:port` */
  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Waits for something about its sockets. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.drop();
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, "close");
  }

  private look(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
