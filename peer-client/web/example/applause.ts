import { Client, type Game, type Message, type Restored, type SavedState, type Session, type SessionEvent } from "@understudy/client";

/** Everybody claps, and the host counts: that is all there is to the game. */
class Applause implements Game {
  private claps = 0;
  private tick = 0;
  private session: Session | undefined;

  /** The host is asked for this before it leaves. What has been heard until now belongs into it. */
  saveState(): SavedState {
    return { tick: this.tick, state: encode({ claps: this.claps }) };
  }

  /** Whoever is elected goes on from here: from an empty world, whatever it knew as a guest. */
  restoreState(restored: Restored | undefined): void {
    this.tick = restored?.tick ?? 0;
    this.claps = restored === undefined ? 0 : decode(restored.state).claps;
  }

  /** On the host: somebody has clapped. On a guest: the host tells the count. */
  onMessage({ payload, delivery }: Message): void {
    if (delivery === "reliable") this.claps += 1;
    else this.claps = decode(payload).claps;
  }

  /** Events may be ignored. */
  onEvent(event: SessionEvent): void {
    if (event.kind === "migrated") console.log(`member ${event.trace.to} runs the game now, after ${event.trace.resumedMs} ms`);
  }

  begin(session: Session): void {
    this.session = session;
    setInterval(() => this.frame(session), 50);
  }

  clap(): void {
    if (this.session?.isHost === true) this.claps += 1;
    // Said once: it has its effect once, whoever is host by then.
    else this.session?.send("host", new Uint8Array());
  }

  private frame(session: Session): void {
    if (session.isHost) {
      session.setTick((this.tick += 1));
      session.send("everyone", encode({ claps: this.claps }), "unreliable");
      // The last of a tick: what was heard and said so far is part of it.
      session.giveState(this.saveState());
    }
    document.title = `${this.claps} claps (${session.role}, join with ${session.joinCode})`;
  }
}

function encode(value: { claps: number }): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function decode(bytes: Uint8Array): { claps: number } {
  return JSON.parse(new TextDecoder().decode(bytes)) as { claps: number };
}

const client = await Client.signIn({ url: location.origin, playerName: "Ada", buildId: "applause-1" });
const game = new Applause();
const joinCode = location.hash.slice(1);
game.begin(joinCode === "" ? await client.host({ name: "Ada's hall" }, game) : await client.join(joinCode, game));
addEventListener("click", () => game.clap());
