/** Keys and the pad on the screen: what the player wants now. */

import type { Direction, Input } from "./world.js";

const KEYS: Record<string, Direction> = {
  ArrowUp: "Up",
  ArrowDown: "Down",
  ArrowLeft: "Left",
  ArrowRight: "Right",
  KeyW: "Up",
  KeyS: "Down",
  KeyA: "Left",
  KeyD: "Right",
};

/** A tap is wanted for so many ticks: wishes travel unreliably, and of two in one tick of the host's only the last counts. One step. */
const TAP_TICKS = 3;

/** Walks while a key or a finger is down; the one that came last counts. A shot is wanted once a press, and while it is held. */
export class Controls {
  /** What is held, the newest last. */
  private walks: { readonly by: string; readonly walk: Direction }[] = [];
  private readonly shooting = new Set<string>();
  /** What was pressed last, perhaps let go already, and for how many ticks it is still wanted. */
  private tapped: Direction | undefined;
  private tappedTicks = 0;
  private shotTicks = 0;

  /** Listens to the keys of the window and to the pad, until `signal` says that the game is over. */
  public constructor(
    private readonly pad: HTMLElement,
    private readonly signal: AbortSignal,
  ) {
    addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("keyup", (event) => this.letGo(event.code), { signal });
    addEventListener("blur", () => this.letAllGo(), { signal });
    document.addEventListener("visibilitychange", () => this.letAllGo(), { signal });
    for (const button of pad.querySelectorAll("button")) {
      this.listen(button);
    }
  }

  /** What the player wants in this tick. */
  public take(): Input {
    const walk = this.walks.at(-1)?.walk ?? (this.tappedTicks > 0 ? this.tapped : undefined);
    const shoot = this.shotTicks > 0 || this.shooting.size > 0;
    this.tappedTicks -= 1;
    this.shotTicks -= 1;
    return { walk, shoot };
  }

  private key(event: KeyboardEvent): void {
    // Whoever writes a name, presses a button, or uses the browser's own keys does not walk.
    const busy = event.target instanceof HTMLInputElement || (event.code === "Space" && event.target instanceof HTMLButtonElement);
    if (busy || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const walk = KEYS[event.code];
    if (walk === undefined && event.code !== "Space") {
      return;
    }
    event.preventDefault();
    if (!event.repeat) {
      this.press(event.code, walk);
    }
  }

  private press(by: string, walk: Direction | undefined): void {
    if (walk === undefined) {
      this.shooting.add(by);
      this.shotTicks = TAP_TICKS;
    } else {
      this.walks = [...this.walks.filter((held) => held.by !== by), { by, walk }];
      this.tapped = walk;
      this.tappedTicks = TAP_TICKS;
    }
  }

  private letGo(by: string): void {
    this.walks = this.walks.filter((held) => held.by !== by);
    this.shooting.delete(by);
  }

  private letAllGo(): void {
    this.walks = [];
    this.shooting.clear();
    this.pad.querySelectorAll(".held").forEach((button) => button.classList.remove("held"));
  }

  /** A button of the pad. A finger that slides from one arrow to the next walks on. */
  private listen(button: HTMLButtonElement): void {
    const { signal } = this;
    const down = (event: PointerEvent): void => {
      event.preventDefault();
      button.releasePointerCapture(event.pointerId);
      this.hold(button, event.pointerId);
    };
    const enter = (event: PointerEvent): void => {
      if (event.buttons > 0 && walkOf(button) !== undefined) {
        this.hold(button, event.pointerId);
      }
    };
    button.addEventListener("pointerdown", down, { signal });
    button.addEventListener("pointerenter", enter, { signal });
    for (const end of ["pointerup", "pointerleave", "pointercancel"] as const) {
      button.addEventListener(end, (event) => this.release(button, event.pointerId), { signal });
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    button.addEventListener("click", (event) => this.click(button, event), { signal });
  }

  /** By a keyboard or a screen reader, which press without a pointer. */
  private click(button: HTMLButtonElement, event: MouseEvent): void {
    if (event.detail === 0) {
      this.press("click", walkOf(button));
      this.letGo("click");
    }
  }

  private hold(button: HTMLButtonElement, pointer: number): void {
    button.classList.add("held");
    this.press(`pointer ${pointer}`, walkOf(button));
  }

  private release(button: HTMLButtonElement, pointer: number): void {
    button.classList.remove("held");
    this.letGo(`pointer ${pointer}`);
  }
}

function walkOf(button: HTMLButtonElement): Direction | undefined {
  const walk = button.dataset["walk"];
  return Object.values(KEYS).find((direction) => direction === walk);
}
