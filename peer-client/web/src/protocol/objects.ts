import type { ConnectionId, ObjectId } from "./id.js";
import { OBJECT_OVERHEAD_BYTES, OBJECT_TABLE_BYTES_MAX, OBJECTS_MAX } from "./limits.js";
import { done, failed, type Result } from "./result.js";

/** An object of the game. */
export interface GameObject {
  /** Who has authority over it; `undefined`: the host. */
  readonly owner: ConnectionId | undefined;
  /** False while its owner has not come back after a migration. */
  readonly enabled: boolean;
  /** Of the game: kind, prefab, spawn parameters. */
  readonly data: Uint8Array;
}

/** A change of the table, as guests are told. */
export type Change =
  | { readonly kind: "placed"; readonly id: ObjectId; readonly object: GameObject }
  | { readonly kind: "removed"; readonly id: ObjectId }
  | { readonly kind: "enabled"; readonly owner: ConnectionId; readonly enabled: boolean };

/** Why an object cannot be placed: there are `OBJECTS_MAX` already, or the table would be above `OBJECT_TABLE_BYTES_MAX`. */
export type PlaceError = "too_many" | "too_large";

/** All objects that the game told the library of. Small enough for one message: a host tells it whole to each guest that arrives. */
export class ObjectTable {
  readonly #objects: Map<ObjectId, GameObject>;
  #bytes = 0;

  /** Of objects that somebody else has counted. */
  constructor(objects: Iterable<readonly [ObjectId, GameObject]> = []) {
    this.#objects = new Map(objects);
    for (const object of this.#objects.values()) this.#bytes += sizeOf(object);
  }

  /** How many there are. */
  get size(): number {
    return this.#objects.size;
  }

  /** All objects, by id. */
  entries(): [ObjectId, GameObject][] {
    return [...this.#objects].sort(([one], [other]) => one - other);
  }

  /** One object. */
  object(id: ObjectId): GameObject | undefined {
    return this.#objects.get(id);
  }

  /** The objects of a connection, by id. */
  ownedBy(owner: ConnectionId): ObjectId[] {
    return this.#idsWhere((object) => object.owner === owner);
  }

  /** A table of its own with the same objects. */
  clone(): ObjectTable {
    return new ObjectTable(this.#objects);
  }

  /** Places an object, or gives it another owner and other data. Returns the change to tell. */
  place(id: ObjectId, owner: ConnectionId | undefined, data: Uint8Array): Result<Change, PlaceError> {
    const object = { owner, enabled: true, data };
    const refused = this.#insert(id, object);
    return refused === undefined ? done({ kind: "placed", id, object }) : failed(refused);
  }

  /** Removes an object. Returns the change to tell, if it was there. */
  remove(id: ObjectId): Change | undefined {
    const removed = this.#objects.get(id);
    if (removed === undefined) return undefined;
    this.#objects.delete(id);
    this.#bytes -= sizeOf(removed);
    return { kind: "removed", id };
  }

  /** Enables or disables what a connection owns. Returns the objects that changed, and the change to tell. */
  enable(owner: ConnectionId, enabled: boolean): { readonly changed: ObjectId[]; readonly change: Change | undefined } {
    const changed = this.#idsWhere((object) => object.owner === owner && object.enabled !== enabled);
    this.#replace(changed, (object) => ({ ...object, enabled }));
    return { changed, change: changed.length > 0 ? { kind: "enabled", owner, enabled } : undefined };
  }

  /** Disables whatever has an owner other than `host`: after a restore, until its owner is back. */
  disableAllBut(host: ConnectionId): void {
    const isEnabled = ({ owner }: GameObject): boolean => owner === undefined || owner === host;
    this.#replace([...this.#objects.keys()], (object) => ({ ...object, enabled: isEnabled(object) }));
  }

  /** Gives the objects of a seat that was given up to the host. Returns them. */
  orphan(owner: ConnectionId): ObjectId[] {
    const orphans = this.ownedBy(owner);
    this.#replace(orphans, (object) => ({ ...object, owner: undefined, enabled: true }));
    return orphans;
  }

  /** Applies what the host told. What does not fit is left out: an honest host's table fits. */
  apply(change: Change): void {
    switch (change.kind) {
      case "placed":
        this.#insert(change.id, change.object);
        break;
      case "removed":
        this.remove(change.id);
        break;
      case "enabled":
        this.enable(change.owner, change.enabled);
        break;
    }
  }

  #insert(id: ObjectId, object: GameObject): PlaceError | undefined {
    const before = this.#objects.get(id);
    if (before === undefined && this.#objects.size >= OBJECTS_MAX) return "too_many";
    const bytes = this.#bytes - (before === undefined ? 0 : sizeOf(before)) + sizeOf(object);
    if (bytes > OBJECT_TABLE_BYTES_MAX) return "too_large";
    this.#bytes = bytes;
    this.#objects.set(id, object);
    return undefined;
  }

  #idsWhere(holds: (object: GameObject) => boolean): ObjectId[] {
    const found = [...this.#objects].filter(([, object]) => holds(object));
    return found.map(([id]) => id).sort((one, other) => one - other);
  }

  #replace(ids: readonly ObjectId[], by: (object: GameObject) => GameObject): void {
    for (const id of ids) {
      const object = this.#objects.get(id);
      if (object !== undefined) this.#objects.set(id, by(object));
    }
  }
}

/** Bytes that it takes in a message, about. */
function sizeOf(object: GameObject): number {
  return OBJECT_OVERHEAD_BYTES + object.data.length;
}
