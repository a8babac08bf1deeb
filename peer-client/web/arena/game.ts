/** The game as one page plays it: it runs the arena while it is host, and shows the host's while it is a guest. */

import { UNRELIABLE_BYTES_MAX } from "../src/index.js";
import type { Game, Message, Restored, SavedState, SessionEvent } from "../src/index.js";
import { Customer } from "./bank.js";
import { type Packet, decodePacket, encodePacket } from "./message.js";
import { Malformed } from "./pack.js";
import { type Seat, hosting, send } from "./seat.js";
import { placeDispensers, seatPlayers } from "./seats.js";
import { Vault } from "./stored.js";
import { type Input, NOTHING, TICKS_PER_SECOND, World } from "./world.js";

/** A guest banks ten times a second. */
const BANK_TICKS = TICKS_PER_SECOND / 10;
/** Part of the ballast of a native host's state that changes with each tick, in percent. */
const CHURN_PERCENT = 1;
const SCENE = "arena";
/** What comes before the page knows its seat waits, up to so many messages and events. */
const EARLY_MAX = 1024;

/** What may interest those who watch. */
export type News =
  | { readonly kind: "event"; readonly event: SessionEvent }
  /** The first tick of a new host is here. `pauseMs`: for how long this page saw the game stand still. */
  | { readonly kind: "first_tick"; readonly epoch: number; readonly pauseMs: number | undefined };

/** What a game is made with. */
export interface Setup {
  /** Of a new arena: 64 random bits. */
  readonly seed: bigint;
  /** Names this page at the bank: 64 random bits, not 0. */
  readonly process: bigint;
  /** Milliseconds of any clock that never goes back. */
  readonly now: () => number;
  /** Is told what happens. */
  readonly onNews: (news: News) => void;
}

/** One player's game. */
export class ArenaGame implements Game {
  /** The arena, as far as this page knows. */
  public world: World;
  /** The epoch in which `world` was run. */
  public worldEpoch = 0;
  /** What only a host has. */
  public vault: Vault;
  /** What this page banks. */
  public readonly customer: Customer;
  private seat: Seat | undefined;
  /** What came before the seat was known. */
  private early: (() => void)[] = [];
  /** When the newest tick was applied. */
  private appliedAt: number | undefined;
  /** Ticks of this page's own. */
  private ticks = 0;
  /** What each player wanted last; only the host knows. */
  private readonly inputs = new Map<number, Input>();
  /** Guests that have not seen the arena yet. */
  private newcomers: number[] = [];

  /** A player without a seat yet. */
  public constructor(private readonly setup: Setup) {
    this.world = new World(setup.seed);
    this.vault = Vault.make(setup.seed, 0);
    this.customer = new Customer(setup.process);
  }

  /** The player has its seat. */
  public sit(seat: Seat): void {
    this.seat = seat;
    const early = this.early;
    this.early = [];
    early.forEach((happen) => happen());
  }

  /** One tick: the host runs the arena, a guest says what it wants. */
  public tick(input: Input): void {
    const { seat } = this;
    this.ticks += 1;
    switch (seat?.role) {
      case "host":
        this.run(seat, input);
        break;
      case "guest":
        // One that is lost is followed by the next.
        send(seat, "host", "unreliable", encodePacket({ kind: "Input", input }));
        this.bank(seat);
        break;
      case "waiting":
      case "joining":
        // Whoever is host next is told.
        this.bank(seat);
        break;
      case "becoming":
      case "handing_over":
      case undefined:
        break;
    }
  }

  /** The state as it is now. */
  public saveState(): SavedState | undefined {
    return this.seat === undefined ? undefined : this.state(this.world.encode());
  }

  /** Goes on from what a host stored. Throws {@link Malformed} if that is no arena. */
  public restoreState(restored: Restored | undefined): void {
    this.inputs.clear();
    if (restored === undefined) {
      this.world = new World(this.world.seed);
      this.vault = Vault.make(this.world.seed, 0);
      return;
    }
    ({ world: this.world, vault: this.vault } = Vault.decode(restored.state));
    const me = this.seat?.me;
    if (me !== undefined) {
      this.world.disableAllBut(me);
    }
  }

  /** Takes a guest's wish or the host's arena. */
  public onMessage(message: Message): void {
    this.whenSeated((seat) => this.receive(seat, message));
  }

  /** Something happened to the session. */
  public onEvent(event: SessionEvent): void {
    this.whenSeated((seat) => {
      this.heed(event);
      this.greet(seat);
      this.setup.onNews({ kind: "event", event });
    });
  }

  private whenSeated(happen: (seat: Seat) => void): void {
    const { seat } = this;
    if (seat !== undefined) {
      happen(seat);
    } else if (this.early.length < EARLY_MAX) {
      this.early.push(() => this.whenSeated(happen));
    }
  }

  /** Says the next operation, if it is time. */
  private bank(seat: Seat): void {
    if (this.ticks % BANK_TICKS !== 0) {
      return;
    }
    const number = this.customer.said + 1n;
    // What is not taken now, because too much waits, is said again the next time.
    if (send(seat, "host", "reliable", encodePacket({ kind: "Bank", process: this.customer.process, number }))) {
      this.customer.said = number;
    }
  }

  private heed(event: SessionEvent): void {
    switch (event.kind) {
      case "player_joined":
      case "player_reconnected":
        this.newcomers.push(event.connection);
        break;
      case "taken_back":
        this.customer.takeBack(event.numbers.to === undefined ? undefined : event.numbers.to - event.numbers.from + 1);
        break;
      case "never_heard":
      case "demoted":
        // What this page did as a host that was none any more is forgotten.
        this.customer.forget();
        break;
      default:
        break;
    }
  }

  /** The state with this arena, for whoever goes on from it. */
  private state(world: Uint8Array): SavedState {
    const tick = this.world.tick;
    return { tick, elapsedMs: Math.floor((tick * 1000) / TICKS_PER_SECOND), scene: SCENE, state: this.vault.encode(world) };
  }

  /** No guest can give the host an arena. */
  private receive(seat: Seat, message: Message): void {
    const packet = decodePacket(message.payload);
    if (message.delivery !== "unreliable" && packet?.kind !== "Input" && packet?.kind !== "Bank") {
      this.customer.hear();
    }
    const runsTheGame = ["host", "becoming", "handing_over"].includes(seat.role);
    switch (packet?.kind) {
      case "Receipt":
        // Also a new host has receipts of the old one to hear. One of another process of this player's is nobody's.
        this.customer.take(packet.process, packet.number);
        break;
      case "Bank":
        if (runsTheGame) {
          this.vault.bank.take(message.from, packet.process, packet.number);
        }
        break;
      case "Input":
        if (runsTheGame) {
          this.inputs.set(message.from, packet.input);
        }
        break;
      case "World":
        if (!runsTheGame) {
          this.show(seat, packet);
        }
        break;
      case undefined:
        break;
    }
  }

  /**
   * Shows the host's arena if it is newer than what is shown. The session has dropped what other epochs' hosts sent; the packet is not
   * believed either if it speaks of another epoch.
   */
  private show(seat: Seat, packet: Packet & { kind: "World" }): void {
    if (packet.epoch < this.worldEpoch || packet.epoch !== seat.epoch) {
      return;
    }
    const world = readWorld(packet.world);
    if (world === undefined || (packet.epoch === this.worldEpoch && world.tick <= this.world.tick)) {
      return;
    }
    this.world = world;
    this.noteTick(seat, packet.epoch);
  }

  /** The host's tick. What it says belongs to the state that it gives at its end. */
  private run(seat: Seat, input: Input): void {
    const { vault, world } = this;
    seatPlayers(seat, world);
    this.inputs.set(seat.me, input);
    for (const connection of [...this.inputs.keys()].filter((connection) => !world.players.has(connection))) {
      this.inputs.delete(connection);
    }
    vault.bank.keep((connection) => world.players.has(connection));
    world.step(new Map([...world.players.keys()].map((connection) => [connection, this.inputs.get(connection) ?? NOTHING])));
    vault.ballast.churn(world.tick, CHURN_PERCENT);
    seat.setTick(world.tick);
    const bytes = world.encode();
    const packet = encodePacket({ kind: "World", epoch: seat.epoch, world: bytes });
    // A guest whose queue is full gets the next one.
    send(seat, "everyone", packet.length <= UNRELIABLE_BYTES_MAX ? "unreliable" : "reliable", packet);
    this.sayReceipts(seat);
    this.noteTick(seat, seat.epoch);
    this.greet(seat);
    // Whoever has become a guest in between has nothing to give.
    hosting(() => seat.giveState(this.state(bytes)));
  }

  private sayReceipts(seat: Seat): void {
    this.vault.bank.sayReceipts((connection, process, number) => {
      // What this player banked while it was a guest.
      if (connection === seat.me) {
        return this.customer.take(process, number);
      }
      return send(seat, connection, "reliable", encodePacket({ kind: "Receipt", process, number }));
    });
  }

  /** Shows the arena to guests that have just come in: surely, and without waiting for the next tick. */
  private greet(seat: Seat): void {
    if (seat.role !== "host") {
      this.newcomers = [];
    } else if (this.worldEpoch === seat.epoch && this.newcomers.length > 0) {
      const packet = encodePacket({ kind: "World", epoch: seat.epoch, world: this.world.encode() });
      // A guest that is away again sees it when it is back.
      this.newcomers.forEach((guest) => send(seat, guest, "reliable", packet));
      this.newcomers = [];
    }
  }

  /** A tick was applied. Tells of the first one of each epoch. */
  private noteTick(seat: Seat, epoch: number): void {
    const [previous, now] = [this.appliedAt, this.setup.now()];
    this.appliedAt = now;
    if (epoch <= this.worldEpoch) {
      return;
    }
    this.worldEpoch = epoch;
    if (seat.role === "host") {
      hosting(() => placeDispensers(seat, this.world));
    }
    this.setup.onNews({ kind: "first_tick", epoch, pauseMs: previous === undefined ? undefined : now - previous });
  }
}

/** What a host sent as its arena; `undefined`: it is none. */
function readWorld(bytes: Uint8Array): World | undefined {
  try {
    return World.decode(bytes);
  } catch (error) {
    if (error instanceof Malformed) {
      return undefined;
    }
    throw error;
  }
}
