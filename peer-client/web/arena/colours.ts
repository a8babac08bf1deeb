/** Colours of players: told apart also by the numbers that stand on the figures. */

const PLAYERS = ["#f87171", "#4ade80", "#60a5fa", "#e879f9", "#22d3ee", "#f1f5f9", "#fb923c", "#a3e635"] as const;

/** Of the board and what lies on it. */
export const BOARD = {
  floor: "#0f1520",
  line: "#121926",
  edge: "#2a3448",
  coin: "#fbbf24",
  coinEdge: "#92610a",
  dispenser: "#334155",
  dispenserEdge: "#94a3b8",
  shot: "#fda4af",
  ink: "#0b0f16",
  away: "#64748b",
  text: "#e2e8f0",
} as const;

/** The player's. */
export function colourOf(connection: number): string {
  return PLAYERS[connection % PLAYERS.length] ?? PLAYERS[0];
}

/** The number that a player's figure carries. */
export function numberOf(connection: number): string {
  return String(connection + 1);
}
