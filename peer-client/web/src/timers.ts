/** Timers that go on in hidden tabs. */

import type { Millis } from "./protocol/id.js";

/** Runs work later, until it is closed. */
export interface Timers {
  /** Runs this once after so many milliseconds. Returns what keeps it from running. */
  after(ms: Millis, work: () => void): () => void;
  /** Runs nothing any more. */
  close(): void;
}

/** What a worker does. */
const SOURCE = "onmessage = ({ data: [id, ms] }) => setTimeout(() => postMessage(id), ms)";

/**
 * Browsers let the timers of a hidden tab run once a second, and later once a minute: a peer that says once a second that it lives is lost to
 * the others. Timers of a worker are not slowed down. Where there is no worker, or the page's policy forbids one, they are the page's own.
 */
export function startTimers(): Timers {
  const waiting = new Map<number, { readonly at: Millis; readonly work: () => void; timeout?: ReturnType<typeof setTimeout> }>();
  let next = 0;
  const forget = (id: number): void => {
    clearTimeout(waiting.get(id)?.timeout);
    waiting.delete(id);
  };
  const fire = (id: number): void => {
    const work = waiting.get(id)?.work;
    forget(id);
    work?.();
  };
  const byPage = (id: number, ms: Millis): void => {
    const timer = waiting.get(id);
    if (timer !== undefined) timer.timeout = setTimeout(() => fire(id), ms);
  };
  let arm: (id: number, ms: Millis) => void = byPage;
  const worker = startWorker();
  if (worker !== undefined) {
    arm = (id, ms) => worker.postMessage([id, ms]);
    worker.onmessage = ({ data }) => fire(data as number);
    worker.onerror = () => {
      arm = byPage;
      for (const [id, { at }] of waiting) byPage(id, at - performance.now());
    };
  }
  return {
    after: (ms, work) => {
      const id = (next += 1);
      waiting.set(id, { at: performance.now() + ms, work });
      arm(id, ms);
      return () => forget(id);
    },
    close: () => {
      for (const id of [...waiting.keys()]) forget(id);
      worker?.terminate();
    },
  };
}

function startWorker(): Worker | undefined {
  if (typeof Worker === "undefined") return undefined;
  const url = URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" }));
  try {
    return new Worker(url);
  } catch {
    return undefined;
  } finally {
    URL.revokeObjectURL(url);
  }
}
