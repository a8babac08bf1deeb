import type { ConnectionId } from "./id.js";
import type { Data, DataPatch, EventBody, HostState, LobbyEvent, LobbyView, MemberView } from "./message.js";

/** The member at a seat. */
export function memberAt(lobby: LobbyView, connection: ConnectionId): MemberView | undefined {
  return lobby.members.find((member) => member.connection === connection);
}

/** The member that runs the game or was chosen to. */
export function hostOf(state: HostState): ConnectionId | undefined {
  switch (state.state) {
    case "present":
    case "vouched":
    case "elected":
      return state.host;
    case "lost":
    case "parked":
      return undefined;
  }
}

/**
 * The view after an event; `undefined` if that is not the next one: the caller asks for it, or for everything. An event of a kind that
 * is not known here counts as {@link EventBody} `hidden`.
 */
export function applyEvent(lobby: LobbyView, event: LobbyEvent): LobbyView | undefined {
  if (event.seq !== lobby.seq + 1) return undefined;
  const { seq, at, epoch } = event;
  return { ...lobby, seq, updated_at: at, epoch, ...changed(lobby, event, at) };
}

function changed(lobby: LobbyView, event: EventBody, at: number): Partial<LobbyView> {
  switch (event.kind) {
    case "member_joined":
    case "member_changed":
    case "member_connected":
    case "member_disconnected":
    case "member_left":
    case "member_data_changed":
    case "member_private_data_changed":
      return { members: membersAfter(lobby.members, event, at) };
    case "host_lost": {
      const { host, cause, deadline } = event;
      return { hand_over: null, host: { state: "lost", host, since: at, cause, lost_at: at, deadline } };
    }
    case "host_returned":
    case "host_ready":
      return { host: { state: "present", host: event.host, since: at } };
    case "host_vouched":
      return { host: { state: "vouched", host: event.host, since: at, until: at } };
    case "host_elected":
      return { hand_over: null, host: { state: "elected", host: event.host, ready_by: event.ready_by, tried: [] } };
    // Another election, or none for now, is the next event.
    case "election_failed":
      return { host: { state: "parked", reason: "nobody_eligible", former: null, until: null } };
    case "host_parked":
      return { host: { state: "parked", reason: event.reason, former: null, until: event.until ?? null } };
    case "hand_over_asked":
      return { hand_over: { to: event.to, until: event.until } };
    case "hand_over_ended":
      return { hand_over: null };
    case "successor_changed":
      return { successor: event.successor ?? null };
    case "lobby_changed": {
      const { name, settings, has_password } = event;
      return { name, settings, has_password, ...(settings.relay_only === true ? { members: hidden(lobby.members) } : {}) };
    }
    case "data_changed":
    case "private_data_changed":
      return { data: patched(lobby.data, event.data) };
    case "join_code_changed":
      return { join_code: event.join_code };
    case "player_banned":
    case "player_unbanned":
    case "hidden":
      return {};
    case "lobby_closed":
      return { closed: true, hand_over: null };
    default:
      return {};
  }
}

type MemberEvent = Extract<EventBody, { kind: `member_${string}` }>;

function membersAfter(members: readonly MemberView[], event: MemberEvent, at: number): readonly MemberView[] {
  switch (event.kind) {
    case "member_joined": {
      const others = members.filter((member) => member.connection !== event.member.connection);
      return [...others, event.member].sort((one, other) => one.connection - other.connection);
    }
    case "member_changed":
      // What only that member sees of its data is not in the event.
      return atSeat(members, event.member.connection, (known) => ({ ...event.member, data: known.data ?? {} }));
    case "member_connected": {
      const { connection, peer_key } = event;
      return atSeat(members, connection, (known) => ({ ...known, peer_key, presence: { state: "connected", since: at } }));
    }
    case "member_disconnected":
      return atSeat(members, event.connection, (known) => ({ ...known, presence: { state: "disconnected", since: at } }));
    case "member_left":
      return members.filter((member) => member.connection !== event.connection);
    case "member_data_changed":
    case "member_private_data_changed":
      return atSeat(members, event.connection, (known) => ({ ...known, data: patched(known.data, event.data) }));
  }
}

function atSeat(
  members: readonly MemberView[],
  connection: ConnectionId,
  becomes: (known: MemberView) => MemberView,
): readonly MemberView[] {
  return members.map((member) => (member.connection === connection ? becomes(member) : member));
}

function hidden(members: readonly MemberView[]): readonly MemberView[] {
  return members.map((member) => ({ ...member, direct_address: null }));
}

function patched(data: Data | undefined, patch: DataPatch): Data {
  // By entries: a key may be named as something that every object has.
  const values = new Map(Object.entries(data ?? {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) values.delete(key);
    else values.set(key, value);
  }
  return Object.fromEntries(values);
}
