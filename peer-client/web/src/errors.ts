/** Why a request to the lobby service failed. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";

  /**
   * @param code What went wrong, as a code that never changes its meaning (`lobby_full`, `wrong_password`, …); `unreachable` if there was no
   * answer, `unreadable` if it made no sense; empty if something other than the service answered.
   * @param status The HTTP status; 0 without an answer.
   * @param detail What went wrong, for people.
   * @param retryAfterS Seconds after which the service asks to come back, if it does.
   */
  constructor(
    readonly code: string,
    readonly status: number,
    readonly detail: string,
    readonly retryAfterS: number | undefined = undefined,
  ) {
    super(detail === "" ? code : `${code}: ${detail}`);
  }

  /** Whether the service has decided, so that asking again the same way is of no use. */
  get isRefusal(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 429;
  }
}

/**
 * Why a message was not taken:
 * - `too_large`: larger than its delivery allows;
 * - `not_connected`: a guest that has not been in the game yet, a host that is handing over, or a peer that is not in the game;
 * - `host_only`: only a host can say something after stable;
 * - `full`: the journal holds as much as it may; keep the message and try again in a later frame.
 */
export type SendProblem = "too_large" | "not_connected" | "host_only" | "full";

/** A message was not taken. */
export class SendError extends Error {
  override readonly name = "SendError";

  /** @param code Why. */
  constructor(readonly code: SendProblem) {
    super(code);
  }
}

/**
 * Why a host's call was refused:
 * - `not_host`: this peer does not run the game;
 * - `unknown_seat`: no such member;
 * - `nobody_eligible`: nobody could take over;
 * - `too_large`, `too_many`: beyond a limit;
 * - `no_base`: a change without a state before it, or too many of them: give the whole state.
 */
export type HostProblem = "not_host" | "unknown_seat" | "nobody_eligible" | "too_large" | "too_many" | "no_base";

/** A host's call was refused. */
export class HostError extends Error {
  override readonly name = "HostError";

  /** @param code Why. */
  constructor(readonly code: HostProblem) {
    super(code);
  }
}
