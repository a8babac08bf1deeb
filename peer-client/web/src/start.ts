/** How a session begins: a key, a seat in a lobby, then what serves it. */

import { makeProcessKey } from "./certificate.js";
import { Driver } from "./driver.js";
import { ServiceError } from "./errors.js";
import type { Game } from "./game.js";
import { arrive } from "./links.js";
import { LobbyLink } from "./lobby-link.js";
import type { Arrive, Network } from "./network.js";
import { followPage, mayHostNow } from "./page.js";
import { HandOver } from "./protocol/hand-over.js";
import type { PeerKey } from "./protocol/id.js";
import { memberAt } from "./protocol/lobby.js";
import { Migration } from "./protocol/migration.js";
import { Sealer } from "./protocol/seal.js";
import { RtcNetwork } from "./rtc.js";
import type { Seated, Seating, Service } from "./service.js";
import { Session } from "./session.js";
import { State } from "./state.js";
import { startTimers, type Timers } from "./timers.js";

/** What a client was set up with. */
export interface Settings {
  readonly playerName: string;
  readonly buildId: string;
  readonly canHost: boolean;
  readonly snapshotIntervalMs: number;
  readonly returnPayload: Uint8Array;
  readonly stateKey: Uint8Array | undefined;
  readonly handsOverWhenHidden: boolean;
  readonly leavesOnClose: boolean;
}

/** How the links of a session come about: by WebRTC, where it is not a test that begins it. */
export interface Transport {
  readonly peerKey: PeerKey;
  network(service: Service, driver: Driver, arrive: Arrive, timers: Timers): Network;
}

/** Takes a seat, and begins. */
export async function start(
  settings: Settings,
  service: Service,
  game: Game,
  created: boolean,
  takeSeat: (seating: Seating) => Promise<Seated>,
  transport: () => Promise<Transport> = webRtc,
): Promise<Session> {
  const { peerKey, network } = await transport();
  const { playerName: name, buildId: build_id, canHost, handsOverWhenHidden } = settings;
  const can_host = mayHostNow(canHost, handsOverWhenHidden);
  const seated = await takeSeat({ name, peer_key: peerKey, build_id, can_host, browser: true });
  const { lobby: view, connection: me } = seated;
  if (memberAt(view, me) === undefined) throw new ServiceError("unreadable", 200, "the lobby does not hold the seat that it gave");
  const lobby = view.id;
  const sealer = settings.stateKey && (await Sealer.of(settings.stateKey, lobby));
  const migration = new Migration(me, view, created, performance.now());
  const state = new State(peerKey, () => migration.lobby);
  const timers = startTimers();
  const driver = new Driver({ settings, service, game, lobby, migration, state, handOver: new HandOver(), sealer, timers });
  const heard = driver.heard.bind(driver);
  const reachable = driver.reachable.bind(driver);
  const events = new LobbyLink({ service, lobby, me, peerKey, after: view.seq, timers, heard, reachable });
  driver.begin(network(service, driver, (peer, key, take) => arrive(driver, peer, key, take), timers), events);
  const unfollow = followPage(driver);
  void driver.ending.then(unfollow);
  return new Session(driver);
}

async function webRtc(): Promise<Transport> {
  const { certificate, peerKey } = await makeProcessKey();
  return {
    peerKey,
    network: (service, driver, arrive, timers) =>
      new RtcNetwork({
        certificate,
        iceServers: () => service.iceServers(driver.lobby),
        isRelayOnly: () => driver.migration.lobby.settings.relay_only === true,
        signal: (to, peer_key, signal) => driver.say({ type: "signal", to, peer_key, signal }),
        arrive,
        timers,
      }),
  };
}
