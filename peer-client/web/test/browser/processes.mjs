// Real processes for browser tests: the lobby service, native players, and a wire to the service that can be cut.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as nextLook } from "node:timers/promises";
import { join } from "node:path";

/** How long anything may take that is waited for. */
export const PATIENCE_MS = 20_000;
/** Lines of a process that are shown when a wait fails. */
const WORDS = 12;
/** A server that was asked and has not answered by then is asked again. */
const ANSWER_MS = 100;

/** A process that is killed with this one, and what it tells line by line. */
class Running {
  constructor(name, program, args, options) {
    this.name = name;
    this.lines = [];
    this.waiting = new Set();
    this.child = spawn(program, args, { ...options, stdio: ["pipe", "pipe", "pipe"] });
    this.ended = once(this.child, "exit");
    this.child.once("exit", () => this.look());
    this.child.once("error", (error) => this.hear({ kind: "error", error: String(error) }));
    // Whoever writes to one that has ended is not to end as well.
    this.child.stdin.on("error", () => {});
  }

  get isAlive() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  hear(line) {
    this.lines.push(line);
    this.look();
  }

  look() {
    for (const waiter of [...this.waiting]) waiter();
  }

  /** The first line for which `matches` holds, told now or later, from the `from`th on. */
  async wait(what, matches, from = 0) {
    const find = () => this.lines.slice(from).find(matches);
    return await new Promise((resolve, reject) => {
      const end = (settle) => {
        clearTimeout(timer);
        this.waiting.delete(look);
        settle();
      };
      const missing = (why) => new Error(`${this.name} did not tell ${what} ${why}; last:\n${this.lastWords()}`);
      const look = () => {
        const found = find();
        if (found !== undefined) end(() => resolve(found));
        else if (!this.isAlive) end(() => reject(missing("and has ended")));
      };
      const timer = setTimeout(() => end(() => reject(missing("in time"))), PATIENCE_MS);
      this.waiting.add(look);
      look();
    });
  }

  lastWords() {
    const quiet = this.lines.filter((line) => line.kind !== "status").slice(-WORDS);
    const status = this.lines.filter((line) => line.kind === "status").slice(-1);
    return [...quiet, ...status].map((line) => `  ${JSON.stringify(line)}`).join("\n");
  }

  /** Kills it as a crash would, and waits for its end. */
  async kill() {
    if (this.isAlive) this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** The lobby service with a relay in it, at this address, on ports that the system chooses, with its database in this folder. */
export async function startService(binaries, folder, at, more) {
  const args = ["--listen", `${at}:0`, "--relay-listen", `${at}:0`, "--no-limits", ...more];
  const env = { ...process.env, UNDERSTUDY_ADMIN_LISTEN: "127.0.0.1:0", UNDERSTUDY_CONNECTIONS_PER_ADDRESS_MAX: "0" };
  delete env.DATABASE_URL;
  const service = new Running("lobby-service", join(binaries, "lobby-service"), args, { cwd: folder, env });
  createInterface({ input: service.child.stdout }).on("line", (line) => service.hear({ kind: "line", line }));
  createInterface({ input: service.child.stderr }).on("line", (line) => service.hear({ kind: "log", line }));
  const listening = await service.wait("where it listens", ({ kind, line }) => kind === "line" && line.includes("listening"));
  const address = /http=(\S+)/.exec(listening.line)?.[1];
  if (address === undefined) throw new Error(`the service listens nowhere: ${listening.line}`);
  return { process: service, address };
}

/** A TURN server at this address that is reached by UDP or TCP alone, with credentials that are good for a time and a secret of its own. */
export async function startTurn(folder, at, transport) {
  const [port, secret] = [await freePort(at), randomBytes(16).toString("hex")];
  const other = transport === "udp" ? "tcp" : "udp";
  const fixed = ["-n", "--use-auth-secret", "--realm=understudy", "--no-cli", "--no-tls", "--no-dtls", "--allow-loopback-peers"];
  const here = [`--listening-ip=${at}`, `--relay-ip=${at}`, `--listening-port=${port}`, `--static-auth-secret=${secret}`, `--no-${other}`];
  const files = ["--userdb=turn.db", "--pidfile=turn.pid", "--log-file=stdout", "--simple-log"];
  const server = new Running("turnserver", "turnserver", [...fixed, ...here, ...files], { cwd: folder });
  createInterface({ input: server.child.stdout }).on("line", (line) => server.hear({ kind: "line", line }));
  server.child.stderr.resume();
  await answers(server, transport, at, port);
  const secretFile = join(folder, "turn-secret");
  writeFileSync(secretFile, secret, { mode: 0o600 });
  return { process: server, args: ["--turn-url", `turn:${at}:${port}?transport=${transport}`, "--turn-secret-file", secretFile] };
}

/** Asks a TURN server until it answers: it does not tell when it listens. */
async function answers(server, transport, at, port) {
  const until = Date.now() + PATIENCE_MS;
  while (!(await (transport === "udp" ? answersByUdp(at, port) : answersByTcp(at, port)))) {
    if (server.isAlive && Date.now() < until) continue;
    await server.kill();
    throw new Error(`the TURN server does not answer:\n${server.lastWords()}`);
  }
}

/** A binding request (RFC 8489), which every TURN server answers. */
async function answersByUdp(at, port) {
  const socket = createSocket("udp4");
  const heard = once(socket, "message", { signal: AbortSignal.timeout(ANSWER_MS) });
  socket.send(Buffer.concat([Buffer.from("000100002112a442", "hex"), randomBytes(12)]), port, at);
  const hasAnswered = await heard.then(() => true, () => false);
  socket.close();
  return hasAnswered;
}

async function answersByTcp(at, port) {
  const socket = connect(port, at);
  const isOpen = await once(socket, "connect").then(() => true, () => nextLook(ANSWER_MS, false));
  socket.destroy();
  return isOpen;
}

/** A port that nobody has now: a TURN server cannot be asked which one it took. */
async function freePort(at) {
  const server = createServer().listen(0, at);
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A browser that is driven from here, by a socket on this machine. */
export async function startChromium(program, flags) {
  const browser = new Running("Chromium", program, [...flags, "--remote-debugging-port=0", "about:blank"], {});
  browser.child.stdout.resume();
  createInterface({ input: browser.child.stderr }).on("line", (line) => browser.hear({ kind: "log", line }));
  const listening = await browser.wait("where it listens", ({ line }) => line?.includes("DevTools listening on"));
  return { process: browser, endpoint: /ws:\S+/.exec(listening.line)?.[0] ?? "" };
}

/** A native arena player, a bot, with what it tells in its trace. */
export class Native extends Running {
  constructor(binaries, name, service, args) {
    const fixed = ["--service", `http://${service}`, "--name", name, "--line", "--bot", "--until-stdin-ends"];
    super(name, join(binaries, "examples/arena"), [...fixed, ...args], {});
    this.child.stdout.resume();
    createInterface({ input: this.child.stderr }).on("line", (line) => this.hear(parsed(line)));
  }

  /** Its seat. */
  async joined() {
    return await this.wait("that it joined", (trace) => trace.kind === "joined");
  }

  async event(name, from = 0) {
    return await this.wait(name, (trace) => trace.kind === "event" && trace.name === name, from);
  }

  /** A status from now on for which this holds. */
  async status(what, matches) {
    return await this.wait(what, (trace) => trace.kind === "status" && matches(trace), this.lines.length);
  }

  statuses() {
    return this.lines.filter((trace) => trace.kind === "status");
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return { kind: "words", line };
  }
}

/** A wire to the service: a player that goes through it can be cut off from the lobby, and from nothing else; and what it says is kept. */
export class Wire {
  static async to(address, at = "127.0.0.1") {
    const wire = new Wire();
    wire.streams = [];
    const [host, port] = address.split(":");
    wire.sockets = new Set();
    wire.isCut = false;
    wire.server = createServer((socket) => {
      if (wire.isCut) {
        socket.destroy();
        return;
      }
      const onward = connect(Number(port), host);
      for (const [way, one, other] of [["sent", socket, onward], ["received", onward, socket]]) {
        wire.sockets.add(one);
        const chunks = [];
        wire.streams.push({ way, chunks });
        one.on("data", (chunk) => chunks.push(chunk));
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          wire.sockets.delete(one);
          other.destroy();
        });
      }
    });
    wire.server.listen(0, at);
    await once(wire.server, "listening");
    wire.address = `${at}:${wire.server.address().port}`;
    return wire;
  }

  /** Ends what goes through it, and lets nothing else through. */
  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend() {
    this.isCut = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
