import { readFileSync } from "node:fs";

/** What a Rust test has written: each case is what its file makes of it. */
export type Case = Readonly<Record<string, any>>;

/** The cases of a file of vectors. */
export function casesOf(name: string): readonly Case[] {
  return JSON.parse(readFileSync(new URL(`../../../vectors/${name}.json`, import.meta.url), "utf8")) as readonly Case[];
}

/** Bytes of hexadecimal digits. */
export function unhex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "hex"));
}

/**
 * A value as it stands in the vectors: bytes as hexadecimal, streams as decimals, and without what is nothing (`undefined`, `null`, and data
 * of which there is none). Times are rounded to nanoseconds, beyond which the two do not agree.
 */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return Math.round(value * 1e6) / 1e6;
  if (Array.isArray(value)) return value.map((one) => (one === undefined || one === null ? null : plain(one)));
  if (typeof value !== "object" || value === null) return value ?? null;
  const entries = Object.entries(value).map(([name, one]): [string, unknown] => [name, plain(one)]);
  return Object.fromEntries(entries.filter(([name, one]) => one !== null && !(name === "data" && isEmpty(one))));
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
