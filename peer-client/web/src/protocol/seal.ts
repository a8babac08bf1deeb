import type { Generation } from "./generation.js";
import { fromHex, type LobbyId } from "./id.js";
import { headerWithin, Image } from "./image.js";
import {
  areEqual,
  COMPRESSED,
  DELTA,
  flagsOf,
  headOf,
  type Layout,
  Refused,
  SEALED,
  SNAPSHOT,
  type SnapshotError,
  written,
} from "./record.js";
import { done, failed, type Result } from "./result.js";

/*
 * Sealing snapshots with a key that only the game has, so that the lobby service stores what it cannot read.
 *
 *   0          32                     length - 16
 *   +----------+----------------------+-----------+
 *   | salt     | ciphertext …         | tag       |
 *   +----------+----------------------+-----------+
 *
 * The key of a record is HKDF-SHA256 of the game's key with the record's salt; the cipher is AES-256-GCM with a nonce of zeros. What HKDF
 * takes as its info, and the tag covers beside the ciphertext, is `understudy snapshot 1`, the lobby's 16 bytes, the epoch and the
 * number, both as eight bytes, big-endian.
 */

const SALT_BYTES = 32;
const TAG_BYTES = 16;
const PURPOSE = new TextEncoder().encode("understudy snapshot 1");
/** Always zeros. That is safe because no key is used for a second record: each has a salt of 256 random bits. */
const NONCE = new Uint8Array(12);

/** Bytes that a record grows by when it is sealed. */
export const SEAL_BYTES = SALT_BYTES + TAG_BYTES;

/** Seals and opens the records of one lobby. */
export class Sealer {
  readonly #key: CryptoKey;
  readonly #lobby: Uint8Array;

  private constructor(key: CryptoKey, lobby: Uint8Array) {
    this.#key = key;
    this.#lobby = lobby;
  }

  /** With the game's key: 32 bytes that are hard to guess. Throws if the key is not as long, or the lobby's id is none. */
  static async of(key: Uint8Array, lobby: LobbyId): Promise<Sealer> {
    const id = fromHex(lobby, 16);
    if (key.length !== 32 || id === undefined) throw new RangeError("a key has 32 bytes, and a lobby's id 32 digits");
    return new Sealer(await crypto.subtle.importKey("raw", new Uint8Array(key), "HKDF", false, ["deriveKey"]), id);
  }

  /** Seals what stands at this place among the lobby's snapshots. It grows by {@link SEAL_BYTES}, and differs each time. */
  async seal(generation: Generation, plain: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
    const info = this.#info(generation);
    const key = await this.#recordKey(salt, info);
    const cipher = await crypto.subtle.encrypt(parameters(info), key, new Uint8Array(plain));
    const sealed = new Uint8Array(SALT_BYTES + cipher.byteLength);
    sealed.set(salt);
    sealed.set(new Uint8Array(cipher), SALT_BYTES);
    return sealed;
  }

  /** Opens what was sealed at this place; `undefined`: with another key, for another lobby or generation, or it was changed. */
  async open(generation: Generation, sealed: Uint8Array): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (sealed.length < SEAL_BYTES) return undefined;
    const info = this.#info(generation);
    const key = await this.#recordKey(sealed.slice(0, SALT_BYTES), info);
    try {
      return new Uint8Array(await crypto.subtle.decrypt(parameters(info), key, sealed.slice(SALT_BYTES)));
    } catch {
      return undefined;
    }
  }

  #recordKey(salt: Uint8Array<ArrayBuffer>, info: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
    const derived = { name: "AES-GCM", length: 256 };
    return crypto.subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt, info }, this.#key, derived, false, ["encrypt", "decrypt"]);
  }

  /** What a record is bound to, by its key and by what its tag covers. */
  #info({ epoch, seq }: Generation): Uint8Array<ArrayBuffer> {
    const info = new Uint8Array(PURPOSE.length + this.#lobby.length + 16);
    info.set(PURPOSE);
    info.set(this.#lobby, PURPOSE.length);
    const view = new DataView(info.buffer, info.length - 16);
    view.setBigUint64(0, BigInt(epoch));
    view.setBigUint64(8, BigInt(seq));
    return info;
  }
}

/** Writes an image's record, sealed if there is a sealer. */
export function toRecord(image: Image, sealer?: Sealer): Promise<Result<Uint8Array<ArrayBuffer>, SnapshotError>> {
  if (sealer === undefined) return Promise.resolve(image.toRecord());
  return guardedLater(() => sealedRecord(sealer, image.generation, image.head(SEALED), image.bytes));
}

/** Reads a snapshot's record, which must be sealed if there is a sealer, and must not be if there is none. */
export function fromRecord(record: Uint8Array, sealer?: Sealer): Promise<Result<Image, SnapshotError>> {
  if (sealer === undefined) return Promise.resolve(Image.fromRecord(record));
  return guardedLater(async () => {
    const header = headerWithin(record);
    const body = await opened(sealer, header.generation, record, SNAPSHOT);
    return Image.ofBody(header, flagsOf(record) & COMPRESSED, body);
  });
}

/** Writes what has become of `base`, sealed if there is a sealer. */
export function deltaFrom(image: Image, base: Image, sealer?: Sealer): Promise<Result<Uint8Array<ArrayBuffer>, SnapshotError>> {
  if (sealer === undefined) return Promise.resolve(image.deltaFrom(base));
  return guardedLater(() => sealedRecord(sealer, image.generation, image.deltaHead(base, SEALED), image.differenceFrom(base)));
}

/** Makes the image that a delta leads to, which must be sealed if there is a sealer, and must not be if there is none. */
export function applyDelta(base: Image, record: Uint8Array, sealer?: Sealer): Promise<Result<Image, SnapshotError>> {
  if (sealer === undefined) return Promise.resolve(base.apply(record));
  return guardedLater(async () => {
    const header = base.deltaHeaderWithin(record);
    return base.patched(header, await opened(sealer, header.generation, record, DELTA));
  });
}

function parameters(info: Uint8Array<ArrayBuffer>): AesGcmParams {
  return { name: "AES-GCM", iv: NONCE, additionalData: info };
}

/** The head is sealed behind the body, so that nobody without the key can give a state another tick or another base. */
async function sealedRecord(
  sealer: Sealer,
  generation: Generation,
  head: Uint8Array,
  body: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const plain = new Uint8Array(body.length + head.length);
  plain.set(body);
  plain.set(head, body.length);
  return written(head, await sealer.seal(generation, plain));
}

async function opened(sealer: Sealer, generation: Generation, record: Uint8Array, layout: Layout): Promise<Uint8Array> {
  // Whoever could take the seal away could write anything in its place.
  if ((flagsOf(record) & SEALED) === 0) throw new Refused("key");
  const head = headOf(record, layout);
  const plain = await sealer.open(generation, record.subarray(layout.headerBytes));
  const end = (plain?.length ?? 0) - head.length;
  if (plain === undefined || end < 0 || !areEqual(plain.subarray(end), head)) throw new Refused("key");
  return plain.subarray(0, end);
}

async function guardedLater<T>(make: () => Promise<T>): Promise<Result<T, SnapshotError>> {
  try {
    return done(await make());
  } catch (error) {
    if (error instanceof Refused) return failed(error.why);
    throw error;
  }
}
