/** What the page tells those who test it: `window.arenaStatus()`. Numbers of the bank are texts: they may be larger than JSON's. */

import type { ArenaGame } from "./game.js";
import type { Seat } from "./seat.js";
import type { Shift } from "./timeline.js";
import { sorted } from "./world.js";

/** How the game is, as a native process tells it in its trace. */
export function statusOf(seat: Seat, game: ArenaGame, shifts: readonly Shift[]): Record<string, unknown> {
  const { world, customer, vault } = game;
  const stats = seat.stats();
  const players = sorted(world.players).map(([connection, { enabled, coins, at, looks }]) => ({ connection, enabled, coins, at, looks }));
  const owned = [...seat.objects].filter(([, object]) => object.owner === seat.me).map(([id]) => id);
  const accounts = sorted(vault.bank.accounts).map(([connection, account]) => [connection, String(account.newest)]);
  const bank = { banked: String(vault.bank.banked), lost: String(vault.bank.lost), twice: String(vault.bank.twice) };
  return {
    me: seat.me,
    role: seat.role,
    epoch: seat.epoch,
    world_epoch: game.worldEpoch,
    host: seat.host ?? null,
    successor: stats.successor ?? null,
    join_code: seat.joinCode,
    over: seat.isOver,
    members: seat.lobby.members.map((member) => member.connection),
    tick: world.tick,
    players,
    coins: world.coins(),
    owned,
    objects: seat.objects.size,
    said: String(customer.said),
    receipts: customer.newest === undefined ? null : String(customer.newest),
    receipts_lost: String(customer.lost),
    receipts_twice: String(customer.twice),
    bank: seat.role === "host" ? { ...bank, accounts: Object.fromEntries(accounts) as unknown } : null,
    links: stats.links,
    lobby_reachable: stats.lobbyReachable,
    durable_tick: stats.durable?.tick ?? null,
    warm: stats.warm ?? null,
    migrations: shifts,
  };
}
