/** Requests to the lobby service. */

import { ServiceError } from "./errors.js";

/** A request that is not answered by then has failed. */
export const REQUEST_TIMEOUT_MS = 5000;
/** The same for snapshots, which may be large and the path slow. */
export const SNAPSHOT_TIMEOUT_MS = 30_000;
/** How often a request that came too early is sent again. */
const RETRIES_MAX = 3;
/** Longest wait for one: who has to wait longer is told so. */
const WAIT_MAX_S = 3;

/** A request. */
export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH";
  /** From the service's URL on. */
  readonly path: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly bytes?: Uint8Array;
  readonly timeoutMs?: number;
  /** It is carried out even if the page is gone by then; its body is small. */
  readonly keepalive?: boolean;
}

/**
 * Sends a request, later if it is too early, and takes what is no refusal.
 *
 * @throws {@link ServiceError}
 */
export async function send(url: string, request: Request, token: string | undefined): Promise<Response> {
  for (let tries = 0; ; tries += 1) {
    const response = await sendOnce(url, request, token);
    const waitS = response.status === 429 ? Number(response.headers.get("retry-after") ?? Number.NaN) : Number.NaN;
    if (tries === RETRIES_MAX || !(waitS <= WAIT_MAX_S)) return accepted(response);
    await new Promise((resolve) => setTimeout(resolve, 1000 * waitS));
  }
}

/**
 * Reads an answer.
 *
 * @throws {@link ServiceError} `unreadable`.
 */
export async function json<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new ServiceError("unreadable", response.status, String(error));
  }
}

async function sendOnce(url: string, request: Request, token: string | undefined): Promise<Response> {
  const headers = new Headers();
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (request.json !== undefined) headers.set("content-type", "application/json");
  if (request.bytes !== undefined) headers.set("content-type", "application/octet-stream");
  const body = request.json === undefined ? (request.bytes as Uint8Array<ArrayBuffer> | undefined) : JSON.stringify(request.json);
  try {
    return await fetch(url + request.path, {
      method: request.method,
      headers,
      body: body ?? null,
      cache: "no-store",
      credentials: "omit",
      keepalive: request.keepalive ?? false,
      signal: AbortSignal.timeout(request.timeoutMs ?? REQUEST_TIMEOUT_MS),
    });
  } catch (error) {
    throw new ServiceError("unreachable", 0, String(error));
  }
}

async function accepted(response: Response): Promise<Response> {
  if (response.ok) return response;
  const problem = (await response.json().catch(() => ({}))) as { code?: unknown; detail?: unknown; retry_after_s?: unknown };
  const code = typeof problem.code === "string" ? problem.code : "";
  const detail = typeof problem.detail === "string" ? problem.detail : "";
  const retryAfterS = typeof problem.retry_after_s === "number" ? problem.retry_after_s : undefined;
  throw new ServiceError(code, response.status, detail, retryAfterS);
}
