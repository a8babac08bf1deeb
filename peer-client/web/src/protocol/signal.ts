import type { PeerKey } from "./id.js";
import { CANDIDATE_BYTES_MAX, CHANNEL_MESSAGE_BYTES_MAX, ICE_PASSWORD_CHARS_MAX, SIGNAL_CANDIDATES_MAX, UFRAG_CHARS_MAX } from "./limits.js";

/*
 * What two members tell each other through the lobby before they can talk directly: ICE for a WebRTC link. There is no session
 * description among it and no fingerprint: each side composes the description of the other itself, from what is said here and from the
 * fingerprint that the lobby names for that member. A link is authenticated by that alone.
 */

/** How a process is reached by ICE. */
export interface Description {
  /** Its user name fragment: 4 to 32 letters, digits, + and /. */
  readonly ufrag: string;
  /** Its password: 22 to 64 of them. */
  readonly pwd: string;
  /** Those of its candidates that are known already. */
  readonly candidates: readonly string[];
}

/** A signal from one process to another. `attempt` is drawn at random by the one that dials, 32 bits. */
export type Signal =
  | ({ readonly kind: "offer" | "answer"; readonly attempt: number } & Description)
  | { readonly kind: "candidates"; readonly attempt: number; readonly candidates: readonly string[] }
  | { readonly kind: "close"; readonly attempt: number };

const WORD = /^[A-Za-z0-9+/]+$/;
const CANDIDATE_KINDS: readonly string[] = ["host", "srflx", "prflx", "relay"];
const TCP_TYPES: readonly string[] = ["active", "passive", "so"];

/**
 * Reads a signal that may be anything, checks it, and takes from its candidates what is not needed. `undefined`: it is none, or breaks
 * a limit; it is to be ignored.
 */
export function readSignal(value: unknown): Signal | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, attempt, ufrag, pwd, candidates } = value as Readonly<Record<string, unknown>>;
  if (typeof attempt !== "number" || !isWhole(attempt, 0xffff_ffff)) return undefined;
  if (kind === "close") return { kind, attempt };
  if (kind !== "offer" && kind !== "answer" && kind !== "candidates") return undefined;
  const stripped = readCandidates(candidates ?? (kind === "candidates" ? undefined : []));
  if (stripped === undefined) return undefined;
  if (kind === "candidates") return { kind, attempt, candidates: stripped };
  if (!isIce(ufrag, 4, UFRAG_CHARS_MAX) || !isIce(pwd, 22, ICE_PASSWORD_CHARS_MAX)) return undefined;
  return { kind, attempt, ufrag, pwd, candidates: stripped };
}

/**
 * A candidate as it may be sent, from `candidate:` on: checked, without related address and extensions other than `tcptype`.
 * `undefined`: it is none, or of a kind that is not known.
 */
export function strippedCandidate(text: string): string | undefined {
  if (text.length > CANDIDATE_BYTES_MAX || !text.startsWith("candidate:") || !/^[\0-\x7f]*$/.test(text)) return undefined;
  const [foundation = "", component = "", transport = "", priority = "", address = "", port = "", typ, kind = "", ...rest] = text
    .slice("candidate:".length)
    .split(" ");
  const isCandidate =
    WORD.test(foundation) &&
    foundation.length <= 32 &&
    isNumber(component, 0xffff) &&
    ["udp", "tcp"].includes(transport.toLowerCase()) &&
    isNumber(priority, 0xffff_ffff) &&
    isAddress(address) &&
    isNumber(port, 0xffff) &&
    typ === "typ" &&
    CANDIDATE_KINDS.includes(kind) &&
    rest.length % 2 === 0;
  if (!isCandidate) return undefined;
  const numbers = [component, priority, port].map(Number);
  const kept = `candidate:${foundation} ${numbers[0]} ${transport} ${numbers[1]} ${address} ${numbers[2]} typ ${kind}`;
  const tcpType = tcpTypeOf(rest);
  return tcpType === undefined ? kept : `${kept} tcptype ${tcpType}`;
}

/** What a local description says of ICE, its candidates as they may be sent; `undefined` if it says nothing. */
export function localIce(sdp: string): Description | undefined {
  const lines = sdp.split(/\r?\n/);
  const valueOf = (name: string): string | undefined =>
    lines.find((line) => line.startsWith(`a=${name}:`))?.slice(name.length + 3);
  const ufrag = valueOf("ice-ufrag");
  const pwd = valueOf("ice-pwd");
  if (ufrag === undefined || pwd === undefined) return undefined;
  const candidates = lines.filter((line) => line.startsWith("a=candidate:")).map((line) => strippedCandidate(line.slice(2)));
  return { ufrag, pwd, candidates: candidates.filter((candidate) => candidate !== undefined).slice(0, SIGNAL_CANDIDATES_MAX) };
}

/**
 * The description of the other side: one section for data channels, with the fingerprint that the lobby names for it. The description
 * must have been read by {@link readSignal}, or nothing says that it is one line each.
 */
export function remoteSdp(kind: "offer" | "answer", { ufrag, pwd, candidates }: Description, peerKey: PeerKey): string {
  const fingerprint = peerKey.toUpperCase().match(/../g)?.join(":") ?? "";
  const lines = [
    "v=0",
    "o=- 1 2 IN IP4 127.0.0.1",
    "s=-",
    "t=0 0",
    "a=group:BUNDLE 0",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    `a=ice-ufrag:${ufrag}`,
    `a=ice-pwd:${pwd}`,
    "a=ice-options:trickle",
    `a=fingerprint:sha-256 ${fingerprint}`,
    `a=setup:${kind === "offer" ? "actpass" : "active"}`,
    "a=mid:0",
    "a=sctp-port:5000",
    `a=max-message-size:${SDP_MESSAGE_BYTES_MAX}`,
    ...candidates.map((candidate) => `a=${candidate}`),
  ];
  return `${lines.join("\r\n")}\r\n`;
}

/** What both sides say that they take in one message. They send less: {@link CHANNEL_MESSAGE_BYTES_MAX}. */
const SDP_MESSAGE_BYTES_MAX = 4 * CHANNEL_MESSAGE_BYTES_MAX;

function readCandidates(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length > SIGNAL_CANDIDATES_MAX) return undefined;
  const stripped: string[] = [];
  for (const candidate of value as readonly unknown[]) {
    const kept = typeof candidate === "string" ? strippedCandidate(candidate) : undefined;
    if (kept === undefined) return undefined;
    stripped.push(kept);
  }
  return stripped;
}

function isIce(value: unknown, min: number, max: number): value is string {
  return typeof value === "string" && value.length >= min && value.length <= max && WORD.test(value);
}

function isWhole(number: number, max: number): boolean {
  return Number.isInteger(number) && number >= 0 && number <= max;
}

/** A number as Rust reads it: digits, perhaps after a plus. */
function isNumber(text: string, max: number): boolean {
  return /^\+?[0-9]+$/.test(text) && Number(text) <= max;
}

function tcpTypeOf(extensions: readonly string[]): string | undefined {
  let found: string | undefined;
  for (let at = 0; at < extensions.length; at += 2) {
    const value = extensions[at + 1] ?? "";
    if (extensions[at] === "tcptype") found = TCP_TYPES.includes(value) ? value : undefined;
  }
  return found;
}

/** An IP address, or what a browser says in its place. */
function isAddress(text: string): boolean {
  return isIpv4(text) || isIpv6(text) || /^[A-Za-z0-9-]{1,64}\.local$/.test(text);
}

function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

function isIpv6(text: string): boolean {
  if (!/^[0-9A-Fa-f:.]{2,45}$/.test(text)) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const [front = [], back = []] = groups;
  const hasEnd = halves.length === 2 ? back : front;
  const last = [...front, ...back].at(-1) ?? "";
  const hasIpv4 = hasEnd.length > 0 && last.includes(".") && isIpv4(last);
  const all = [...front, ...back];
  const hexadecimal = hasIpv4 ? all.slice(0, -1) : all;
  const count = all.length + (hasIpv4 ? 1 : 0);
  return hexadecimal.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group)) && (halves.length === 2 ? count < 8 : count === 8);
}
