/**
 * The rules of the arena, as a value: no clock, no network, and randomness from its own seed. The same rules, and the same bytes, as
 * `peer-client/examples/arena/world.rs`: a browser and a native process play one game, and either goes on from the other's state.
 */

import { Malformed, Reader, U64_MAX, Writer } from "./pack.js";

/** Cells from left to right. */
export const WIDTH = 46;
/** Cells from top to bottom. */
export const HEIGHT = 18;
/** Steps of the world in a second. */
export const TICKS_PER_SECOND = 30;
/** All coins of an arena, for ever. */
export const COINS = 60;

const DISPENSERS: readonly Cell[] = [
  { x: 8, y: 4 },
  { x: 37, y: 4 },
  { x: 22, y: 13 },
];
const COINS_PER_DISPENSER = COINS / DISPENSERS.length;
/** A dispenser pays this often. */
const PAY_TICKS = 12;
/** A player walks ten cells a second. */
const STEP_TICKS = 3;
const RELOAD_TICKS = 12;
const STUN_TICKS = 15;
const SHOT_RANGE = 14;
/** Coins of a hit player fly this far. */
const SCATTER_CELLS = 3;
/** More players than a lobby can have; a world that claims more is not read. */
const PLAYERS_MAX = 1000;
/** A shot flies for 14 ticks and the next one takes 12. */
const SHOTS_MAX = 2 * PLAYERS_MAX;
/** More than there are, and few enough that no pocket overflows. */
const COINS_MAX = 0xffff;
/** A few hundred thousand years, so that no tick overflows. */
const TICK_MAX = 2 ** 48;
const U8_MAX = 0xff;
const U32_MAX = 0xffff_ffff;

/** A place on the grid: from the left, from the top. */
export interface Cell {
  readonly x: number;
  readonly y: number;
}

/** Where a player looks and a shot flies. */
export type Direction = "Up" | "Down" | "Left" | "Right";

/** What a player wants in one tick: turn and walk there, shoot where it looks. */
export interface Input {
  readonly walk: Direction | undefined;
  readonly shoot: boolean;
}

/** Wants nothing. */
export const NOTHING: Input = { walk: undefined, shoot: false };

/** A player's figure. `enabled` is false while the player is away: the figure stands still and cannot be hit. */
export interface Player {
  at: Cell;
  looks: Direction;
  coins: number;
  enabled: boolean;
  walksIn: number;
  shootsIn: number;
  stunned: number;
}

/** A shot under way, by the player of this connection id. */
export interface Shot {
  at: Cell;
  flies: Direction;
  by: number;
  cellsLeft: number;
}

/** A machine that nobody owns: it collects the price of shots and throws coins out again. */
export interface Dispenser {
  at: Cell;
  coins: number;
}

/** The keys of a map in their order: worlds that are equal go on equally. */
export function sorted<Value>(map: ReadonlyMap<number, Value>): [number, Value][] {
  return [...map].sort(([one], [other]) => one - other);
}

/** The whole arena at a tick. Players are named by their connection ids. */
export class World {
  /** Ticks since the arena was made. */
  public tick = 0;
  /** Figures, by connection id. */
  public readonly players = new Map<number, Player>();
  /** Coins on the floor, by {@link cellKey}. */
  public readonly floor = new Map<number, number>();
  public shots: Shot[] = [];
  public dispensers: Dispenser[] = DISPENSERS.map((at) => ({ at, coins: COINS_PER_DISPENSER }));
  private random: bigint;

  /** An arena without players, made from a number of 64 bits that never changes. */
  public constructor(public readonly seed: bigint) {
    this.random = seed;
  }

  /** A player is here: for the first time, or again where it stood. */
  public enter(connection: number): void {
    const at = { x: this.below(WIDTH), y: this.below(HEIGHT) };
    const known = this.players.get(connection);
    if (known !== undefined) {
      known.enabled = true;
      return;
    }
    const timers = { walksIn: 0, shootsIn: RELOAD_TICKS, stunned: 0 };
    this.players.set(connection, { at, looks: "Right", coins: 0, enabled: true, ...timers });
  }

  /** A player is away: it keeps its place and its coins. */
  public disable(connection: number): void {
    const player = this.players.get(connection);
    if (player !== undefined) {
      player.enabled = false;
    }
  }

  /** Everybody but this player is away: after a restore, until they are back. */
  public disableAllBut(connection: number): void {
    for (const [other, player] of this.players) {
      player.enabled = other === connection;
    }
  }

  /** A player will not come back: its coins stay. */
  public leave(connection: number): void {
    const player = this.players.get(connection);
    if (player !== undefined) {
      this.players.delete(connection);
      this.scatter(player.at, player.coins);
    }
  }

  /** All coins there are. */
  public coins(): number {
    let sum = 0;
    this.floor.forEach((coins) => (sum += coins));
    this.players.forEach((player) => (sum += player.coins));
    this.dispensers.forEach((dispenser) => (sum += dispenser.coins));
    return sum;
  }

  /** One tick. */
  public step(inputs: ReadonlyMap<number, Input>): void {
    this.tick += 1;
    this.fly();
    for (const [connection, input] of sorted(inputs)) {
      this.act(connection, input);
    }
    this.pay();
  }

  /** As bytes, for the wire and for snapshots. */
  public encode(): Uint8Array {
    const to = new Writer();
    to.array(7);
    to.uint(this.tick);
    to.uint(this.seed);
    to.uint(this.random);
    to.map(this.players.size);
    for (const [connection, player] of sorted(this.players)) {
      to.uint(connection);
      writePlayer(to, player);
    }
    to.map(this.floor.size);
    for (const [key, coins] of sorted(this.floor)) {
      writeCell(to, cellOf(key));
      to.uint(coins);
    }
    to.array(this.shots.length);
    this.shots.forEach((shot) => writeShot(to, shot));
    to.array(this.dispensers.length);
    this.dispensers.forEach((dispenser) => writeDispenser(to, dispenser));
    return to.finish();
  }

  /** Reads what {@link World.encode} wrote. Throws {@link Malformed} if it is no arena, or one that breaks its own limits. */
  public static decode(bytes: Uint8Array): World {
    const from = new Reader(bytes);
    from.struct(7);
    const tick = from.uint(TICK_MAX);
    const world = new World(from.ulong());
    world.tick = tick;
    world.random = from.ulong();
    repeat(from.map(), PLAYERS_MAX, () => world.players.set(from.uint(U32_MAX), readPlayer(from)));
    repeat(from.map(), WIDTH * HEIGHT, () => world.floor.set(cellKey(readCell(from)), from.uint(COINS_MAX)));
    world.shots = [];
    repeat(from.array(), SHOTS_MAX, () => world.shots.push(readShot(from)));
    world.dispensers = [];
    repeat(from.array(), DISPENSERS.length, () => world.dispensers.push(readDispenser(from)));
    if (world.dispensers.length !== DISPENSERS.length || world.coins() > COINS_MAX) {
      throw new Malformed("the arena has too many things, or too few");
    }
    return world;
  }

  /** Shots fly one cell, hit or end. */
  private fly(): void {
    const flying = this.shots;
    this.shots = [];
    for (const shot of flying) {
      const at = shot.cellsLeft > 0 ? neighbour(shot.at, shot.flies) : undefined;
      if (at === undefined) {
        continue;
      }
      shot.at = at;
      shot.cellsLeft -= 1;
      if (!this.hit(shot)) {
        this.shots.push(shot);
      }
    }
  }

  /** Whether a shot hits somebody, who then drops half of its coins. */
  private hit(shot: Shot): boolean {
    const isHit = ([connection, player]: [number, Player]): boolean =>
      connection !== shot.by && player.enabled && player.stunned === 0 && isSame(player.at, shot.at);
    const player = sorted(this.players).find(isHit)?.[1];
    if (player === undefined) {
      return false;
    }
    const dropped = Math.ceil(player.coins / 2);
    player.coins -= dropped;
    player.stunned = STUN_TICKS;
    this.scatter(shot.at, dropped);
    return true;
  }

  /** One player turns, walks, picks up and shoots. */
  private act(connection: number, input: Input): void {
    const player = this.players.get(connection);
    if (player === undefined || !player.enabled) {
      return;
    }
    player.walksIn = Math.max(0, player.walksIn - 1);
    player.shootsIn = Math.max(0, player.shootsIn - 1);
    if (player.stunned > 0) {
      player.stunned -= 1;
      return;
    }
    player.looks = input.walk ?? player.looks;
    if (input.walk !== undefined && player.walksIn === 0) {
      player.walksIn = STEP_TICKS;
      player.at = neighbour(player.at, player.looks) ?? player.at;
    }
    player.coins += this.pickUp(player.at);
    if (input.shoot && player.shootsIn === 0 && player.coins > 0) {
      player.shootsIn = RELOAD_TICKS;
      player.coins -= 1;
      this.shots.push({ at: player.at, flies: player.looks, by: connection, cellsLeft: SHOT_RANGE });
      this.collect(connection);
    }
  }

  private pickUp(at: Cell): number {
    const found = this.floor.get(cellKey(at)) ?? 0;
    this.floor.delete(cellKey(at));
    return found;
  }

  /** The price of a shot goes to a dispenser. */
  private collect(connection: number): void {
    const dispenser = this.dispensers[connection % this.dispensers.length];
    if (dispenser !== undefined) {
      dispenser.coins += 1;
    }
  }

  /** Each dispenser throws out a coin now and then. */
  private pay(): void {
    if (this.tick % PAY_TICKS !== 0) {
      return;
    }
    for (const dispenser of this.dispensers) {
      if (dispenser.coins > 0) {
        dispenser.coins -= 1;
        this.scatter(dispenser.at, 1);
      }
    }
  }

  /** Drops coins around a place. */
  private scatter(around: Cell, coins: number): void {
    const near = (from: number, size: number): number => {
      const offset = from + this.below(2 * SCATTER_CELLS + 1) - SCATTER_CELLS;
      return Math.min(Math.max(0, offset), size - 1);
    };
    for (let coin = 0; coin < coins; coin += 1) {
      const x = near(around.x, WIDTH);
      const key = cellKey({ x, y: near(around.y, HEIGHT) });
      this.floor.set(key, (this.floor.get(key) ?? 0) + 1);
    }
  }

  /** A number below `limit` from the world's own randomness, so that equal worlds stay equal. */
  private below(limit: number): number {
    this.random = (this.random + 0x9e37_79b9_7f4a_7c15n) & U64_MAX;
    return Number(scramble(this.random) % BigInt(limit));
  }
}

/** A cell as a number. Cells are in the order of their numbers: column by column. */
export function cellKey(cell: Cell): number {
  return cell.x * HEIGHT + cell.y;
}

/** The cell of a {@link cellKey}. */
export function cellOf(key: number): Cell {
  return { x: Math.floor(key / HEIGHT), y: key % HEIGHT };
}

/** The neighbour, if it is inside. */
export function neighbour({ x, y }: Cell, direction: Direction): Cell | undefined {
  const steps = { Up: { x, y: y - 1 }, Down: { x, y: y + 1 }, Left: { x: x - 1, y }, Right: { x: x + 1, y } };
  const next = steps[direction];
  return next.x >= 0 && next.x < WIDTH && next.y >= 0 && next.y < HEIGHT ? next : undefined;
}

/** Whether two cells are the same. */
export function isSame(one: Cell, other: Cell): boolean {
  return one.x === other.x && one.y === other.y;
}

/** Steps from one to the other. */
export function distance(one: Cell, other: Cell): number {
  return Math.abs(one.x - other.x) + Math.abs(one.y - other.y);
}

/** Spreads every bit of a 64-bit number over all of them (the finaliser of SplitMix64). */
export function scramble(number: bigint): bigint {
  let mixed = number;
  mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & U64_MAX;
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d0_49bb_1331_11ebn) & U64_MAX;
  return mixed ^ (mixed >> 31n);
}

/** Reads a direction by its name. */
export function readDirection(from: Reader): Direction {
  const name = from.text();
  if (name !== "Up" && name !== "Down" && name !== "Left" && name !== "Right") {
    throw new Malformed("no direction");
  }
  return name;
}

function repeat(times: number, max: number, read: () => void): void {
  if (times > max) {
    throw new Malformed(`more than ${max}`);
  }
  for (let index = 0; index < times; index += 1) {
    read();
  }
}

function writeCell(to: Writer, cell: Cell): void {
  to.array(2);
  to.uint(cell.x);
  to.uint(cell.y);
}

function readCell(from: Reader): Cell {
  from.struct(2);
  return { x: from.uint(WIDTH - 1), y: from.uint(HEIGHT - 1) };
}

function writePlayer(to: Writer, player: Player): void {
  to.array(7);
  writeCell(to, player.at);
  to.text(player.looks);
  to.uint(player.coins);
  to.bool(player.enabled);
  to.uint(player.walksIn);
  to.uint(player.shootsIn);
  to.uint(player.stunned);
}

function readPlayer(from: Reader): Player {
  from.struct(7);
  const [at, looks, coins, enabled] = [readCell(from), readDirection(from), from.uint(COINS_MAX), from.bool()];
  const [walksIn, shootsIn, stunned] = [from.uint(U8_MAX), from.uint(U8_MAX), from.uint(U8_MAX)];
  return { at, looks, coins, enabled, walksIn, shootsIn, stunned };
}

function writeShot(to: Writer, shot: Shot): void {
  to.array(4);
  writeCell(to, shot.at);
  to.text(shot.flies);
  to.uint(shot.by);
  to.uint(shot.cellsLeft);
}

function readShot(from: Reader): Shot {
  from.struct(4);
  const [at, flies] = [readCell(from), readDirection(from)];
  return { at, flies, by: from.uint(U32_MAX), cellsLeft: from.uint(U8_MAX) };
}

function writeDispenser(to: Writer, dispenser: Dispenser): void {
  to.array(2);
  writeCell(to, dispenser.at);
  to.uint(dispenser.coins);
}

function readDispenser(from: Reader): Dispenser {
  from.struct(2);
  return { at: readCell(from), coins: from.uint(COINS_MAX) };
}
