/** A player made of a few lines: it runs for the nearest coin and shoots at the rich. */

import { type Cell, type Direction, type Input, NOTHING, type World, cellKey, cellOf, distance, sorted } from "./world.js";

/** As far as a bot takes aim. */
const AIM_CELLS = 10;
/** Coins that make a target worth the price of a shot. */
const WORTH_COINS = 3;

/** What the bot at this seat wants now. */
export function botInput(world: World, connection: number): Input {
  const me = world.players.get(connection);
  if (me === undefined) {
    return NOTHING;
  }
  const rich = sorted(world.players).filter(([other, player]) => other !== connection && player.enabled);
  const targets = rich.filter(([, player]) => player.coins >= WORTH_COINS).map(([, player]) => player.at);
  const aims = targets.map((at) => lineOfFire(me.at, at)).filter((aim) => aim !== undefined);
  if (me.coins > 0 && aims[0] !== undefined) {
    return { walk: aims[0], shoot: true };
  }
  const coin = nearest(world, me.at);
  return { walk: coin === undefined ? undefined : towards(me.at, coin), shoot: false };
}

/** The nearest coin: of those equally near, the first. */
function nearest(world: World, from: Cell): Cell | undefined {
  let best: Cell | undefined;
  for (const key of world.floor.keys()) {
    const cell = cellOf(key);
    const difference = best === undefined ? -1 : distance(cell, from) - distance(best, from);
    if (best === undefined || difference < 0 || (difference === 0 && key < cellKey(best))) {
      best = cell;
    }
  }
  return best;
}

/** The direction in which a shot from one cell hits the other, if it is near enough. */
function lineOfFire(from: Cell, to: Cell): Direction | undefined {
  const inLine = (from.x === to.x) !== (from.y === to.y);
  return inLine && distance(from, to) <= AIM_CELLS ? towards(from, to) : undefined;
}

/** The first step, along the longer way of the two. */
function towards(from: Cell, to: Cell): Direction | undefined {
  const [sideways, upright] = [to.x - from.x, to.y - from.y];
  if (sideways === 0 && upright === 0) {
    return undefined;
  }
  if (Math.abs(sideways) > Math.abs(upright)) {
    return sideways < 0 ? "Left" : "Right";
  }
  return upright < 0 ? "Up" : "Down";
}
