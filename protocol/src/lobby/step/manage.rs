//! What hosts and servers change: the lobby, its data, its members, and who may be one.

use crate::error::Rejection;
use crate::id::{ConnectionId, JoinCode, PeerKey, PlayerId};
use crate::limits;
use crate::message::EventBody;

use super::super::data::{self, Changes, Data, DataPatch};
use super::super::member::{Member, check_name, nobody};
use super::super::{
    Ban, Bulk, LeaveReason, LobbyPatch, MemberPatch, Presence, Reservation, Settings, Viewer, member_view,
};
use super::Step;

impl Step {
    pub(super) fn update(&mut self, patch: LobbyPatch) -> Result<(), Rejection> {
        let LobbyPatch { name, settings, password, data } = patch;
        self.update_settings(name, self.lobby.settings.patched(settings)?, password)?;
        let (data, Changes { shared, private }) = data::patched(&self.lobby.data, data, data::OF_LOBBY)?;
        self.lobby.data = data;
        if !shared.is_empty() {
            self.emit(EventBody::DataChanged { data: shared });
        }
        if !private.is_empty() {
            self.emit(EventBody::PrivateDataChanged { data: private });
        }
        self.check_data()
    }

    fn update_settings(
        &mut self,
        name: Option<String>,
        settings: Settings,
        password: Option<Option<super::super::PasswordHash>>,
    ) -> Result<(), Rejection> {
        let lobby = &mut self.lobby;
        if (settings.max_members as usize) < lobby.members.len() {
            let rule = "at least as many as there are members";
            return Err(Rejection::Invalid { field: "settings.max_members", rule });
        }
        let before = (lobby.name.clone(), lobby.settings.clone(), lobby.password.clone());
        if let Some(name) = name {
            check_name("name", &name, 1)?;
            lobby.name = name;
        }
        lobby.settings = settings;
        if let Some(password) = password {
            lobby.password = password;
        }
        if (&before.0, &before.1, &before.2) != (&lobby.name, &lobby.settings, &lobby.password) {
            let (name, settings) = (lobby.name.clone(), lobby.settings.clone());
            let has_password = lobby.password.is_some();
            self.emit(EventBody::LobbyChanged { name, settings, has_password });
        }
        Ok(())
    }

    /// # Errors
    /// [`Rejection::TooMuch`] if all data together is more than a lobby may have: its members are sent it as one message.
    pub(in crate::lobby) fn check_data(&self) -> Result<(), Rejection> {
        let of_members: usize = self.lobby.members.values().map(|member| data::bytes(&member.data)).sum();
        if of_members + data::bytes(&self.lobby.data) > limits::ALL_DATA_BYTES_MAX {
            return Err(Rejection::TooMuch { what: "data" });
        }
        Ok(())
    }

    pub(super) fn update_member(&mut self, connection: ConnectionId, patch: MemberPatch) -> Result<(), Rejection> {
        let MemberPatch { name, can_host, data } = patch;
        if let Some(name) = &name {
            check_name("name", name, 0)?;
        }
        let member = self.lobby.members.get_mut(&connection).ok_or(Rejection::NotMember)?;
        let next = (name.unwrap_or_else(|| member.name.clone()), can_host.unwrap_or(member.can_host));
        if (&next.0, next.1) != (&member.name, member.can_host) {
            (member.name, member.can_host) = next;
            let member = member_view(connection, member, Viewer::Members, &self.lobby.settings);
            self.emit(EventBody::MemberChanged { member });
        }
        self.patch_member_data(connection, data)?;
        self.check_data()
    }

    pub(super) fn patch_member_data(&mut self, connection: ConnectionId, patch: DataPatch) -> Result<(), Rejection> {
        let Some(member) = self.lobby.members.get_mut(&connection) else { return Ok(()) };
        let (data, Changes { shared, private }) = data::patched(&member.data, patch, data::OF_MEMBER)?;
        member.data = data;
        if !shared.is_empty() {
            self.emit(EventBody::MemberDataChanged { connection, data: shared });
        }
        if !private.is_empty() {
            self.emit(EventBody::MemberPrivateDataChanged { connection, data: private });
        }
        Ok(())
    }

    pub(super) fn kick(&mut self, connection: ConnectionId) -> Result<(), Rejection> {
        if !self.lobby.has_member(connection) {
            return Err(Rejection::NotMember);
        }
        self.give_up_seat(connection, LeaveReason::Kicked);
        Ok(())
    }

    /// Takes the seat and the right to another in one step.
    pub(super) fn ban(&mut self, player: PlayerId, ban: Ban) -> Result<(), Rejection> {
        check_name("reason", &ban.reason, 0)?;
        let now = self.now;
        let bans = &mut self.lobby.bans;
        bans.retain(|_, ban| ban.until.is_none_or(|until| now < until));
        if bans.len() >= limits::BANS_MAX && !bans.contains_key(&player) {
            return Err(Rejection::TooMuch { what: "bans" });
        }
        let until = ban.until;
        bans.insert(player, ban);
        self.emit(EventBody::PlayerBanned { player, until });
        if let Some(connection) = self.lobby.seat_of(player) {
            self.give_up_seat(connection, LeaveReason::Banned);
        }
        Ok(())
    }

    pub(super) fn unban(&mut self, player: PlayerId) -> Result<(), Rejection> {
        self.lobby.bans.remove(&player).ok_or(Rejection::Unknown)?;
        self.emit(EventBody::PlayerUnbanned { player });
        Ok(())
    }

    pub(super) fn rotate_code(&mut self, code: JoinCode) {
        self.lobby.join_code = code;
        self.emit(EventBody::JoinCodeChanged { join_code: code });
    }

    pub(super) fn bulk(&mut self, bulk: Bulk) -> Result<(), Rejection> {
        let Bulk { lobby, members, add, remove, ignores_absent } = bulk;
        for player in remove {
            match self.lobby.seat_of(player) {
                Some(connection) => self.give_up_seat(connection, LeaveReason::Kicked),
                None if ignores_absent => {}
                None => return Err(Rejection::NotMember),
            }
        }
        self.update(lobby)?;
        for reservation in add {
            self.reserve(reservation)?;
        }
        for (player, patch) in members {
            match self.lobby.seat_of(player) {
                Some(connection) => self.update_member(connection, patch)?,
                None if ignores_absent => {}
                None => return Err(Rejection::NotMember),
            }
        }
        Ok(())
    }

    /// A seat that its player takes by joining, within the removal delay. Whoever has one keeps it.
    fn reserve(&mut self, reservation: Reservation) -> Result<(), Rejection> {
        let Reservation { player, name, data } = reservation;
        check_name("name", &name, 0)?;
        if self.lobby.is_banned(player, self.now) {
            return Err(Rejection::Banned(player));
        }
        if self.lobby.seat_of(player).is_some() {
            return Ok(());
        }
        if self.lobby.members.len() >= self.lobby.settings.max_members as usize {
            return Err(Rejection::Full(self.lobby.settings.max_members));
        }
        let connection = self.seat_for(player);
        let member = Member {
            player,
            name,
            peer_key: no_process(player),
            can_host: true,
            direct_address: None,
            browser: false,
            joined_at: self.now,
            presence: Presence::Disconnected { since: self.now },
            holder: nobody(),
            data: data::patched(&Data::new(), data, data::OF_MEMBER)?.0,
            secret: None,
            previous_secret: None,
            request: None,
        };
        self.seat(connection, member);
        self.check_data()
    }
}

/// The key of a process that is not there yet. No certificate has this fingerprint, and each player's is another.
fn no_process(player: PlayerId) -> PeerKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(player.as_bytes());
    key[16..].copy_from_slice(player.as_bytes());
    PeerKey::from_bytes(key)
}
