/** A member's seat in its lobby: kept over disconnects, migrations and rejoining. 32 bits. */
export type ConnectionId = number;
/** The fencing number of a lobby's host: +1 with every change of host. 0 means "none yet". */
export type HostEpoch = number;
/** The number of an event in its lobby, from 1, without gaps. */
export type EventSeq = number;
/** An object of the game in the ownership table, chosen by the game: below 2^53, so that JavaScript can count it. */
export type ObjectId = number;
/** A time in milliseconds from an origin that the caller chooses once, for instance `performance.now()`; fractions count. */
export type Millis = number;
/** Milliseconds since the Unix epoch on the service's clock. Never compared with a {@link Millis}. */
export type Timestamp = number;
/** The SHA-256 of the certificate that one process made for itself: 64 hexadecimal digits in lower case. */
export type PeerKey = string;
/** A player: 32 hexadecimal digits. */
export type PlayerId = string;
/** A lobby: 32 hexadecimal digits. */
export type LobbyId = string;
/** What others join a lobby by: ten characters and a dash. */
export type JoinCode = string;
/** Names the process that numbers messages: the first 64 bits of its {@link PeerKey}. */
export type StreamId = bigint;

/** The stream of the process with this key. */
export function streamOf(key: PeerKey): StreamId {
  return BigInt(`0x${key.slice(0, 16)}`);
}

/** Bytes as lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Exactly `length` bytes of hexadecimal in either case; `undefined` if it is anything else. */
export function fromHex(text: string, length: number): Uint8Array<ArrayBuffer> | undefined {
  if (text.length !== 2 * length || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}
