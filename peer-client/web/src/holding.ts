/** The newest state that others need, held by this peer: its host feeds it, because it would be elected now. */

import type { Driver } from "./driver.js";
import { compareGenerations, type Generation } from "./protocol/generation.js";
import type { ConnectionId, Millis } from "./protocol/id.js";
import { Image } from "./protocol/image.js";
import { foundState } from "./taking-over.js";

/** What this peer holds. */
export class Held {
  /** The newest state, and when it came. */
  newest: { readonly image: Image; readonly at: Millis } | undefined;
  /** A difference did not fit: others are of no use until a whole state comes. */
  wantsWhole = false;
  /** The host feeds this peer, as its successor. */
  isSuccessor = false;
  /** The host gives none after this one, and hands over. */
  last: Generation | undefined;

  get generation(): Generation | undefined {
    return this.newest?.image.generation;
  }

  /** It holds the last state of a host that handed over: nobody can have a newer one. */
  get isComplete(): boolean {
    const { last, generation } = this;
    return last !== undefined && generation !== undefined && compareGenerations(last, generation) === 0;
  }

  /** A host holds what it gives itself. */
  forget(): void {
    this.newest = this.last = undefined;
    this.wantsWhole = this.isSuccessor = false;
  }
}

/** A record came, from whoever may send one. */
export function stateCame(driver: Driver, from: ConnectionId, record: Uint8Array, now: Millis): void {
  const { held } = driver;
  const next = readState(held, record);
  const hadFailed = held.wantsWhole;
  held.wantsWhole = next === undefined;
  if (next === undefined) {
    if (!hadFailed) driver.state.links.get(from)?.tell({ kind: "state_wanted" });
    return;
  }
  const { generation } = next;
  if (held.generation !== undefined && compareGenerations(generation, held.generation) <= 0) return;
  held.newest = { image: next, at: now };
  driver.state.links.get(from)?.tell({ kind: "state_taken", generation });
  foundState(driver, from, generation, now);
}

/** What a record leads to; `undefined`: a whole state is needed. */
function readState({ newest, wantsWhole }: Held, record: Uint8Array): Image | undefined {
  const whole = Image.fromRecord(record);
  if (whole.ok) return whole.value;
  const next = wantsWhole ? undefined : newest?.image.apply(record);
  return next?.ok === true ? next.value : undefined;
}

/** An elected member asks for what this peer holds. */
export function stateAsked({ held, state }: Driver, from: ConnectionId, generation: Generation): void {
  const image = held.newest?.image;
  if (image === undefined || compareGenerations(image.generation, generation) !== 0) return;
  const record = image.toRecord();
  if (record.ok) state.links.get(from)?.sendState(record.value);
}
