import type { ConnectionId, Millis } from "./id.js";
import { compareGenerations, type Generation } from "./generation.js";
import { DIAL_RETRY_MS, FREEZE_MAX_MS, HAND_OVER_PATIENCE_MS } from "./limits.js";

/*
 * A planned hand-over, as its host sees it: two phases, and until the second has ended nothing is lost by giving up.
 *
 *   preparing ──successor is warm──▶ freezing ──last state given──▶ frozen ──acknowledged──▶ committing ──▶ another hosts
 *       │ link down, too late            │                             │                        │ refused
 *       └────────────────────────────────┴──────────── the host goes on ◀─────────────────────────┘
 *
 * `hand_over.rs` says what becomes of a lost answer: the host stays frozen until the lobby says what became of it, or until its patience
 * ends. Once it knows that the epoch has moved it never goes on.
 */

/** Why a host hands over: the game asked for it, it leaves, or who manages the lobby asked for it. */
export type Wish = "game" | "leave" | "operator";
/** Why the host goes on. */
export type GivenUp = "successor_gone" | "too_late" | "refused" | "cancelled";
/** The lobby's answer to the commit: the epoch has moved; it has not, and will not; nobody knows. */
export type CommitAnswer = "done" | "refused" | "unknown";

/** What is to be done. */
export type Action =
  /** Have the game give its state, the last one: from then on it stands still. Then call `handleFrozen`. */
  | { readonly kind: "freeze" }
  /** Ask the lobby to make the successor host, then call `handleCommit`. */
  | { readonly kind: "commit"; readonly to: ConnectionId }
  /** The host goes on; the game runs again. */
  | { readonly kind: "go_on"; readonly to: ConnectionId; readonly why: GivenUp; readonly wish: Wish };

type Phase =
  | { readonly kind: "preparing" | "freezing" | "committing" }
  | { readonly kind: "frozen"; readonly generation: Generation }
  /** The answer is unknown: asked again at this time. */
  | { readonly kind: "unsure"; readonly againAt: Millis }
  /** The epoch has moved. What that means comes with the lobby's event, which may be late. */
  | { readonly kind: "committed" };

interface Under {
  readonly to: ConnectionId;
  readonly wish: Wish;
  phase: Phase;
  until: Millis;
}

/** A host's hand-over, if one is under way. */
export class HandOver {
  #under: Under | undefined;
  readonly #actions: Action[] = [];

  /** Begins, unless one is under way. `acknowledged` is what the successor holds. */
  begin(to: ConnectionId, wish: Wish, acknowledged: Generation | undefined, now: Millis): boolean {
    if (this.#under !== undefined) return false;
    this.#under = { to, wish, phase: { kind: "preparing" }, until: now + HAND_OVER_PATIENCE_MS };
    if (acknowledged !== undefined) this.handleTaken(to, acknowledged, now);
    return true;
  }

  /** Whether one is under way, for whom and what for. */
  underWay(): { readonly to: ConnectionId; readonly wish: Wish } | undefined {
    return this.#under === undefined ? undefined : { to: this.#under.to, wish: this.#under.wish };
  }

  /** The game stands still, or is about to. */
  isFreezing(): boolean {
    return this.#under?.phase.kind === "freezing";
  }

  /** The successor holds this state. */
  handleTaken(from: ConnectionId, generation: Generation, now: Millis): void {
    const under = this.#under;
    if (under?.to !== from) return;
    if (under.phase.kind === "preparing") {
      under.phase = { kind: "freezing" };
      under.until = Math.min(under.until, now + FREEZE_MAX_MS);
      this.#actions.push({ kind: "freeze" });
    } else if (under.phase.kind === "frozen" && compareGenerations(generation, under.phase.generation) >= 0) {
      this.#commit(under);
    }
  }

  /** The game has given its last state, and stands still. */
  handleFrozen(generation: Generation): void {
    if (this.#under?.phase.kind === "freezing") this.#under.phase = { kind: "frozen", generation };
  }

  /** The game does not give a state. */
  handleNotFrozen(): void {
    if (this.isFreezing()) this.#giveUp("too_late");
  }

  /** The lobby has answered. */
  handleCommit(answer: CommitAnswer, now: Millis): void {
    if (this.#under?.phase.kind !== "committing") return;
    switch (answer) {
      case "done":
        this.#under.phase = { kind: "committed" };
        break;
      case "unknown":
        this.#under.phase = { kind: "unsure", againAt: now + DIAL_RETRY_MS };
        break;
      case "refused":
        this.#giveUp("refused");
        break;
    }
  }

  /** Another host is there, or this one is none any more for another reason: nothing is left to do. */
  handleReplaced(): void {
    this.#under = undefined;
    this.#actions.length = 0;
  }

  /** The link to a member is down. Once the commit is under way, whether it is host by now is the lobby's to say. */
  handleLinkDown(peer: ConnectionId): void {
    if (this.#under?.to === peer && isBeforeCommit(this.#under.phase)) this.#giveUp("successor_gone");
  }

  /** Somebody took the wish back. */
  cancel(): void {
    if (this.#under !== undefined && isBeforeCommit(this.#under.phase)) this.#giveUp("cancelled");
  }

  /** What is to be done next. */
  pollAction(): Action | undefined {
    return this.#actions.shift();
  }

  /** When {@link HandOver.handleTimeout} has something to do. */
  pollTimeout(): Millis | undefined {
    if (this.#under === undefined) return undefined;
    const { phase, until } = this.#under;
    switch (phase.kind) {
      case "unsure":
        return Math.min(phase.againAt, until);
      case "preparing":
      case "freezing":
      case "frozen":
      case "committing":
        return until;
      case "committed":
        return undefined;
    }
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    const under = this.#under;
    if (under === undefined || under.phase.kind === "committed") return;
    if (under.until <= now) this.#giveUp("too_late");
    else if (under.phase.kind === "unsure" && under.phase.againAt <= now) this.#commit(under);
  }

  #commit(under: Under): void {
    under.phase = { kind: "committing" };
    this.#actions.push({ kind: "commit", to: under.to });
  }

  #giveUp(why: GivenUp): void {
    if (this.#under === undefined) return;
    const { to, wish } = this.#under;
    this.handleReplaced();
    this.#actions.push({ kind: "go_on", to, why, wish });
  }
}

function isBeforeCommit({ kind }: Phase): boolean {
  return kind === "preparing" || kind === "freezing" || kind === "frozen";
}
