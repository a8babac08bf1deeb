/** Who the player is over reloads, and what takes its seats again. */

/** A player's identity: what it takes to be the same player after a reload. Holds secrets. */
export interface Identity {
  /** The player. */
  readonly player: string;
  /** Opens the account once; the service gives the next one in exchange. */
  readonly refresh_token: string;
  /** What takes the player's seats again: the newest {@link SEATS_MAX}, the oldest first. */
  readonly seats: readonly SavedSeat[];
  /** The secret of a seat that was asked for, while it is not known whether that was given, and where. */
  readonly asked_with?: string | undefined;
}

/** What takes a seat again. */
export interface SavedSeat {
  /** Where. */
  readonly lobby: string;
  /** The code that the lobby had then. */
  readonly join_code: string;
  /** Takes the seat once, and gives way to the next one then. */
  readonly reconnect_secret: string;
  /** What takes it after that, while the request that makes it so may have been carried out or not. */
  readonly next_secret?: string | undefined;
}

/** Seats that are remembered. */
export const SEATS_MAX = 16;

/**
 * Where an identity is kept. What opens something is saved before it is used, so that a tab that dies at any moment keeps account and
 * seats; what a store throws ends the request with it.
 */
export interface IdentityStore {
  /** Reads the identity; `undefined` if none was ever saved. */
  load(): Identity | undefined | Promise<Identity | undefined>;
  /** Replaces the identity. */
  save(identity: Identity): void | Promise<void>;
  /** Runs this while no other tab does so with the same identity. Without it, no other may have the identity. */
  alone?<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Keeps the identity in the storage of the page's origin, by default the local one, under this key. With `sessionStorage` each tab is a
 * player of its own, and stays the same when it is reloaded.
 */
export function localIdentity(key = "understudy-identity", storage: Storage = localStorage): IdentityStore {
  return {
    load: () => readIdentity(storage.getItem(key)),
    save: (identity) => storage.setItem(key, JSON.stringify(identity)),
    alone: <T>(work: () => Promise<T>): Promise<T> =>
      "locks" in navigator ? navigator.locks.request(key, () => work()) as Promise<T> : work(),
  };
}

/** Forgets with the page: a new player each time. */
export function noIdentity(): IdentityStore {
  return { load: () => undefined, save: () => undefined };
}

/** Remembers a seat in the place of what was known of that lobby. */
export function withSeat(identity: Identity, seat: SavedSeat): Identity {
  return { ...identity, seats: [...withoutSeat(identity, seat.lobby).seats, seat].slice(-SEATS_MAX) };
}

/** Forgets the seat in a lobby. */
export function withoutSeat(identity: Identity, lobby: string): Identity {
  return { ...identity, seats: identity.seats.filter((seat) => seat.lobby !== lobby) };
}

/** What was stored, unless something else wrote there. */
function readIdentity(text: string | null): Identity | undefined {
  if (text === null) return undefined;
  try {
    const stored = JSON.parse(text) as Partial<Identity> | null;
    if (typeof stored?.player !== "string" || typeof stored.refresh_token !== "string") return undefined;
    const seats = Array.isArray(stored.seats) ? stored.seats : [];
    return { player: stored.player, refresh_token: stored.refresh_token, seats, asked_with: stored.asked_with };
  } catch {
    return undefined;
  }
}
