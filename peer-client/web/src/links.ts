/** What comes on the links of a session, and what becomes of it. */

import type { Driver } from "./driver.js";
import { feedSuccessor, stateTaken, stateWanted } from "./feeding.js";
import { objectsChanged, refusedByHost, welcomed } from "./guest.js";
import { actOnHandOver } from "./handing-over.js";
import { stateAsked, stateCame } from "./holding.js";
import { arrived, saidHelloAgain, tellsOfLeaving } from "./host.js";
import { Link } from "./link.js";
import type { ConduitEvents, Conduit } from "./network.js";
import { decodeFrame, type PeerBody } from "./protocol/frame.js";
import type { ConnectionId, HostEpoch, Millis, PeerKey } from "./protocol/id.js";
import type { Class, Receipt } from "./protocol/journal.js";
import { HEARD_BYTES, HEARD_MESSAGES } from "./protocol/limits.js";
import { memberAt } from "./protocol/lobby.js";
import type { ServerMessage } from "./protocol/message.js";
import { isGone } from "./taking-over.js";

/** A link on which nothing came for this long is closed. */
const LINK_IDLE_MS = 3000;
/** A peer that has opened a link has this long to say hello on it. */
const HELLO_TIMEOUT_MS = 2000;
/** A process that the lobby does not name for a member is sent away after this long: the lobby's event may be later than its signal. */
const ANNOUNCED_TIMEOUT_MS = 2000;
/** Signals of such processes that wait. */
const UNANNOUNCED_MAX = 64;

type SignalMessage = Extract<ServerMessage, { type: "signal" }>;

/** A signal of a process that the lobby does not name yet. */
export interface Unannounced {
  readonly message: SignalMessage;
  readonly until: Millis;
}

/** A member's process says something about a link. */
export function handleSignal(driver: Driver, message: SignalMessage, now: Millis): void {
  if (memberAt(driver.migration.lobby, message.from)?.peer_key === message.peer_key) {
    return driver.net.handleSignal(message.from, message.peer_key, message.signal);
  }
  driver.unannounced.push({ message, until: now + ANNOUNCED_TIMEOUT_MS });
  if (driver.unannounced.length > UNANNOUNCED_MAX) driver.unannounced.shift();
}

/** The lobby is another: processes that were not known may be by now. */
export function lookAtUnannounced(driver: Driver, now: Millis): void {
  const waiting = driver.unannounced;
  driver.unannounced = [];
  for (const { message, until } of waiting) {
    const isKnown = memberAt(driver.migration.lobby, message.from)?.peer_key === message.peer_key;
    if (isKnown) driver.net.handleSignal(message.from, message.peer_key, message.signal);
    else if (until > now) driver.unannounced.push({ message, until });
  }
}

/** Somebody opens a link to this peer. It is one of the session's once it has said hello. */
export function arrive(driver: Driver, peer: ConnectionId, peerKey: PeerKey, take: (events: ConduitEvents) => Conduit): void {
  if (driver.over || tellsOfLeaving(driver)) return;
  const link = new Link({ peer, peerKey, epoch: 0, standby: false }, driver.now());
  let hasSaidHello = false;
  const events = eventsOf(driver, link);
  link.attach(
    take({
      ...events,
      up: () => {
        link.isOpen = true;
        driver.timers.after(HELLO_TIMEOUT_MS, () => hasSaidHello || link.close());
      },
      frame: (bytes, isDatagram) => {
        if (hasSaidHello) return events.frame(bytes, isDatagram);
        // What overtakes the hello comes again.
        if (isDatagram) return;
        hasSaidHello = true;
        driver.run((now) => arrived(driver, link, bytes, now));
      },
    }),
  );
}

/** What a link's conduit tells. */
export function eventsOf(driver: Driver, link: Link): ConduitEvents {
  return {
    up: () => driver.run((now) => linkUp(driver, link, now)),
    frame: (bytes, isDatagram) => driver.run((now) => frame(driver, link, bytes, isDatagram, now)),
    down: () => driver.run((now) => linkDown(driver, link, now)),
  };
}

/** The one place where frames come in: fenced by their epoch before anything else. */
function frame(driver: Driver, link: Link, bytes: Uint8Array, isDatagram: boolean, now: Millis): void {
  const { state, migration } = driver;
  if (state.links.get(link.peer) !== link) return;
  link.heardAt = now;
  const decoded = decodeFrame(bytes);
  if (!decoded.ok) return fail(driver, link, "a frame that is none");
  const { epoch, body } = decoded.value;
  if (body.kind === "ping") link.answerPing(body.number);
  if (body.kind === "pong") link.handlePong(body.number, now);
  if (body.kind === "hello") return saidHelloAgain(driver, link, epoch, body.payload, now);
  // It carries nothing of the game until its other end is host, and a hello makes it a guest's link.
  if (link.standby) return;
  if (migration.admit(link.peer, epoch, now) !== "accept") {
    state.staleFrames += 1;
    return;
  }
  if (driver.follows(link.peer) && link.inGame) driver.timeline.heard(link.peer, now);
  take(driver, link, body, isDatagram, epoch, now);
}

function take(driver: Driver, link: Link, body: PeerBody, isDatagram: boolean, epoch: HostEpoch, now: Millis): void {
  const { peer } = link;
  const follows = driver.follows(peer);
  switch (body.kind) {
    case "heartbeat":
      if (follows) driver.announcedTick = Math.max(driver.announcedTick, body.tick);
      return driver.state.streams.heard(peer, body.received, body.receivedStable);
    case "unreliable":
      if (link.inGame) driver.message({ from: peer, delivery: "unreliable", payload: body.payload });
      return;
    case "reliable":
    case "after_stable":
      return numbered(driver, link, body, isDatagram, epoch, now);
    case "state":
      // From the host to its successor, or from a member that was asked.
      if (follows || driver.migration.role.kind === "becoming") stateCame(driver, peer, body.payload, now);
      return;
    case "state_taken":
      return stateTaken(driver, peer, body.generation, now);
    case "state_wanted":
      return stateWanted(driver, peer, now);
    case "state_asked":
      if (follows) stateAsked(driver, peer, body.generation);
      return;
    case "last_state":
      if (follows) driver.held.last = body.generation;
      return;
    case "durable":
      if (follows) driver.state.own.handleDurable(body.number);
      return;
    case "welcome":
      return welcomed(driver, link, body.payload, now);
    case "refused":
      return refusedByHost(driver, link, body.payload, now);
    case "objects":
      return objectsChanged(driver, link, body.payload);
    case "goodbye":
      return saidGoodbye(driver, link, now);
    // Taken before.
    case "hello":
    case "ping":
    case "pong":
      return;
  }
}

/** A numbered message: the game has it once, whatever links and hosts it came by, and however often it was sent. */
function numbered(
  driver: Driver,
  link: Link,
  body: { readonly kind: Class; readonly number: number; readonly payload: Uint8Array },
  isDatagram: boolean,
  epoch: HostEpoch,
  now: Millis,
): void {
  const { state, hosts } = driver;
  const { kind, number, payload } = body;
  const from = link.peer;
  const stream = hosts ? state.streams.stream(from) : undefined;
  const receipt = receive(driver, link, kind, number);
  if (receipt === "gap" && !isDatagram) return fail(driver, link, "a reliable message out of order");
  if (receipt !== "next") return;
  driver.message({ from, delivery: kind, payload }, stream === undefined ? undefined : { epoch, from, stream, number });
  if (hosts) return;
  // A host keeps what it says until it knows that it was heard: it is told at once of much.
  driver.unsaid.messages += 1;
  driver.unsaid.bytes += payload.length;
  if (driver.unsaid.messages >= HEARD_MESSAGES || driver.unsaid.bytes >= HEARD_BYTES) driver.beat(now);
}

function receive({ state, hosts }: Driver, link: Link, kind: Class, number: number): Receipt {
  if (!link.inGame) return "gap";
  if (!hosts) return state.own.receive(kind, number);
  return kind === "reliable" ? state.streams.receive(link.peer, number) : "gap";
}

/** A peer broke the protocol: its link is closed. */
export function fail(driver: Driver, link: Link, why: string): void {
  console.warn(`understudy: member ${link.peer}: ${why}`);
  link.close();
  driver.run((now) => linkDown(driver, link, now));
}

function saidGoodbye(driver: Driver, link: Link, now: Millis): void {
  driver.migration.handleGoodbye(link.peer, now);
  if (!driver.hosts) return;
  lostLink(driver, link.peer, now);
  hangUp(driver, link.peer);
}

function linkUp(driver: Driver, link: Link, now: Millis): void {
  if (driver.state.links.get(link.peer) !== link) return;
  link.isOpen = true;
  link.heardAt = now;
  if (link.standby) driver.migration.handleStandbyUp(link.peer);
}

function linkDown(driver: Driver, link: Link, now: Millis): void {
  if (driver.state.links.get(link.peer) !== link) return;
  driver.state.links.delete(link.peer);
  isAway(driver, link);
  lostLink(driver, link.peer, now);
}

/** Closes links that are up and on which nothing came for long: WebRTC itself takes half a minute to notice. */
export function closeDeadLinks(driver: Driver, now: Millis): void {
  for (const link of [...driver.state.links.values()]) {
    if (!link.isOpen || now - link.heardAt < LINK_IDLE_MS) continue;
    link.close();
    linkDown(driver, link, now);
    // What has silenced it may have silenced the event socket too.
    driver.events?.renew();
  }
}

/** What a link's end means to everything that rested on it. */
export function lostLink(driver: Driver, peer: ConnectionId, now: Millis): void {
  driver.feed.handleLinkDown(peer);
  driver.handOver.handleLinkDown(peer);
  actOnHandOver(driver, now);
  isGone(driver, peer, now);
  if (driver.follows(peer)) driver.held.last = undefined;
  driver.migration.handleLinkDown(peer, now);
}

/** A guest goes on on another link: what was under way to it as successor begins anew. */
export function movedTo(driver: Driver, peer: ConnectionId, now: Millis): void {
  driver.feed.handleLinkDown(peer);
  feedSuccessor(driver, now);
}

/** A guest that was in the game and is still there for the lobby: what is said meanwhile is kept for it. */
function isAway({ migration, state }: Driver, link: Link): void {
  const isThere = memberAt(migration.lobby, link.peer)?.presence.state === "connected";
  if (migration.role.kind === "host" && link.inGame && isThere) state.away.add(link.peer);
}

/** As {@link hangUp}, of a guest that will be back. */
export function hangUpGuest(driver: Driver, peer: ConnectionId): void {
  const link = driver.state.links.get(peer);
  hangUp(driver, peer);
  if (link !== undefined) isAway(driver, link);
}

/** Closes the link to a peer, if there is one. */
export function hangUp({ state }: Driver, peer: ConnectionId): void {
  state.links.get(peer)?.close();
  state.links.delete(peer);
}
