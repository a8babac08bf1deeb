/** What the arena needs of a session: so much, and no more, that a page without a lobby can be looked at. */

import { type Delivery, HostError, type Recipient, SendError, type Session } from "../src/index.js";

/** A seat in a lobby. */
export type Seat = Pick<
  Session,
  | "me"
  | "role"
  | "host"
  | "epoch"
  | "lobby"
  | "joinCode"
  | "isOver"
  | "inGame"
  | "objects"
  | "send"
  | "setTick"
  | "giveState"
  | "handOver"
  | "placeObject"
  | "setSeatData"
  | "stats"
  | "leave"
>;

/** A member's name, as the lobby has it. */
export function nameOf(seat: Seat, connection: number): string {
  const name = seat.lobby.members.find((member) => member.connection === connection)?.name;
  return name === undefined || name === "" ? `#${connection}` : name;
}

/** Whether a message was taken. */
export function send(seat: Seat, to: Recipient, delivery: Delivery, payload: Uint8Array): boolean {
  try {
    seat.send(to, payload, delivery);
    return true;
  } catch (error) {
    if (error instanceof SendError) {
      return false;
    }
    throw error;
  }
}

/** Does what only a host can, unless this peer is none any more. */
export function hosting(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof HostError)) {
      throw error;
    }
  }
}
