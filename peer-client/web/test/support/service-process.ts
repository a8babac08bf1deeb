/** The real lobby service, for one test file. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Cargo's output folder for programs; `cargo xtask test` names it. */
const binaries =
  process.env["UNDERSTUDY_BINARIES"] ?? resolve(dirname(fileURLToPath(import.meta.url)), "../../../../../target/debug");

/** A service on ports that the system chooses, with its database in a folder of its own. */
export class ServiceProcess {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(): Promise<ServiceProcess> {
    const program = join(binaries, "lobby-service");
    if (!existsSync(program)) throw new Error("the service is not built: `cargo build -p lobby-service --bin lobby-service`");
    const folder = mkdtempSync(join(tmpdir(), "understudy-sessions-"));
    const env: NodeJS.ProcessEnv = { ...process.env, UNDERSTUDY_ADMIN_LISTEN: "127.0.0.1:0" };
    delete env["DATABASE_URL"];
    const args = ["--listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0", "--no-limits"];
    const child = spawn(program, args, { cwd: folder, env, stdio: ["ignore", "pipe", "ignore"] });
    return new ServiceProcess(`http://${await listening(child)}`, child, folder);
  }

  async stop(): Promise<void> {
    this.child.kill("SIGKILL");
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "exit");
    rmSync(this.folder, { recursive: true });
  }
}

/** Where it listens, which is what it says first. */
async function listening(child: ChildProcess): Promise<string> {
  let said = "";
  for await (const chunk of child.stdout ?? []) {
    said += String(chunk);
    const address = /http=(\S+)/.exec(said)?.[1];
    if (address !== undefined) {
      child.stdout?.resume();
      return address;
    }
  }
  throw new Error(`the service ended before it listened: ${said}`);
}
