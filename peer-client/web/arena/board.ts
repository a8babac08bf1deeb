/** Draws the arena: all of it where there is room, else the part around the player, with a small map of the whole. */

import { BOARD, colourOf, numberOf } from "./colours.js";
import { type Cell, type Direction, HEIGHT, type Player, type Shot, WIDTH, type World, cellOf, sorted } from "./world.js";

/** Below this many CSS pixels a cell, the board shows a part. */
const CELL_MIN = 12;
/** Fewest columns of that part. */
const PART_COLUMNS = 24;
/** The board is not higher than this part of the window. */
const HEIGHT_MAX = 0.8;
/** Figures glide at this many cells a second: a little faster than they walk, so that they never lag behind. */
const GLIDE_CELLS_PER_S = 14;
/** Whoever is further from where it was drawn has not walked there. */
const JUMP_CELLS = 3;
/** Longest time between two frames that is glided over. */
const FRAME_MS_MAX = 100;

interface Place {
  x: number;
  y: number;
}

const DIRECTIONS: Record<Direction, Place> = {
  Up: { x: 0, y: -1 },
  Down: { x: 0, y: 1 },
  Left: { x: -1, y: 0 },
  Right: { x: 1, y: 0 },
};

/** What one frame is drawn of. */
export interface Frame {
  readonly world: World;
  /** The player of this page. */
  readonly me: number;
  /** A player's name; shown where there is room. */
  readonly nameOf: (connection: number) => string;
  /** Milliseconds of any clock. */
  readonly now: number;
}

/** The board on its canvas. */
export class Board {
  private readonly context: CanvasRenderingContext2D;
  /** Where each figure was drawn last, in cells. */
  private readonly drawn = new Map<number, Place>();
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)");
  private before = 0;
  /** CSS pixels a cell. */
  private cell = CELL_MIN;
  private columns = WIDTH;
  /** The left edge of what is shown, in cells. */
  private left = 0;

  /** Draws on this canvas, whose width follows the page. */
  public constructor(private readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) {
      throw new Error("this browser draws on no canvas");
    }
    this.context = context;
  }

  /** Draws everything. */
  public draw(frame: Frame): void {
    const elapsedMs = Math.min(frame.now - this.before, FRAME_MS_MAX);
    this.before = frame.now;
    this.glide(frame.world, elapsedMs);
    this.fit(frame);
    this.floor();
    frame.world.floor.forEach((coins, key) => this.coin(cellOf(key), coins));
    frame.world.dispensers.forEach(({ at, coins }) => this.dispenser(at, coins));
    frame.world.shots.forEach((shot) => this.shot(shot));
    // One's own figure is never hidden.
    const last = ([connection]: [number, Player]): number => (connection === frame.me ? 1 : 0);
    for (const [connection, player] of sorted(frame.world.players).sort((one, other) => last(one) - last(other))) {
      this.player(frame, connection, player);
    }
    if (this.columns < WIDTH) {
      this.map(frame);
    }
  }

  /** Moves what is drawn of the figures towards where they are. */
  private glide(world: World, elapsedMs: number): void {
    const step = (GLIDE_CELLS_PER_S * elapsedMs) / 1000;
    for (const [connection, { at }] of world.players) {
      const from = this.drawn.get(connection) ?? at;
      const jumps = this.still.matches || Math.abs(from.x - at.x) + Math.abs(from.y - at.y) > JUMP_CELLS;
      const towards = (now: number, then: number): number => now + Math.max(-step, Math.min(step, then - now));
      this.drawn.set(connection, jumps ? { ...at } : { x: towards(from.x, at.x), y: towards(from.y, at.y) });
    }
    for (const connection of [...this.drawn.keys()].filter((connection) => !world.players.has(connection))) {
      this.drawn.delete(connection);
    }
  }

  /** Fits the canvas to the page, in the screen's own pixels, and what is shown to the player. */
  private fit(frame: Frame): void {
    const width = this.canvas.parentElement?.clientWidth ?? this.canvas.clientWidth;
    const part = Math.max(PART_COLUMNS, (width * HEIGHT) / (innerHeight * HEIGHT_MAX));
    this.columns = width / WIDTH < CELL_MIN ? Math.min(part, WIDTH) : WIDTH;
    this.cell = width / this.columns;
    const scale = devicePixelRatio;
    const [wide, high] = [Math.round(width * scale), Math.round(HEIGHT * this.cell * scale)];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      [this.canvas.width, this.canvas.height] = [wide, high];
      this.canvas.style.height = `${high / scale}px`;
    }
    const me = this.drawn.get(frame.me) ?? { x: WIDTH / 2, y: 0 };
    this.left = Math.min(Math.max(0, me.x + 0.5 - this.columns / 2), WIDTH - this.columns);
    const pixels = this.cell * scale;
    this.context.setTransform(pixels, 0, 0, pixels, -this.left * pixels, 0);
  }

  private floor(): void {
    const { context } = this;
    context.fillStyle = BOARD.floor;
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.fillStyle = BOARD.line;
    for (let x = 0; x < WIDTH; x += 1) {
      for (let y = x % 2; y < HEIGHT; y += 2) {
        context.fillRect(x, y, 1, 1);
      }
    }
    context.strokeStyle = BOARD.edge;
    context.lineWidth = 0.12;
    context.strokeRect(0.06, 0.06, WIDTH - 0.12, HEIGHT - 0.12);
  }

  private coin(at: Cell, coins: number): void {
    const { context } = this;
    context.fillStyle = BOARD.coin;
    context.strokeStyle = BOARD.coinEdge;
    context.lineWidth = 0.08;
    // A stack, the lowest coin first.
    for (let index = Math.min(coins, 3) - 1; index >= 0; index -= 1) {
      context.beginPath();
      context.arc(at.x + 0.5, at.y + 0.5 + 0.13 * index, 0.24, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  private dispenser(at: Cell, coins: number): void {
    const { context } = this;
    context.fillStyle = BOARD.dispenser;
    context.strokeStyle = BOARD.dispenserEdge;
    context.lineWidth = 0.1;
    context.beginPath();
    for (let corner = 0; corner < 6; corner += 1) {
      const angle = (corner * Math.PI) / 3;
      context.lineTo(at.x + 0.5 + 0.8 * Math.cos(angle), at.y + 0.5 + 0.8 * Math.sin(angle));
    }
    context.closePath();
    context.fill();
    context.stroke();
    this.text(String(coins), at.x + 0.5, at.y + 0.53, 0.62, BOARD.text);
  }

  private shot({ at, flies }: Shot): void {
    const { context } = this;
    const { x, y } = DIRECTIONS[flies];
    const [headX, headY] = [at.x + 0.5 + 0.3 * x, at.y + 0.5 + 0.3 * y];
    context.strokeStyle = BOARD.shot;
    context.lineCap = "round";
    context.lineWidth = 0.2;
    context.beginPath();
    context.moveTo(headX - 0.9 * x, headY - 0.9 * y);
    context.lineTo(headX, headY);
    context.stroke();
  }

  private player(frame: Frame, connection: number, player: Player): void {
    const { context } = this;
    const { x, y } = this.drawn.get(connection) ?? player.at;
    const colour = player.enabled ? colourOf(connection) : BOARD.away;
    const isMe = connection === frame.me;
    context.save();
    context.translate(x + 0.5, y + 0.5);
    context.globalAlpha = player.stunned > 0 ? 0.55 : 1;
    this.nose(player.looks, colour);
    context.beginPath();
    context.roundRect(-0.56, -0.56, 1.12, 1.12, 0.32);
    context.lineWidth = isMe ? 0.16 : 0.1;
    context.strokeStyle = isMe ? "#ffffff" : BOARD.ink;
    context.setLineDash(player.enabled ? [] : [0.25, 0.2]);
    if (player.enabled) {
      context.fillStyle = colour;
      context.fill();
    } else {
      context.strokeStyle = colour;
    }
    context.stroke();
    context.restore();
    this.text(player.stunned > 0 ? "×" : numberOf(connection), x + 0.5, y + 0.53, 0.78, player.enabled ? BOARD.ink : colour);
    if (this.cell >= CELL_MIN + 2) {
      const name = player.enabled ? frame.nameOf(connection) : `${frame.nameOf(connection)} (away)`;
      const below = y < 1.5;
      this.text(name, x + 0.5, below ? y + 1.75 : y - 0.55, Math.max(0.6, 10 / this.cell), colour);
    }
  }

  /** Where a figure looks. */
  private nose(looks: Direction, colour: string): void {
    const { context } = this;
    const { x, y } = DIRECTIONS[looks];
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(0.95 * x, 0.95 * y);
    context.lineTo(0.5 * x + 0.34 * y, 0.5 * y + 0.34 * x);
    context.lineTo(0.5 * x - 0.34 * y, 0.5 * y - 0.34 * x);
    context.fill();
  }

  /** Texts are drawn in the screen's pixels: fonts of less than one pixel are not what they should be. */
  private text(text: string, x: number, y: number, size: number, colour: string): void {
    const { context } = this;
    const pixels = this.cell * devicePixelRatio;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colour;
    context.font = `700 ${Math.round(size * pixels)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, (x - this.left) * pixels, y * pixels);
    context.restore();
  }

  /** The whole arena, small, in a corner on the right where the player is not. */
  private map(frame: Frame): void {
    const { context } = this;
    const size = 0.15;
    const isUp = (this.drawn.get(frame.me)?.y ?? HEIGHT) < HEIGHT / 2;
    const [from, top] = [this.left + this.columns - WIDTH * size - 0.4, isUp ? HEIGHT * (1 - size) - 0.4 : 0.4];
    context.globalAlpha = 0.7;
    context.fillStyle = BOARD.ink;
    context.fillRect(from, top, WIDTH * size, HEIGHT * size);
    context.strokeStyle = BOARD.edge;
    context.lineWidth = 0.08;
    context.strokeRect(from, top, WIDTH * size, HEIGHT * size);
    context.strokeRect(from + this.left * size, top, this.columns * size, HEIGHT * size);
    for (const [connection, player] of frame.world.players) {
      const dot = connection === frame.me ? 0.5 : 0.36;
      context.fillStyle = player.enabled ? colourOf(connection) : BOARD.away;
      context.fillRect(from + player.at.x * size - dot / 4, top + player.at.y * size - dot / 4, dot, dot);
    }
    context.globalAlpha = 1;
  }
}
