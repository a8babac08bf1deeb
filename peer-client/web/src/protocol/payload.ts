import type { Generation } from "./generation.js";
import { type Ledger, type LedgerEntry, type Offer, type Position, type Said, type Stretch } from "./journal.js";
import { attempt, defaulted, Malformed, optional, Reader, required, Writer } from "./msgpack.js";
import { type Change, type GameObject, ObjectTable } from "./objects.js";

/*
 * What is in the frames hello, welcome, refused and objects, and what bodies of snapshots are made of, as MessagePack that `rmp_serde`
 * reads and writes. Field by field in the order of the Rust structs, so that both write the same bytes.
 */

/** What a guest says first; and again on a link that it has, when the member at its other end becomes its host. */
export interface Hello {
  /** For the game: what it wants to tell the host when it returns. At most `EXTRA_BYTES_MAX`. */
  readonly extra: Uint8Array;
  /** The link is for later: the other side is only the successor, or is the guest's host on another link already. */
  readonly standby: boolean;
  /** The guest is in the game on another link, and goes on on this one: the game is not asked again. */
  readonly moves: boolean;
  /** Where its streams are. */
  readonly offer: Offer;
  /** The newest state that it holds for the host. */
  readonly holds: Generation | undefined;
}

/** What a host answers. */
export interface Welcome {
  /** The tick at which it goes on. */
  readonly tick: number;
  /** The game's time in microseconds; the pause of a migration is not counted. */
  readonly elapsedUs: number;
  /** The scene that is loaded. */
  readonly scene: string;
  /** The ownership table. */
  readonly objects: ObjectTable;
  /** Where the guest's streams are. */
  readonly position: Position;
}

const U32_MAX = 0xffff_ffff;

/** Writes the payload of a hello. */
export function encodeHello(hello: Hello): Uint8Array<ArrayBuffer> {
  const to = new Writer();
  to.struct({
    extra: () => to.bytes(hello.extra),
    standby: () => to.boolean(hello.standby),
    moves: () => to.boolean(hello.moves),
    offer: () => writeOffer(to, hello.offer),
    holds: () => to.optional(hello.holds, (generation) => writeGeneration(to, generation)),
  });
  return to.finish();
}

/** Reads the payload of a hello; `undefined` if it is none. */
export function decodeHello(payload: Uint8Array): Hello | undefined {
  return attempt(() =>
    new Reader(payload).struct<Hello>({
      extra: required((from) => from.bytes()),
      standby: defaulted((from) => from.boolean(), () => false),
      moves: defaulted((from) => from.boolean(), () => false),
      offer: required(readOffer),
      holds: optional(readGeneration),
    }),
  );
}

/** Writes the payload of a welcome. */
export function encodeWelcome(welcome: Welcome): Uint8Array<ArrayBuffer> {
  const to = new Writer();
  to.struct({
    tick: () => to.number(welcome.tick),
    elapsed_us: () => to.number(welcome.elapsedUs),
    scene: () => to.text(welcome.scene),
    objects: () => writeObjectTable(to, welcome.objects),
    position: () => writePosition(to, welcome.position),
  });
  return to.finish();
}

/** Reads the payload of a welcome; `undefined` if it is none, or has a number above 2^53 - 1. */
export function decodeWelcome(payload: Uint8Array): Welcome | undefined {
  return attempt(() => {
    const { elapsed_us, ...rest } = new Reader(payload).struct<Omit<Welcome, "elapsedUs"> & { elapsed_us: number }>({
      tick: required((from) => from.number()),
      elapsed_us: required((from) => from.number()),
      scene: required((from) => from.text()),
      objects: required(readObjectTable),
      position: required(readPosition),
    });
    return { ...rest, elapsedUs: elapsed_us };
  });
}

/** Writes the payload of a refusal. */
export function encodeRefused(reason: string): Uint8Array<ArrayBuffer> {
  const to = new Writer();
  to.text(reason);
  return to.finish();
}

/** Reads the payload of a refusal; `undefined` if there is no reason that can be read. */
export function decodeRefused(payload: Uint8Array): string | undefined {
  return attempt(() => new Reader(payload).text());
}

/** Writes the payload of changes of the ownership table. */
export function encodeObjects(changes: readonly Change[]): Uint8Array<ArrayBuffer> {
  const to = new Writer();
  to.list(changes, (change) => writeChange(to, change));
  return to.finish();
}

/** Reads the payload of changes of the ownership table; `undefined` if it is none. */
export function decodeObjects(payload: Uint8Array): Change[] | undefined {
  return attempt(() => {
    const from = new Reader(payload);
    return from.list(() => readChange(from));
  });
}

/** A generation. */
export function writeGeneration(to: Writer, { epoch, seq }: Generation): void {
  to.struct({ epoch: () => to.number(epoch), seq: () => to.number(seq) });
}

/** A generation. */
export function readGeneration(from: Reader): Generation {
  return from.struct<Generation>({ epoch: required(readNumber), seq: required(readNumber) });
}

/** A whole ownership table: a map by id. */
export function writeObjectTable(to: Writer, table: ObjectTable): void {
  const entries = table.entries();
  to.map(entries.length);
  for (const [id, object] of entries) {
    to.number(id);
    writeObject(to, object);
  }
}

/** A whole ownership table. Nobody has counted it: an honest host's fits. */
export function readObjectTable(from: Reader): ObjectTable {
  const objects: [number, GameObject][] = [];
  from.pairs(() => {
    objects.push([from.number(), readObject(from)]);
  });
  return new ObjectTable(objects);
}

/** What a state says of all streams. */
export function writeLedger(to: Writer, ledger: Ledger): void {
  to.list(ledger, (entry) =>
    to.struct({
      connection: () => to.number(entry.connection),
      stream: () => to.bigint(entry.stream),
      applied: () => to.number(entry.applied),
      down: () => writeSaid(to, entry.down),
      stable: () => writeSaid(to, entry.stable),
      stretches: () => writeStretches(to, entry.stretches),
    }),
  );
}

/** What a state says of all streams. */
export function readLedger(from: Reader): Ledger {
  return from.list(() =>
    from.struct<LedgerEntry>({
      connection: required(readConnection),
      stream: required((reader) => reader.bigint()),
      applied: required(readNumber),
      down: required(readSaid),
      stable: required(readSaid),
      stretches: defaulted(readStretches, () => []),
    }),
  );
}

/** A connection id. */
export function readConnection(from: Reader): number {
  return from.number(U32_MAX);
}

/** A whole number. */
export function readNumber(from: Reader): number {
  return from.number();
}

function writeOffer(to: Writer, offer: Offer): void {
  to.struct({
    stream: () => to.bigint(offer.stream),
    oldest: () => to.number(offer.oldest),
    received: () => to.number(offer.received),
    received_stable: () => to.number(offer.receivedStable),
    stretches: () => writeStretches(to, offer.stretches),
  });
}

function readOffer(from: Reader): Offer {
  const { received_stable, ...rest } = from.struct<Omit<Offer, "receivedStable"> & { received_stable: number }>({
    stream: required((reader) => reader.bigint()),
    oldest: required(readNumber),
    received: required(readNumber),
    received_stable: required(readNumber),
    stretches: required(readStretches),
  });
  return { ...rest, receivedStable: received_stable };
}

function writePosition(to: Writer, position: Position): void {
  to.struct({
    epoch: () => to.number(position.epoch),
    received: () => to.number(position.received),
    common: () => to.number(position.common),
    oldest: () => to.number(position.oldest),
    oldest_stable: () => to.number(position.oldestStable),
  });
}

function readPosition(from: Reader): Position {
  const { oldest_stable, ...rest } = from.struct<Omit<Position, "oldestStable"> & { oldest_stable: number }>({
    epoch: required(readNumber),
    received: required(readNumber),
    common: required(readNumber),
    oldest: required(readNumber),
    oldest_stable: required(readNumber),
  });
  return { ...rest, oldestStable: oldest_stable };
}

function writeStretches(to: Writer, stretches: readonly Stretch[]): void {
  to.list(stretches, ({ epoch, after }) => to.struct({ epoch: () => to.number(epoch), after: () => to.number(after) }));
}

function readStretches(from: Reader): Stretch[] {
  return from.list(() => from.struct<Stretch>({ epoch: required(readNumber), after: required(readNumber) }));
}

function writeSaid(to: Writer, said: Said): void {
  to.struct({
    first: () => to.number(said.first),
    messages: () => to.list(said.messages, (payload) => to.bytes(payload)),
  });
}

function readSaid(from: Reader): Said {
  return from.struct<Said>({
    first: required(readNumber),
    messages: required((reader) => reader.list(() => reader.bytes())),
  });
}

function writeObject(to: Writer, object: GameObject): void {
  to.struct({
    owner: () => to.optional(object.owner, (owner) => to.number(owner)),
    enabled: () => to.boolean(object.enabled),
    data: () => to.bytes(object.data),
  });
}

function readObject(from: Reader): GameObject {
  return from.struct<GameObject>({
    owner: optional(readConnection),
    enabled: required((reader) => reader.boolean()),
    data: required((reader) => reader.bytes()),
  });
}

function writeChange(to: Writer, change: Change): void {
  const variant = (name: string, fields: Readonly<Record<string, () => void>>): void =>
    to.struct({ [name]: () => to.struct(fields) });
  switch (change.kind) {
    case "placed":
      variant("Placed", { id: () => to.number(change.id), object: () => writeObject(to, change.object) });
      break;
    case "removed":
      variant("Removed", { id: () => to.number(change.id) });
      break;
    case "enabled":
      variant("Enabled", { owner: () => to.number(change.owner), enabled: () => to.boolean(change.enabled) });
      break;
  }
}

function readChange(from: Reader): Change {
  const changes: Change[] = [];
  from.pairs(() => {
    const name = from.text();
    const read = CHANGES.get(name);
    if (read === undefined) throw new Malformed("a change of no known kind");
    changes.push(read(from));
  });
  const [change] = changes;
  if (change === undefined || changes.length > 1) throw new Malformed("not one change");
  return change;
}

const CHANGES = new Map<string, (from: Reader) => Change>([
  [
    "Placed",
    (from) => ({
      kind: "placed",
      ...from.struct<{ id: number; object: GameObject }>({ id: required(readNumber), object: required(readObject) }),
    }),
  ],
  ["Removed", (from) => ({ kind: "removed", ...from.struct<{ id: number }>({ id: required(readNumber) }) })],
  [
    "Enabled",
    (from) => ({
      kind: "enabled",
      ...from.struct<{ owner: number; enabled: boolean }>({
        owner: required(readConnection),
        enabled: required((reader) => reader.boolean()),
      }),
    }),
  ],
]);
