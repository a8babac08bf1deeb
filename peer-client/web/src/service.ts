/** The service's REST API, as this package uses it. */

import type { LobbyOptions } from "./client.js";
import { ServiceError } from "./errors.js";
import type { components } from "./generated/api.js";
import { json, send, SNAPSHOT_TIMEOUT_MS, type Request } from "./http.js";
import { withoutSeat, withSeat, type Identity, type IdentityStore, type SavedSeat } from "./identity.js";
import type { Generation } from "./protocol/generation.js";
import type { ConnectionId, HostEpoch, LobbyId, PeerKey } from "./protocol/id.js";
import { toHex } from "./protocol/id.js";
import type { LobbyView } from "./protocol/message.js";

/** A lobby, to those who are not in it. */
export type LobbySummary = components["schemas"]["Summary"];
/** What a game sets for its lobby. */
export type { Settings as LobbySettings } from "./protocol/message.js";
/** A condition on lobbies. */
export type LobbyFilter = components["schemas"]["LobbyFilter"];
/** Which lobbies are looked for, and in which order. */
export type LobbyQuery = Partial<components["schemas"]["QueryLobbies"]>;

/** An access token is renewed this long before it expires. */
const RENEW_BEFORE_S = 60;

/** What a newcomer brings. */
export interface Seating {
  readonly name: string;
  readonly peer_key: PeerKey;
  readonly build_id: string;
  readonly can_host: boolean;
  readonly browser: true;
}

/** Where a newcomer sits. */
export interface Seated {
  readonly lobby: LobbyView;
  readonly connection: ConnectionId;
}

/** How WebRTC links of a lobby come about. */
export interface IceServers {
  readonly ice_servers: readonly RTCIceServer[];
  readonly relay_only: boolean;
  readonly expires_in_s: number;
}

interface SignedIn {
  readonly player: string;
  readonly access_token: string;
  readonly expires_in_s: number;
  readonly refresh_token: string;
}

interface Access {
  readonly token: string;
  readonly renewAt: number;
}

/** The service, to a player who is signed in. All methods throw {@link ServiceError}. */
export class Service {
  private access: Access;
  /** Tokens are renewed and seats taken one after the other: each secret is good for one use. */
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly url: string,
    private readonly store: IdentityStore,
    /** As it was saved last: for stores that keep nothing. */
    private remembered: Identity,
    signedIn: SignedIn,
  ) {
    this.access = accessOf(signedIn);
  }

  /** The player. */
  get player(): string {
    return this.remembered.player;
  }

  /** Signs in with the token of another issuer, if there is one; else with the stored identity, or as a new player. */
  static async signIn(url: string, name: string, store: IdentityStore, externalToken: string | undefined): Promise<Service> {
    const base = url.replace(/\/+$/, "");
    const alone = store.alone?.bind(store) ?? (<T>(work: () => Promise<T>) => work());
    return alone(async () => {
      const stored = await store.load();
      const signedIn = await enter(base, name, stored, externalToken);
      const { player, refresh_token } = signedIn;
      // Another player has no use for the rest.
      const rest = stored?.player === player ? stored : { seats: [] };
      const identity = { ...rest, player, refresh_token };
      await store.save(identity);
      return new Service(base, store, identity, signedIn);
    });
  }

  /** Public lobbies. */
  async query(query: LobbyQuery): Promise<LobbySummary[]> {
    const page = await this.post<{ lobbies: LobbySummary[] }>("/v1/lobbies/query", query);
    return page.lobbies;
  }

  /** Makes a lobby. */
  create(options: LobbyOptions, seating: Seating): Promise<Seated> {
    const { name: lobby_name, settings = {}, password } = options;
    return this.alone((kept) => this.takeSeat(kept, "/v1/lobbies", { lobby_name, settings, password }, seating));
  }

  /** Joins by a code. */
  joinCode(code: string, seating: Seating, password?: string): Promise<Seated> {
    const plain = (text: string): string => text.toUpperCase().replace(/[^0-9A-Z]/g, "");
    const isWanted = (seat: SavedSeat): boolean => plain(seat.join_code) === plain(code);
    return this.join("/v1/lobbies/join", { join_code: code, password }, isWanted, seating);
  }

  /** Joins a public lobby. */
  joinLobby(id: LobbyId, seating: Seating, password?: string): Promise<Seated> {
    return this.join(`/v1/lobbies/${id}/join`, { password }, (seat) => seat.lobby === id, seating);
  }

  /** Joins any public lobby that fits. */
  quickJoin(filter: readonly LobbyFilter[], seating: Seating): Promise<Seated> {
    return this.alone((kept) => this.takeSeat(kept, "/v1/lobbies/quick-join", { filter }, seating));
  }

  /** The whole lobby. */
  lobby(id: LobbyId): Promise<LobbyView> {
    return this.get(`/v1/lobbies/${id}`);
  }

  /** Whether this player still has this seat. */
  async hasSeat(id: LobbyId, seat: ConnectionId): Promise<boolean> {
    try {
      const shown = await this.get<Partial<LobbyView>>(`/v1/lobbies/${id}`);
      if (typeof shown.id !== "string") throw new ServiceError("unreadable", 200, "no lobby");
      return Array.isArray(shown.members) && shown.closed !== true && shown.members.some((member) => member.connection === seat);
    } catch (error) {
      // Without a code it is not the service that answers.
      if (error instanceof ServiceError && [403, 404].includes(error.status) && error.code !== "") return false;
      throw error;
    }
  }

  /** Gives the seat up; `keepalive`: also if the page is gone by then, without a token that has to be renewed first. */
  async leave(id: LobbyId, keepalive = false): Promise<void> {
    const request: Request = { method: "POST", path: `/v1/lobbies/${id}/leave`, keepalive };
    if (keepalive) await send(this.url, request, this.access.token);
    else await this.send(request);
  }

  /** Confirms that the game runs here. */
  async ready(id: LobbyId, epoch: HostEpoch): Promise<void> {
    await this.send({ method: "POST", path: `/v1/lobbies/${id}/ready`, json: { epoch } });
  }

  /** Makes another member host. */
  async transfer(id: LobbyId, epoch: HostEpoch, to: ConnectionId): Promise<void> {
    await this.send({ method: "POST", path: `/v1/lobbies/${id}/transfer`, json: { epoch, to } });
  }

  /** As {@link transfer}, from a page that is about to be gone: with the token that is at hand, and without waiting for an answer. */
  transferAtOnce(id: LobbyId, epoch: HostEpoch, to: ConnectionId): void {
    const request: Request = { method: "POST", path: `/v1/lobbies/${id}/transfer`, json: { epoch, to }, keepalive: true };
    send(this.url, request, this.access.token).catch(() => undefined);
  }

  /** Says whether this member may be elected. */
  async consent(id: LobbyId, me: ConnectionId, can_host: boolean): Promise<void> {
    await this.send({ method: "PATCH", path: `/v1/lobbies/${id}/members/${me}`, json: { can_host }, keepalive: true });
  }

  /** What links of this lobby are made with. */
  iceServers(id: LobbyId): Promise<IceServers> {
    return this.post(`/v1/lobbies/${id}/ice-servers`);
  }

  /** Stores a whole state. */
  async putSnapshot(id: LobbyId, bytes: Uint8Array): Promise<void> {
    await this.send({ method: "PUT", path: `/v1/lobbies/${id}/snapshot`, bytes, timeoutMs: SNAPSHOT_TIMEOUT_MS });
  }

  /** Stores what became of the newest snapshot or delta. */
  async patchSnapshot(id: LobbyId, bytes: Uint8Array): Promise<void> {
    await this.send({ method: "PATCH", path: `/v1/lobbies/${id}/snapshot`, bytes, timeoutMs: SNAPSHOT_TIMEOUT_MS });
  }

  /** The newest state that is stored, a snapshot followed by its deltas, if it is newer than this one. */
  async newestState(id: LobbyId, newerThan: Generation | undefined): Promise<Uint8Array | undefined> {
    const condition = newerThan === undefined ? "" : `?newer_than=${newerThan.epoch}.${newerThan.seq}`;
    try {
      const path = `/v1/lobbies/${id}/snapshot${condition}`;
      const response = await this.send({ method: "GET", path, timeoutMs: SNAPSHOT_TIMEOUT_MS });
      return new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      if (error instanceof ServiceError && (error.status === 304 || error.status === 404)) return undefined;
      throw error instanceof ServiceError ? error : new ServiceError("unreachable", 0, String(error));
    }
  }

  /** The address of a lobby's event socket, with a ticket that opens it once. */
  async events(id: LobbyId): Promise<string> {
    const { ticket } = await this.post<{ ticket: string }>(`/v1/lobbies/${id}/ticket`);
    // "http" becomes "ws", "https" becomes "wss".
    return `ws${this.url.slice("http".length)}/v1/lobbies/${id}/events?ticket=${encodeURIComponent(ticket)}`;
  }

  /** Takes the player's seat again if it has one from another process, else a new one. */
  private join(path: string, what: object, isWanted: (seat: SavedSeat) => boolean, seating: Seating): Promise<Seated> {
    return this.alone(async (kept) => {
      const seat = [...kept.identity.seats].reverse().find(isWanted);
      const again = seat && (await this.reconnect(kept, seat, seating));
      if (again !== undefined) return again;
      const lost = kept.identity.asked_with;
      try {
        return await this.takeSeat(kept, path, what, seating);
      } catch (error) {
        if (lost === undefined || !(error instanceof ServiceError) || error.code !== "seat_taken") throw error;
        const found = await this.findLost(kept, lost, seating);
        if (found === undefined) throw error;
        return found;
      }
    });
  }

  /** Asks for a seat, with a secret that is saved before. */
  private async takeSeat(kept: Kept, path: string, what: object, seating: Seating): Promise<Seated> {
    const before = kept.identity.asked_with;
    const reconnect_secret = drawSecret();
    await kept.save({ ...kept.identity, asked_with: reconnect_secret });
    try {
      const seated = await this.post<Seated>(path, { ...what, ...seating, reconnect_secret }, kept);
      return await this.keep(kept, seated, reconnect_secret);
    } catch (error) {
      // What was refused has left nothing behind; a process before this one may have.
      if (error instanceof ServiceError && error.isRefusal) await kept.save({ ...kept.identity, asked_with: before });
      throw error;
    }
  }

  /** A process before this one has asked for a seat, and died before it knew that it had it. */
  private async findLost(kept: Kept, secret: string, seating: Seating): Promise<Seated | undefined> {
    const { joined } = await this.get<{ joined: LobbyId[] }>("/v1/players/me/lobbies", kept);
    const known = new Set(kept.identity.seats.map((seat) => seat.lobby));
    for (const lobby of joined.filter((lobby) => !known.has(lobby))) {
      const seated = await this.reconnect(kept, { lobby, join_code: "", reconnect_secret: secret }, seating);
      if (seated !== undefined) return seated;
    }
    return undefined;
  }

  /** Takes a seat again, with a next secret that is saved before; `undefined` if there is none any more. */
  private async reconnect(kept: Kept, seat: SavedSeat, seating: Seating): Promise<Seated | undefined> {
    // If a process before this one has asked already, the same two are the same request.
    const next_secret = seat.next_secret ?? drawSecret();
    await kept.save(withSeat(kept.identity, { ...seat, next_secret }));
    const { peer_key, browser } = seating;
    const body = { reconnect_secret: seat.reconnect_secret, next_secret, peer_key, browser };
    try {
      return await this.keep(kept, await this.post<Seated>(`/v1/lobbies/${seat.lobby}/reconnect`, body, kept), next_secret);
    } catch (error) {
      const isGone = error instanceof ServiceError && ["wrong_secret", "lobby_closed", "not_found"].includes(error.code);
      if (!isGone) throw error;
      await kept.save(withoutSeat(kept.identity, seat.lobby));
      return undefined;
    }
  }

  /** Saves what takes a seat again. */
  private async keep(kept: Kept, seated: Seated, reconnect_secret: string): Promise<Seated> {
    const { id: lobby, join_code } = seated.lobby;
    await kept.save({ ...withSeat(kept.identity, { lobby, join_code, reconnect_secret }), asked_with: undefined });
    return seated;
  }

  private async get<T>(path: string, kept?: Kept): Promise<T> {
    return json(await this.send({ method: "GET", path }, kept));
  }

  private async post<T>(path: string, body?: unknown, kept?: Kept): Promise<T> {
    return json(await this.send({ method: "POST", path, json: body }, kept));
  }

  /** Sends a request, once more with another token if the first is refused. `kept`: of whoever is alone with the identity. */
  private async send(request: Request, kept?: Kept): Promise<Response> {
    if (this.access.renewAt <= performance.now()) await this.renew(this.access, kept);
    const access = this.access;
    try {
      return await send(this.url, request, access.token);
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 401 || error.code !== "unauthenticated") throw error;
    }
    await this.renew(access, kept);
    return send(this.url, request, this.access.token);
  }

  /** Gets another access token in the place of one that was refused or is about to expire. */
  private renew(refused: Access, kept?: Kept): Promise<void> {
    const renew = async (kept: Kept): Promise<void> => {
      if (this.access !== refused) return;
      const signedIn = await refresh(this.url, kept.identity.refresh_token);
      await kept.save({ ...kept.identity, refresh_token: signedIn.refresh_token });
      this.access = accessOf(signedIn);
    };
    return kept === undefined ? this.alone(renew) : renew(kept);
  }

  /** Runs this while nobody else, in this tab or another, renews tokens or takes seats. */
  private alone<T>(work: (kept: Kept) => Promise<T>): Promise<T> {
    const inTab = async (): Promise<T> => {
      const identity = (await this.store.load()) ?? this.remembered;
      if (identity.player !== this.player) {
        throw new ServiceError("unauthenticated", 0, "the stored identity is another player's by now");
      }
      return work(new Kept(this.store, identity, (saved) => (this.remembered = saved)));
    };
    const run = this.last.then(() => this.store.alone?.(inTab) ?? inTab());
    this.last = run.catch(() => undefined);
    return run;
  }
}

/** The identity, for as long as somebody is alone with it. */
class Kept {
  constructor(
    private readonly store: IdentityStore,
    public identity: Identity,
    private readonly remember: (identity: Identity) => void,
  ) {}

  async save(identity: Identity): Promise<void> {
    await this.store.save(identity);
    this.identity = identity;
    this.remember(identity);
  }
}

function accessOf({ access_token, expires_in_s }: SignedIn): Access {
  const lifeS = Math.max(expires_in_s - RENEW_BEFORE_S, expires_in_s / 2);
  return { token: access_token, renewAt: performance.now() + 1000 * lifeS };
}

/** 256 random bits in hexadecimal. */
function drawSecret(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(32)));
}

async function enter(url: string, name: string, stored: Identity | undefined, token: string | undefined): Promise<SignedIn> {
  if (token !== undefined) return json(await send(url, { method: "POST", path: "/v1/players/external", json: { token, name } }, undefined));
  if (stored !== undefined) {
    try {
      return await refresh(url, stored.refresh_token);
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 401) throw error;
      // The stored identity is not known any more.
    }
  }
  return json(await send(url, { method: "POST", path: "/v1/players", json: { name } }, undefined));
}

async function refresh(url: string, refresh_token: string): Promise<SignedIn> {
  return json(await send(url, { method: "POST", path: "/v1/players/refresh", json: { refresh_token } }, undefined));
}
