/** What a panel shows of a session. */

import type { Driver } from "./driver.js";
import type { MigrationTrace, Role } from "./events.js";
import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, HostEpoch } from "./protocol/id.js";
import { hostOf } from "./protocol/lobby.js";

/** By which way a link goes: straight to the peer, through a TURN server, or it is not known yet. */
export type Path = "direct" | "relayed" | "unknown";

/** A link to a peer. */
export interface LinkStats {
  /** Its other end. */
  readonly peer: ConnectionId;
  /** It is up. */
  readonly isOpen: boolean;
  /** It is for later: its other end is only the successor, or takes this peer for it. */
  readonly standby: boolean;
  /** Its ends are host and guest of one game. */
  readonly inGame: boolean;
  /** By which way it goes. */
  readonly path: Path;
  /** Measured on it once a second, in milliseconds. */
  readonly roundTripMs: number | undefined;
  /** Since when nothing came on it, in milliseconds. */
  readonly silentMs: number;
}

/** A session, now. */
export interface SessionStats {
  /** This peer's seat. */
  readonly me: ConnectionId;
  /** What it is. */
  readonly role: Role;
  /** The host that the lobby has or has elected. */
  readonly host: ConnectionId | undefined;
  /** The epoch that counts. */
  readonly epoch: HostEpoch;
  /** Who would be elected now. */
  readonly successor: ConnectionId | undefined;
  /** The event socket is open. */
  readonly lobbyReachable: boolean;
  /** Links, by their peers. */
  readonly links: readonly LinkStats[];
  /** The newest state that this peer has: given by its own game if it hosts, else held for its host. */
  readonly newest: StateStats | undefined;
  /** Host only: the newest state that is durable in the lobby. */
  readonly durable: StateStats | undefined;
  /** Host only: the newest state that the successor has confirmed. */
  readonly warm: Generation | undefined;
  /** Bytes of states that this peer has sent to successors. */
  readonly stateBytesSent: number;
  /** Frames of hosts that are not host any more, or meant for one: they changed nothing. */
  readonly staleFrames: number;
  /** The newest migrations that this peer has seen, the oldest first: at most {@link TRACES_MAX}. */
  readonly migrations: readonly MigrationTrace[];
}

/** A state. */
export interface StateStats {
  /** Where it stands. */
  readonly generation: Generation;
  /** The game's tick in it. */
  readonly tick: number;
  /** How long ago it was given, or came, in milliseconds. */
  readonly ageMs: number;
}

/** Migrations that a session remembers. */
export const TRACES_MAX = 16;

/** What there is to show. */
export function statsOf(driver: Driver): SessionStats {
  const { state, migration, snapshots, held } = driver;
  const now = driver.now();
  const lobby = migration.lobby;
  const hosts = state.role === "host" || state.role === "handing_over";
  const links = [...state.links.values()].sort((a, b) => a.peer - b.peer);
  const successor = lobby.successor ?? undefined;
  const given = snapshots.newest;
  const newest = hosts ? given && { image: given.image, at: given.givenAt } : held.newest;
  const shown = (kept: { image: { generation: Generation; tick: number }; at: number } | undefined) =>
    kept && { generation: kept.image.generation, tick: kept.image.tick, ageMs: now - kept.at };
  return {
    me: driver.me,
    role: state.role,
    host: hostOf(lobby.host),
    epoch: state.epoch,
    successor,
    lobbyReachable: driver.lobbyReachable,
    links: links.map((link) => link.stats(now)),
    newest: shown(newest),
    durable: hosts ? shown(snapshots.durable) : undefined,
    warm: hosts && successor !== undefined ? driver.feed.acknowledged(successor) : undefined,
    stateBytesSent: state.stateBytesSent,
    staleFrames: state.staleFrames,
    migrations: driver.traces,
  };
}
