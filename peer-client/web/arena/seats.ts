/** Seats and what belongs to them: the figure on the grid, the object in the library's table, the secret that only hosts know. */

import { type Seat, hosting } from "./seat.js";
import { type World, scramble } from "./world.js";

/** The figure of the player at connection c is object `FIGURES` + c; below are the dispensers, which nobody owns. */
const FIGURES = 1000;
const FIRST_DISPENSER = 1;
const SECRET_BYTES = 8;

/** Host only: brings the figures in line with who is in the game, away, or gone for good. */
export function seatPlayers(seat: Seat, world: World): void {
  const present = new Set([...seat.inGame, seat.me]);
  const members = new Set(seat.lobby.members.map((member) => member.connection));
  for (const [connection, player] of [...world.players].sort(([one], [other]) => one - other)) {
    if (!members.has(connection)) {
      world.leave(connection);
    } else if (player.enabled && !present.has(connection)) {
      world.disable(connection);
    }
  }
  for (const connection of [...present].sort((one, other) => one - other)) {
    if (world.players.get(connection)?.enabled !== true) {
      world.enter(connection);
      placeFigure(seat, world, connection);
    }
  }
}

/** Host only: tells the library of the dispensers, unless it knows them already. */
export function placeDispensers(seat: Seat, world: World): void {
  if (seat.objects.has(FIRST_DISPENSER)) {
    return;
  }
  const data = new TextEncoder().encode("dispenser");
  world.dispensers.forEach((_, index) => seat.placeObject(FIRST_DISPENSER + index, undefined, data));
}

/** Tells the library of a player's figure, and of what only hosts may know of the player. */
function placeFigure(seat: Seat, world: World, connection: number): void {
  const object = FIGURES + connection;
  if (seat.objects.get(object)?.owner === connection) {
    return;
  }
  hosting(() => {
    seat.placeObject(object, connection, new TextEncoder().encode("figure"));
    seat.setSeatData(connection, secret(world.seed, connection));
  });
}

/** What the host keeps of a seat and no guest sees: a number that can be computed again, so that a loss is noticed. */
function secret(seed: bigint, connection: number): Uint8Array {
  const bytes = new Uint8Array(SECRET_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, scramble(seed ^ scramble(BigInt(connection))));
  return bytes;
}
