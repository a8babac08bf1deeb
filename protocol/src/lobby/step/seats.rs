//! Taking seats and giving them up.

use crate::error::Rejection;
use crate::id::{ConnectionId, InstanceId, PeerKey, PlayerId};
use crate::limits;
use crate::message::EventBody;
use crate::planted::{self, Bug};

use super::super::data::{self, Data};
use super::super::member::{FormerSeat, Member, check_address};
use super::super::{HostState, LeaveReason, LossCause, Newcomer, Presence, Return, Viewer, member_view};
use super::Step;

impl Step {
    pub(super) fn join(&mut self, newcomer: Newcomer) -> Result<(), Rejection> {
        newcomer.check()?;
        let seat = self.lobby.seat_of(newcomer.player);
        if seat.is_none() {
            self.check_admission(&newcomer)?;
        }
        self.check_key(newcomer.player, newcomer.peer_key)?;
        if newcomer.build_id != self.lobby.build_id {
            return Err(Rejection::BuildMismatch { expected: self.lobby.build_id.clone() });
        }
        match seat {
            Some(connection) => self.sit_down_again(connection, newcomer)?,
            None => self.sit_down(newcomer)?,
        }
        self.check_data()
    }

    /// Whoever may not know of the lobby is told that it is not there, and nothing else.
    fn check_admission(&self, newcomer: &Newcomer) -> Result<(), Rejection> {
        let lobby = &self.lobby;
        if !lobby.is_known_to(newcomer.player, newcomer.admission, self.now) {
            return Err(Rejection::Unknown);
        }
        if lobby.settings.locked {
            return Err(Rejection::Locked);
        }
        if lobby.password.is_some() && lobby.password != newcomer.password {
            return Err(Rejection::WrongPassword);
        }
        Ok(())
    }

    /// A new member, or one that comes back to the seat that it once had.
    pub(in crate::lobby) fn sit_down(&mut self, newcomer: Newcomer) -> Result<(), Rejection> {
        if self.lobby.members.len() >= self.lobby.settings.max_members as usize {
            return Err(Rejection::Full(self.lobby.settings.max_members));
        }
        let connection = self.seat_for(newcomer.player);
        let member = Member {
            player: newcomer.player,
            name: newcomer.name,
            peer_key: newcomer.peer_key,
            can_host: newcomer.can_host,
            direct_address: newcomer.direct_address,
            browser: newcomer.browser,
            joined_at: self.now,
            presence: Presence::Connected { since: self.now },
            holder: newcomer.holder,
            data: data::patched(&Data::new(), newcomer.data, data::OF_MEMBER)?.0,
            secret: newcomer.secret,
            previous_secret: None,
            request: newcomer.request,
        };
        self.seat(connection, member);
        Ok(())
    }

    pub(super) fn seat(&mut self, connection: ConnectionId, member: Member) {
        let view = member_view(connection, &member, Viewer::Members, &self.lobby.settings);
        self.lobby.members.insert(connection, member);
        self.lobby.empty_since = None;
        self.emit(EventBody::MemberJoined { member: view });
    }

    /// The seat that was this player's before, or one that was nobody's (P6).
    pub(super) fn seat_for(&mut self, player: PlayerId) -> ConnectionId {
        if planted::is(Bug::ReuseConnectionId)
            && let Some(seat) = self.lobby.former.pop_back()
        {
            return seat.connection;
        }
        if let Some(index) = self.lobby.former.iter().position(|seat| seat.player == player)
            && let Some(seat) = self.lobby.former.remove(index)
        {
            return seat.connection;
        }
        let connection = self.lobby.next_connection;
        self.lobby.next_connection = ConnectionId(connection.0 + 1);
        connection
    }

    fn sit_down_again(&mut self, connection: ConnectionId, newcomer: Newcomer) -> Result<(), Rejection> {
        self.check_process(connection, newcomer.peer_key)?;
        self.patch_member_data(connection, newcomer.data)?;
        if let Some(member) = self.lobby.members.get_mut(&connection)
            && (&member.name, member.can_host, &member.direct_address, member.browser)
                != (&newcomer.name, newcomer.can_host, &newcomer.direct_address, newcomer.browser)
        {
            member.name = newcomer.name;
            member.can_host = newcomer.can_host;
            (member.direct_address, member.browser) = (newcomer.direct_address, newcomer.browser);
            let member = member_view(connection, member, Viewer::Members, &self.lobby.settings);
            self.emit(EventBody::MemberChanged { member });
        }
        if let Some(member) = self.lobby.members.get_mut(&connection)
            && newcomer.secret.is_some()
            && newcomer.secret != member.secret
        {
            member.previous_secret = std::mem::replace(&mut member.secret, newcomer.secret);
        }
        // Asked again, maybe long ago and on another way: where a connected process is heard is not known from that.
        let heard_by = self.lobby.members.get(&connection).filter(|member| member.is_connected());
        let heard_by = heard_by.filter(|member| member.peer_key == newcomer.peer_key).map(|member| member.holder);
        self.connect(connection, newcomer.player, newcomer.peer_key, heard_by.unwrap_or(newcomer.holder))
    }

    /// Links are known by their keys: nobody may take another member's.
    fn check_key(&self, player: PlayerId, peer_key: PeerKey) -> Result<(), Rejection> {
        if self.lobby.members.values().any(|member| member.peer_key == peer_key && member.player != player) {
            return Err(Rejection::Invalid { field: "peer_key", rule: "of this process alone: another member has it" });
        }
        Ok(())
    }

    /// Another process needs the secret of the seat, if it has one.
    fn check_process(&self, connection: ConnectionId, peer_key: PeerKey) -> Result<(), Rejection> {
        match self.lobby.members.get(&connection) {
            Some(member) if member.peer_key != peer_key && member.secret.is_some() => Err(Rejection::SeatTaken),
            Some(_) | None => Ok(()),
        }
    }

    /// The newest secret is used up by this. The one before stays valid until then: an answer can be lost, and the request is repeated
    /// with the same two, which changes nothing more.
    pub(super) fn reconnect(&mut self, returning: Return) -> Result<(), Rejection> {
        let Return { player, presented, next, peer_key, direct_address, browser, holder } = returning;
        check_address(direct_address.as_deref())?;
        let connection = self.lobby.seat_of(player).ok_or(Rejection::WrongSecret)?;
        self.check_key(player, peer_key)?;
        let member = self.lobby.members.get_mut(&connection).ok_or(Rejection::WrongSecret)?;
        if ![member.secret, member.previous_secret].contains(&Some(presented)) {
            return Err(Rejection::WrongSecret);
        }
        if member.secret != Some(next) {
            (member.secret, member.previous_secret) = (Some(next), Some(presented));
        }
        if (&member.direct_address, member.browser) != (&direct_address, browser) {
            (member.direct_address, member.browser) = (direct_address, browser);
            let member = member_view(connection, member, Viewer::Members, &self.lobby.settings);
            self.emit(EventBody::MemberChanged { member });
        }
        self.occupy(connection, peer_key, holder);
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        connection: ConnectionId,
        player: PlayerId,
        peer_key: PeerKey,
        holder: InstanceId,
    ) -> Result<(), Rejection> {
        self.check_key(player, peer_key)?;
        if self.lobby.player_at(connection) != Some(player) {
            return Err(Rejection::NotMember);
        }
        self.check_process(connection, peer_key)?;
        self.occupy(connection, peer_key, holder);
        Ok(())
    }

    /// A process of the member is heard there.
    fn occupy(&mut self, connection: ConnectionId, peer_key: PeerKey, holder: InstanceId) {
        let now = self.now;
        let Some(member) = self.lobby.members.get_mut(&connection) else { return };
        let restarted = member.peer_key != peer_key;
        let was_away = !member.is_connected();
        member.holder = holder;
        if !restarted && !was_away {
            return;
        }
        member.peer_key = peer_key;
        member.presence = Presence::Connected { since: now };
        self.emit(EventBody::MemberConnected { connection, peer_key, restarted });
        if restarted {
            // What it was prepared with is gone.
            if self.lobby.hand_over.is_some_and(|asked| asked.to == connection) {
                self.end_hand_over();
            }
            self.process_of_host_is_gone(connection);
        } else {
            self.host_is_back(connection);
        }
    }

    /// The same process that was host is connected again.
    fn host_is_back(&mut self, connection: ConnectionId) {
        if planted::is(Bug::ElectWhileHostIsThere) {
            return;
        }
        let since = match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Disconnected, .. } if host == connection => since,
            HostState::Vouched { host, since, .. } if host == connection => since,
            HostState::Parked { former: Some(host), .. } if host == connection => self.now,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => return,
        };
        self.lobby.host = HostState::Present { host: connection, since };
        self.emit(EventBody::HostReturned { host: connection });
    }

    /// Another process sits where the host, or the one elected, sat.
    fn process_of_host_is_gone(&mut self, connection: ConnectionId) {
        match &mut self.lobby.host {
            HostState::Elected { host, .. } if *host == connection => self.election_failed(),
            HostState::Present { host, .. } | HostState::Vouched { host, .. } if *host == connection => {
                self.lose_host(LossCause::Restarted);
            }
            HostState::Lost { host, cause, deadline, .. } if *host == connection => {
                *cause = LossCause::Restarted;
                *deadline = self.now;
            }
            HostState::Parked { former, .. } if *former == Some(connection) => *former = None,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
    }

    pub(super) fn disconnect(&mut self, connection: ConnectionId, peer_key: PeerKey, holder: InstanceId) {
        let now = self.now;
        let is_heard_there = |member: &Member| member.holder == holder || planted::is(Bug::DisconnectIgnoresHolder);
        match self.lobby.members.get_mut(&connection) {
            Some(member) if member.peer_key == peer_key && is_heard_there(member) && member.is_connected() => {
                member.presence = Presence::Disconnected { since: now };
            }
            _ => return,
        }
        self.emit(EventBody::MemberDisconnected { connection });
        match self.lobby.host {
            HostState::Present { host, .. } if host == connection => self.lose_host(LossCause::Disconnected),
            HostState::Elected { host, .. } if host == connection => self.election_failed(),
            // It was silent and is now gone: the guests are not asked any more, the delay runs on.
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
    }

    pub(super) fn leave(&mut self, connection: ConnectionId, player: PlayerId) -> Result<(), Rejection> {
        if self.lobby.members.get(&connection).is_none_or(|member| member.player != player) {
            return Err(Rejection::NotMember);
        }
        self.give_up_seat(connection, LeaveReason::Left);
        Ok(())
    }

    pub(super) fn give_up_seat(&mut self, connection: ConnectionId, reason: LeaveReason) {
        let Some(member) = self.lobby.members.remove(&connection) else { return };
        self.lobby.former.push_back(FormerSeat { player: member.player, connection });
        if self.lobby.former.len() > limits::FORMER_SEATS_MAX {
            self.lobby.former.pop_front();
        }
        self.emit(EventBody::MemberLeft { connection, player: member.player, reason });
        match &mut self.lobby.host {
            HostState::Present { host, .. } | HostState::Vouched { host, .. } if *host == connection => {
                self.lose_host(LossCause::Left);
            }
            HostState::Lost { host, cause, deadline, .. } if *host == connection => {
                *cause = LossCause::Left;
                *deadline = self.now;
            }
            HostState::Elected { host, .. } if *host == connection => self.election_failed(),
            HostState::Parked { former, .. } if *former == Some(connection) => *former = None,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        if self.lobby.members.is_empty() {
            self.lobby.empty_since = Some(self.now);
        }
    }
}
