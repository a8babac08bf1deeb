import type { HostEpoch, StreamId } from "./id.js";
import {
  type Class,
  goneOn,
  Journal,
  missingBetween,
  type Missing,
  type Offer,
  type Position,
  type Receipt,
  type Resumed,
  type Stretch,
} from "./journal.js";

/** A guest's side: what it says to whoever is host, and how far it has heard. The same over all hosts. */
export class GuestStreams {
  readonly #stream: StreamId;
  readonly #up = new Journal();
  #received = 0;
  #receivedStable = 0;
  #stretches: readonly Stretch[] = [];

  /** Of a process that has said nothing yet. */
  constructor(stream: StreamId) {
    this.#stream = stream;
  }

  /** What it has said and keeps. */
  get journal(): Journal {
    return this.#up;
  }

  /** Keeps a message for the host. Returns its number; `undefined`: the journal is full. */
  say(payload: Uint8Array): number | undefined {
    return this.#up.push(payload);
  }

  /** What its hello says. */
  offer(): Offer {
    return {
      stream: this.#stream,
      oldest: this.#up.oldest,
      received: this.#received,
      receivedStable: this.#receivedStable,
      stretches: this.#stretches,
    };
  }

  /**
   * The newest that it has received of the host of this epoch, or of those before it. Nothing before its welcome: until then the
   * numbers may mean others.
   */
  receivedOf(epoch: HostEpoch): { readonly received: number; readonly receivedStable: number } {
    if (!this.#follows(epoch)) return { received: 0, receivedStable: 0 };
    return { received: this.#received, receivedStable: this.#receivedStable };
  }

  /** The host says where it goes on. */
  handleWelcome(position: Position): Resumed {
    const inputsLost = missingBetween(position.received, this.#up.oldest);
    let takenBack: Missing | undefined;
    // On another link to the same host its numbers are what they were.
    if (!this.#follows(position.epoch)) {
      const common = Math.min(position.common, this.#received);
      takenBack = missingBetween(common, this.#received + 1);
      this.#received = common;
      this.#stretches = goneOn(this.#stretches, position.epoch, common);
    }
    const neverHeard = missingBetween(this.#received, position.oldest);
    this.#received = Math.max(this.#received, position.oldest - 1);
    this.#receivedStable = Math.max(this.#receivedStable, position.oldestStable - 1);
    return { sayAfter: position.received, inputsLost, takenBack, neverHeard };
  }

  /** A state that contains those up to this number is durable. */
  handleDurable(upTo: number): void {
    this.#up.cut(upTo);
  }

  /** A message of the host came. */
  receive(kind: Class, number: number): Receipt {
    const before = kind === "reliable" ? this.#received : this.#receivedStable;
    if (number <= before) return "repeated";
    if (number > before + 1) return "gap";
    if (kind === "reliable") this.#received = number;
    else this.#receivedStable = number;
    return "next";
  }

  #follows(epoch: HostEpoch): boolean {
    return this.#stretches.at(-1)?.epoch === epoch;
  }
}
