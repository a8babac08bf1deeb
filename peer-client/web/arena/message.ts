/** What the players' processes send each other: the same bytes as `peer-client/examples/arena/message.rs`. */

import { Malformed, Reader, Writer } from "./pack.js";
import { type Input, readDirection } from "./world.js";

/** One message. */
export type Packet =
  /** From a guest: what it wants to do. */
  | { readonly kind: "Input"; readonly input: Input }
  /** From a guest, reliably: an operation at the bank. `process` numbers them from 1, without gaps. */
  | { readonly kind: "Bank"; readonly process: bigint; readonly number: bigint }
  /** From the host, reliably: an operation of `process` had its effect. Numbered from 1, without gaps. */
  | { readonly kind: "Receipt"; readonly process: bigint; readonly number: bigint }
  /** From the host: the arena as it is, and the epoch in which the host ran this tick. `world` is {@link World.encode}'s. */
  | { readonly kind: "World"; readonly epoch: number; readonly world: Uint8Array };

/** A packet as bytes. */
export function encodePacket(packet: Packet): Uint8Array {
  const to = new Writer();
  to.map(1);
  to.text(packet.kind);
  to.array(2);
  switch (packet.kind) {
    case "Input":
      writeInput(to, packet.input);
      break;
    case "Bank":
    case "Receipt":
      to.uint(packet.process);
      to.uint(packet.number);
      break;
    case "World":
      to.uint(packet.epoch);
      to.bin(packet.world);
      break;
  }
  return to.finish();
}

/** Reads what another process sent; `undefined` if it is nothing of this game. */
export function decodePacket(bytes: Uint8Array): Packet | undefined {
  try {
    return read(new Reader(bytes));
  } catch (error) {
    if (error instanceof Malformed) {
      return undefined;
    }
    throw error;
  }
}

function read(from: Reader): Packet | undefined {
  if (from.map() !== 1) {
    return undefined;
  }
  const kind = from.text();
  from.struct(2);
  switch (kind) {
    case "Input":
      return { kind, input: { walk: from.isNil() ? undefined : readDirection(from), shoot: from.bool() } };
    case "Bank":
    case "Receipt":
      return { kind, process: from.ulong(), number: from.ulong() };
    case "World":
      return { kind, epoch: from.uint(Number.MAX_SAFE_INTEGER), world: from.bin() };
    default:
      return undefined;
  }
}

function writeInput(to: Writer, input: Input): void {
  if (input.walk === undefined) {
    to.nil();
  } else {
    to.text(input.walk);
  }
  to.bool(input.shoot);
}
