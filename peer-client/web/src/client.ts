/** A player who is signed in. */

import type { Game } from "./game.js";
import { localIdentity, type IdentityStore } from "./identity.js";
import { Service, type LobbyFilter, type LobbyQuery, type LobbySettings, type LobbySummary } from "./service.js";
import type { Session } from "./session.js";
import { start, type Settings } from "./start.js";
import * as limits from "./protocol/limits.js";

/** How a client is set up. Only the service's URL is needed. */
export interface ClientOptions {
  /** The lobby service, as `https://lobbies.example`. */
  readonly url: string;
  /** The name that others see. Empty by default. */
  readonly playerName?: string;
  /** The game's build. Only equal builds play together, and a state is restored only by the build that saved it. */
  readonly buildId?: string;
  /** Whether this peer may be elected. True by default. */
  readonly canHost?: boolean;
  /**
   * Where the player's identity is kept: by default in the page's local storage, so that it is the same player after a reload, with its
   * seats. Two tabs with one identity are one player, and the newer takes the seat: use {@link noIdentity} where each tab is a player.
   */
  readonly identity?: IdentityStore;
  /** A token of an issuer that the service is configured to believe. It says who the player is, whoever the stored identity is. */
  readonly externalToken?: string;
  /** How often a host stores its state in the lobby, in milliseconds: 1,000 by default, 100 to 600,000. */
  readonly snapshotIntervalMs?: number;
  /** What a host's game is told when this peer arrives ({@link Visitor.extra}). At most 16 KiB. */
  readonly returnPayload?: Uint8Array;
  /** Seals what hosts store with this key of 32 bytes, the same for all players of the game: the service cannot read it. */
  readonly stateKey?: Uint8Array;
  /**
   * What becomes of a host whose tab is hidden: by default (`hand_over`) it hands the game to another member at once, and does not host again
   * while it is hidden, since browsers slow hidden tabs down and may freeze them. `stay`: it goes on as well as its browser lets it.
   */
  readonly whenHidden?: "hand_over" | "stay";
  /** Whether a tab that is closed gives its seat up. By default it does not, and a reload takes the seat again. */
  readonly leaveOnClose?: boolean;
}

/** What a new lobby is made with. */
export interface LobbyOptions {
  /** Its name: 1 to 128 characters. */
  readonly name: string;
  /** What the game sets; the rest is the service's default. */
  readonly settings?: Partial<LobbySettings>;
  /** Newcomers have to know it: 8 to 64 characters. */
  readonly password?: string;
}

/** A player who is signed in: hosts, joins, and looks for lobbies. */
export class Client {
  private constructor(
    private readonly settings: Settings,
    private readonly service: Service,
  ) {}

  /**
   * Signs in with the stored identity, or as a new player, whose identity is then stored.
   *
   * @throws {@link ServiceError}, or whatever the identity store throws.
   */
  static async signIn(options: ClientOptions): Promise<Client> {
    const settings = withDefaults(options);
    const identity = options.identity ?? localIdentity();
    const service = await Service.signIn(options.url, settings.playerName, identity, options.externalToken);
    return new Client(settings, service);
  }

  /** The player. */
  get player(): string {
    return this.service.player;
  }

  /**
   * Creates a lobby and hosts the game in it.
   *
   * @throws {@link ServiceError}
   */
  async host(options: LobbyOptions, game: Game): Promise<Session> {
    return start(this.settings, this.service, game, true, (seating) => this.service.create(options, seating));
  }

  /**
   * Joins by the code that members see, as people type it; takes the seat again that this player has there.
   *
   * @throws {@link ServiceError}
   */
  async join(joinCode: string, game: Game, password?: string): Promise<Session> {
    return start(this.settings, this.service, game, false, (seating) => this.service.joinCode(joinCode, seating, password));
  }

  /**
   * Joins a public lobby, for instance one of {@link lobbies}; takes the seat again that this player has there.
   *
   * @throws {@link ServiceError}
   */
  async joinLobby(id: string, game: Game, password?: string): Promise<Session> {
    return start(this.settings, this.service, game, false, (seating) => this.service.joinLobby(id, seating, password));
  }

  /**
   * Joins any public lobby of this build with a free seat for which all these conditions hold.
   *
   * @throws {@link ServiceError}; with the code `no_open_lobbies` if there is none.
   */
  async quickJoin(filter: readonly LobbyFilter[], game: Game): Promise<Session> {
    return start(this.settings, this.service, game, false, (seating) => this.service.quickJoin(filter, seating));
  }

  /**
   * Public lobbies, the newest first where nothing else is asked for.
   *
   * @throws {@link ServiceError}
   */
  async lobbies(query: LobbyQuery = {}): Promise<LobbySummary[]> {
    return this.service.query(query);
  }
}

function withDefaults(options: ClientOptions): Settings {
  const interval = options.snapshotIntervalMs ?? limits.SNAPSHOT_INTERVAL_MS;
  return {
    playerName: options.playerName ?? "",
    buildId: options.buildId ?? "",
    canHost: options.canHost ?? true,
    snapshotIntervalMs: Math.min(Math.max(interval, limits.SNAPSHOT_INTERVAL_MIN_MS), limits.SNAPSHOT_INTERVAL_MAX_MS),
    returnPayload: (options.returnPayload ?? new Uint8Array()).slice(0, limits.EXTRA_BYTES_MAX),
    stateKey: options.stateKey,
    handsOverWhenHidden: (options.whenHidden ?? "hand_over") === "hand_over",
    leavesOnClose: options.leaveOnClose ?? false,
  };
}
