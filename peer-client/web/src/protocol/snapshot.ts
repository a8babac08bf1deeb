import type { Generation } from "./generation.js";
import type { ConnectionId, PlayerId } from "./id.js";
import { fromHex } from "./id.js";
import type { Ledger } from "./journal.js";
import { attempt, defaulted, Malformed, Reader, required, Writer } from "./msgpack.js";
import type { ObjectTable } from "./objects.js";
import { readConnection, readLedger, readObjectTable, writeLedger, writeObjectTable } from "./payload.js";

/* A whole game at a tick, and its body as MessagePack. `image.ts` makes records of it. */

/** A seat as it stands in a snapshot. */
export interface Seat {
  /** The connection id. */
  readonly connection: ConnectionId;
  /** Whose it is. */
  readonly player: PlayerId;
  /** It was in the game, and so is in its state. */
  readonly played: boolean;
  /** What only the host keeps of it. At most `SEAT_DATA_BYTES_MAX`. */
  readonly hostData: Uint8Array;
}

/** What the service does not read. */
export interface Body {
  /** The build that can read `state`. */
  readonly buildId: string;
  /** The scene that is loaded. */
  readonly scene: string;
  /** All seats, in the order of their connection ids. */
  readonly seats: readonly Seat[];
  /** Who owns what. */
  readonly objects: ObjectTable;
  /** Where the reliable messages are. */
  readonly ledger: Ledger;
  /** The game's own bytes. */
  readonly state: Uint8Array;
  /** What has become of `state` since, in the game's own form: to be applied to it one after the other. */
  readonly changes: readonly Uint8Array[];
}

/** A complete game at a tick. */
export interface Snapshot {
  /** Where it stands. */
  readonly generation: Generation;
  /** The game's tick. */
  readonly tick: number;
  /** The game's time in microseconds. The pause of a migration is not counted. */
  readonly elapsedUs: number;
  /** The rest. */
  readonly body: Body;
}

/** The plain bytes of a body: the same body always gives the same ones. */
export function encodeBody(body: Body): Uint8Array<ArrayBuffer> {
  const to = new Writer();
  to.struct({
    build_id: () => to.text(body.buildId),
    scene: () => to.text(body.scene),
    seats: () => to.list(body.seats, (seat) => writeSeat(to, seat)),
    objects: () => writeObjectTable(to, body.objects),
    ledger: () => writeLedger(to, body.ledger),
    state: () => to.bytes(body.state),
    changes: () => to.list(body.changes, (change) => to.bytes(change)),
  });
  return to.finish();
}

/** Reads the plain bytes of a body; `undefined` if they are none. What it holds are views of them. */
export function decodeBody(plain: Uint8Array): Body | undefined {
  return attempt(() => {
    const { build_id, ...rest } = new Reader(plain).struct<Omit<Body, "buildId"> & { build_id: string }>({
      build_id: required((from) => from.text()),
      scene: required((from) => from.text()),
      seats: required((from) => from.list(() => readSeat(from))),
      objects: required(readObjectTable),
      ledger: defaulted(readLedger, () => []),
      state: required((from) => from.bytes()),
      changes: defaulted((from) => from.list(() => from.bytes()), () => []),
    });
    return { ...rest, buildId: build_id };
  });
}

function writeSeat(to: Writer, seat: Seat): void {
  to.struct({
    connection: () => to.number(seat.connection),
    player: () => to.text(seat.player),
    played: () => to.boolean(seat.played),
    host_data: () => to.bytes(seat.hostData),
  });
}

function readSeat(from: Reader): Seat {
  const { host_data, ...rest } = from.struct<Omit<Seat, "hostData"> & { host_data: Uint8Array }>({
    connection: required(readConnection),
    player: required(readPlayer),
    played: required((reader) => reader.boolean()),
    host_data: required((reader) => reader.bytes()),
  });
  return { ...rest, hostData: host_data };
}

function readPlayer(from: Reader): PlayerId {
  const text = from.text();
  if (fromHex(text, 16) === undefined) throw new Malformed("a player id was expected");
  return text.toLowerCase();
}
