// Generated from openapi/lobby-service.json by `npm run generate`: not to be edited.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description To whom. */
        AskHandOver: {
            epoch?: components["schemas"]["HostEpoch"] | null;
            to?: components["schemas"]["ConnectionId"] | null;
        };
        /** @description A player who may not take a seat. */
        Ban: {
            /** @description Why, for those who manage the lobby: at most 128 characters. */
            reason?: string;
            /** @description Since when. */
            since: components["schemas"]["Timestamp"];
            until?: components["schemas"]["Timestamp"] | null;
        };
        /** @description A player who is kept out. */
        Banned: components["schemas"]["Ban"] & {
            /** @description Who. */
            player: components["schemas"]["PlayerId"];
        };
        /** @description Who is kept out. */
        BanPlayer: {
            epoch?: components["schemas"]["HostEpoch"] | null;
            /**
             * Format: int64
             * @description For how long, in seconds: 1 to 315,360,000; without it for the lobby's life.
             */
            expires_in_s?: number | null;
            /** @description Who. */
            player: components["schemas"]["PlayerId"];
            /** @description Why: at most 128 characters. */
            reason?: components["schemas"]["Name"];
        };
        /** @description Those who are kept out. */
        Bans: {
            /** @description By player. */
            bans: components["schemas"]["Banned"][];
        };
        /** @description What changes at once. */
        BulkUpdate: {
            /** @description Players who get a seat, which they take by joining within the removal delay. */
            add?: components["schemas"]["Expected"][];
            /** @description Players who have no seat are no reason to refuse the rest. */
            ignore_absent?: boolean;
            /** @description The lobby itself. */
            lobby?: components["schemas"]["LobbyChanges"];
            /** @description Members, by player. */
            members?: {
                [key: string]: components["schemas"]["MemberChanges"];
            };
            /** @description Players who lose their seats. */
            remove?: components["schemas"]["PlayerId"][];
        };
        /**
         * @description A BLAKE3-256 checksum.
         * @example af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
         */
        Checksum: string;
        /** @description From a member, on the event socket. */
        ClientMessage: {
            after?: components["schemas"]["EventSeq"] | null;
            /** @description In which form news come. */
            form?: components["schemas"]["NewsForm"];
            /** @description The key of this process. */
            peer_key: components["schemas"]["PeerKey"];
            /** @enum {string} */
            type: "hello";
        } | {
            /** @description The epoch that it speaks of. */
            epoch: components["schemas"]["HostEpoch"];
            /** @description It hears it. */
            hears_host: boolean;
            /** @enum {string} */
            type: "report";
        } | {
            /** @description The epoch of the challenge. */
            epoch: components["schemas"]["HostEpoch"];
            /** @description Whom it hears. */
            guests: components["schemas"]["ConnectionId"][];
            /** @enum {string} */
            type: "hears";
        } | {
            /** @description To which of its processes. */
            peer_key: components["schemas"]["PeerKey"];
            /** @description What. */
            signal: components["schemas"]["Signal"];
            /** @description To whom. */
            to: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            type: "signal";
        };
        /**
         * @description Why the service closes an event socket, with the WebSocket close code: `4000 +` the HTTP status that is nearest, or the one that
         *     RFC 6455 has for it.
         * @enum {string}
         */
        CloseReason: "too_many_messages" | "message_too_large" | "malformed" | "no_hello" | "kicked" | "banned" | "not_member" | "lease_expired" | "replaced" | "lobby_closed" | "too_slow" | "going_away";
        /** @description The lobby's code. */
        Code: {
            /** @description It opens the lobby from now on. */
            join_code: components["schemas"]["JoinCode"];
        };
        /** @description The caller hosts. */
        Confirmed: {
            /** @description At this epoch. */
            epoch: components["schemas"]["HostEpoch"];
        };
        /**
         * Format: uint32
         * @description A member's seat in its lobby. Given once, kept over disconnects, migrations and rejoining; nobody else ever gets it
         *     (P6). 0 is the creator's; no number has a special meaning.
         */
        ConnectionId: number;
        /** @description A lobby to make, and what its creator brings. */
        CreateLobby: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            /** @description The game's build. Only equal builds play together. */
            build_id?: components["schemas"]["Name"];
            /** @description Whether it can be elected host. */
            can_host?: boolean;
            /** @description What the game keeps with the lobby. */
            data?: components["schemas"]["LobbyData"];
            direct_address?: components["schemas"]["SocketAddress"] | null;
            /** @description 1 to 128 characters. */
            lobby_name: components["schemas"]["LobbyName"];
            /** @description What it tells of itself. */
            member_data?: components["schemas"]["MemberData"];
            name?: components["schemas"]["Name"] | null;
            password?: components["schemas"]["Password"] | null;
            /** @description The fingerprint of the player's process. */
            peer_key: components["schemas"]["PeerKey"];
            reconnect_secret?: components["schemas"]["Secret"] | null;
            /** @description What the game sets. */
            settings?: components["schemas"]["SettingsPatch"];
        };
        /**
         * @description What put a place before the next one.
         * @enum {string}
         */
        Criterion: "not_failed" | "longer_connected" | "lower_connection_id" | "last" | "chosen";
        /** @description How a process is reached by ICE. */
        Description: {
            /** @description Those of its candidates that are known already. */
            candidates?: string[];
            /** @description Its password: 22 to 64 characters. */
            pwd: string;
            /** @description Its user name fragment (RFC 8839, section 5.4): 4 to 32 characters. */
            ufrag: string;
        };
        /**
         * @description What went wrong, as a code that never changes its meaning.
         * @enum {string}
         */
        ErrorCode: "malformed" | "unauthenticated" | "refresh_reused" | "wrong_secret" | "forbidden" | "origin_refused" | "wrong_password" | "not_found" | "no_open_lobbies" | "method_not_allowed" | "request_timeout" | "not_host" | "stale_epoch" | "stale_snapshot" | "sequence_conflict" | "delta_base_missing" | "lobby_full" | "lobby_locked" | "seat_taken" | "not_eligible" | "nobody_eligible" | "no_host" | "banned" | "quota_exceeded" | "lobby_closed" | "build_mismatch" | "precondition_failed" | "too_large" | "unsupported_media_type" | "invalid" | "idempotency_key_reused" | "checksum_mismatch" | "epoch_required" | "rate_limited" | "internal" | "unavailable";
        /** @description Something that happened in a lobby. It was saved before anybody saw it (P8). */
        Event: components["schemas"]["EventBody"] & {
            /** @description When, on the service's clock. */
            at: components["schemas"]["Timestamp"];
            /** @description The host epoch after it. */
            epoch: components["schemas"]["HostEpoch"];
            /** @description Its number in the lobby: from 1, without gaps. */
            seq: components["schemas"]["EventSeq"];
        };
        /** @description What happened. Members are named by their connection ids, never by a position. */
        EventBody: {
            /** @enum {string} */
            kind: "member_joined";
            /** @description The member. */
            member: components["schemas"]["MemberView"];
        } | {
            /** @enum {string} */
            kind: "member_changed";
            /** @description The member. Of its data there is what it had when it joined: that changes by events of its own. */
            member: components["schemas"]["MemberView"];
        } | {
            /** @description The seat. */
            connection: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "member_connected";
            /** @description The key of its process. */
            peer_key: components["schemas"]["PeerKey"];
            /** @description It is another process than before: what the old one had in memory is gone. */
            restarted: boolean;
        } | {
            /** @description The seat. */
            connection: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "member_disconnected";
        } | {
            /** @description The seat that it had; nobody else will get it. */
            connection: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "member_left";
            /** @description Whose it was; all zeros in events of old. */
            player?: components["schemas"]["PlayerId"];
            /** @description Why. */
            reason: components["schemas"]["LeaveReason"];
        } | {
            /** @description Why. */
            cause: components["schemas"]["LossCause"];
            /** @description When another is elected. */
            deadline: components["schemas"]["Timestamp"];
            /** @description Who it was. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "host_lost";
        } | {
            /** @description Who. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "host_returned";
        } | {
            /** @description Who. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "host_vouched";
        } | {
            /** @description Who. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "host_elected";
            /** @description The election with its reasons. */
            ranking: components["schemas"]["Ranking"];
            /** @description Until when it must be ready. */
            ready_by: components["schemas"]["Timestamp"];
        } | {
            /** @description Who. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "host_ready";
        } | {
            /** @description Who. */
            host: components["schemas"]["ConnectionId"];
            /** @enum {string} */
            kind: "election_failed";
        } | {
            /** @enum {string} */
            kind: "host_parked";
            /** @description Why. */
            reason: components["schemas"]["ParkReason"];
            until?: components["schemas"]["Timestamp"] | null;
        } | {
            /** @enum {string} */
            kind: "hand_over_asked";
            /** @description Who is to host. */
            to: components["schemas"]["ConnectionId"];
            /** @description Until when; then it has ended. */
            until: components["schemas"]["Timestamp"];
        } | {
            /** @enum {string} */
            kind: "hand_over_ended";
        } | {
            /** @enum {string} */
            kind: "successor_changed";
            successor?: components["schemas"]["ConnectionId"] | null;
        } | {
            /** @description Newcomers have to know its password. */
            has_password: boolean;
            /** @enum {string} */
            kind: "lobby_changed";
            /** @description Its name. */
            name: string;
            /** @description Its settings. */
            settings: components["schemas"]["Settings"];
        } | {
            /** @description Which, and what they are now. */
            data: components["schemas"]["LobbyDataPatch"];
            /** @enum {string} */
            kind: "data_changed";
        } | {
            /** @description Which, and what they are now. */
            data: components["schemas"]["LobbyDataPatch"];
            /** @enum {string} */
            kind: "private_data_changed";
        } | {
            /** @description Whose. */
            connection: components["schemas"]["ConnectionId"];
            /** @description Which, and what they are now. */
            data: components["schemas"]["MemberDataPatch"];
            /** @enum {string} */
            kind: "member_data_changed";
        } | {
            /** @description Whose. */
            connection: components["schemas"]["ConnectionId"];
            /** @description Which, and what they are now. */
            data: components["schemas"]["MemberDataPatch"];
            /** @enum {string} */
            kind: "member_private_data_changed";
        } | {
            /** @description The new one. */
            join_code: components["schemas"]["JoinCode"];
            /** @enum {string} */
            kind: "join_code_changed";
        } | {
            /** @enum {string} */
            kind: "player_banned";
            /** @description Who. */
            player: components["schemas"]["PlayerId"];
            until?: components["schemas"]["Timestamp"] | null;
        } | {
            /** @enum {string} */
            kind: "player_unbanned";
            /** @description Whose. */
            player: components["schemas"]["PlayerId"];
        } | {
            /** @enum {string} */
            kind: "hidden";
        } | {
            /** @enum {string} */
            kind: "lobby_closed";
        };
        /**
         * Format: uint64
         * @description The number of an event in its lobby, from 1, without gaps (P7).
         */
        EventSeq: number;
        /** @description A member that cannot be elected. */
        Excluded: {
            /** @description Why. */
            because: components["schemas"]["Exclusion"];
            /** @description Who. */
            connection: components["schemas"]["ConnectionId"];
        };
        /**
         * @description Why a member cannot be elected.
         * @enum {string}
         */
        Exclusion: "no_consent" | "disconnected";
        /** @description A player who gets a seat. */
        Expected: {
            /** @description What is known of it. */
            data?: components["schemas"]["MemberData"];
            /** @description Shown to the others until it comes: at most 128 characters. */
            name?: components["schemas"]["Name"];
            /** @description Who. */
            player: components["schemas"]["PlayerId"];
        };
        /** @description Who signs in. */
        External: {
            /** @description The name that is shown where no other is given: at most 128 characters. It counts at the first time. */
            name?: components["schemas"]["Name"];
            /** @description A signed token (JWT) of an issuer that the service is configured to believe. */
            token: string;
        };
        /**
         * @description What lobbies are compared by.
         * @enum {string}
         */
        Field: "max_members" | "available_seats" | "name" | "build_id" | "created_at" | "updated_at" | "locked" | "has_password" | "s1" | "s2" | "s3" | "s4" | "s5" | "n1" | "n2" | "n3" | "n4" | "n5";
        /**
         * @description Where a snapshot stands among those of its lobby: by epoch, then by number. A newer one replaces an older one, never the
         *     other way round (P5).
         */
        Generation: {
            /** @description The epoch of the host that saved it. */
            epoch: components["schemas"]["HostEpoch"];
            /**
             * Format: int64
             * @description Its number in that epoch, from 0.
             */
            seq: number;
        };
        /**
         * @description A hand-over that the host has been asked to prepare. It commits by naming the successor as the next host; if it does not in
         *     time, nothing has been.
         */
        HandOver: {
            /** @description Who is to host next. It was eligible when this was asked, and has been since. */
            to: components["schemas"]["ConnectionId"];
            /** @description Until when the host must have committed. */
            until: components["schemas"]["Timestamp"];
        };
        /** @description Which process is alive. */
        Heartbeat: {
            /** @description Its fingerprint. */
            peer_key: components["schemas"]["PeerKey"];
        };
        /**
         * Format: uint64
         * @description The fencing number of a lobby's host: +1 with every change of host. Whatever a host writes or sends carries it; a
         *     lower one than the receiver knows is refused everywhere (P4). The creator hosts at 1; 0 means "none yet".
         */
        HostEpoch: number;
        /** @description What a host shows to a relay. */
        HostGrant: {
            /** @description For the grant frame. */
            grant: string;
        };
        /** @description As whom the caller hosts. */
        HostGrantRequest: {
            /** @description The epoch of its election. */
            epoch: components["schemas"]["HostEpoch"];
        };
        /** @description Where the lobby's authority is. */
        HostState: {
            /** @description Which member. */
            host: components["schemas"]["ConnectionId"];
            /** @description Since it was ready. */
            since: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "present";
        } | {
            /** @description Which member. */
            host: components["schemas"]["ConnectionId"];
            /** @description Since it was ready. */
            since: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "vouched";
            /** @description Until they must have said so again. */
            until: components["schemas"]["Timestamp"];
        } | {
            /** @description Why. */
            cause: components["schemas"]["LossCause"];
            /** @description When another is elected. */
            deadline: components["schemas"]["Timestamp"];
            /** @description Who it was. */
            host: components["schemas"]["ConnectionId"];
            /** @description Since when it is lost. */
            lost_at: components["schemas"]["Timestamp"];
            /** @description Since when it had been ready. */
            since: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "lost";
        } | {
            /** @description Which member. */
            host: components["schemas"]["ConnectionId"];
            /** @description Until when it must be ready. */
            ready_by: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "elected";
            /** @description Who was chosen before it, since the last host, and failed. */
            tried: components["schemas"]["ConnectionId"][];
        } | {
            former?: components["schemas"]["ConnectionId"] | null;
            /** @description Why. */
            reason: components["schemas"]["ParkReason"];
            /** @enum {string} */
            state: "parked";
            until?: components["schemas"]["Timestamp"] | null;
        };
        /** @description A server as WebRTC takes it (`RTCIceServer`). */
        IceServer: {
            /** @description For TURN. */
            credential?: string | null;
            /** @description Its addresses: `stun:HOST:PORT`, or `turn:HOST:PORT?transport=udp` (RFC 7064, RFC 7065). */
            urls: string[];
            /** @description For TURN. */
            username?: string | null;
        };
        /** @description What a member makes WebRTC links with. */
        IceServers: {
            /**
             * Format: int64
             * @description Seconds for which the credentials are good. A link that is up does not need them any more.
             */
            expires_in_s: number;
            /** @description The servers. A relay answers STUN's binding requests; where the lobby is `relay_only` there is none of these. */
            ice_servers: components["schemas"]["IceServer"][];
            /** @description Only candidates of TURN servers may be gathered: nobody is to learn another's address. */
            relay_only: boolean;
        };
        /** @description A join code, and what the newcomer brings. */
        JoinByCode: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            /** @description The game's build. Only equal builds play together. */
            build_id?: components["schemas"]["Name"];
            /** @description Whether it can be elected host. */
            can_host?: boolean;
            direct_address?: components["schemas"]["SocketAddress"] | null;
            /** @description As people type it: any case, with or without the dash. */
            join_code: components["schemas"]["JoinCode"];
            /** @description What it tells of itself. */
            member_data?: components["schemas"]["MemberData"];
            name?: components["schemas"]["Name"] | null;
            password?: components["schemas"]["Password"] | null;
            /** @description The fingerprint of the player's process. */
            peer_key: components["schemas"]["PeerKey"];
            reconnect_secret?: components["schemas"]["Secret"] | null;
        };
        /**
         * @description What admits a player to a lobby: ten characters of Crockford's base32 (50 bits: one stranger in ten years at 100,000
         *     lobbies and 20 guesses a second). It belongs to the lobby and stays the same over every migration.
         * @example 7K3QZ-M0XWB
         */
        JoinCode: string;
        /** @description What the newcomer brings. */
        JoinLobby: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            /** @description The game's build. Only equal builds play together. */
            build_id?: components["schemas"]["Name"];
            /** @description Whether it can be elected host. */
            can_host?: boolean;
            direct_address?: components["schemas"]["SocketAddress"] | null;
            /** @description What it tells of itself. */
            member_data?: components["schemas"]["MemberData"];
            name?: components["schemas"]["Name"] | null;
            password?: components["schemas"]["Password"] | null;
            /** @description The fingerprint of the player's process. */
            peer_key: components["schemas"]["PeerKey"];
            reconnect_secret?: components["schemas"]["Secret"] | null;
        };
        /**
         * @description Why a member lost its seat.
         * @enum {string}
         */
        LeaveReason: "left" | "removed" | "kicked" | "banned";
        /** @description A page of lobbies. */
        Lobbies: {
            /** @description For the next page, if there may be one. */
            continuation?: string | null;
            /** @description In the order that was asked for. */
            lobbies: components["schemas"]["Summary"][];
        };
        /** @description What becomes of a lobby. What is absent stays. */
        LobbyChanges: {
            /** @description Other data: a key with `null` is removed. */
            data?: components["schemas"]["LobbyDataPatch"];
            name?: components["schemas"]["LobbyName"] | null;
            password?: components["schemas"]["Password"] | null;
            /** @description Other settings. */
            settings?: components["schemas"]["SettingsPatch"];
        };
        /** @description What a game keeps with a lobby, by key. At most 64 values and 32,768 bytes together; each index is used once. */
        LobbyData: {
            [key: string]: components["schemas"]["LobbyValue"];
        };
        /** @description What becomes of a lobby's values: a key with `null` is removed, one that is not named stays. */
        LobbyDataPatch: {
            [key: string]: components["schemas"]["LobbyValue"] | null;
        };
        /** @description A condition. A lobby that has no value there does not fulfil it. */
        LobbyFilter: {
            /** @enum {string} */
            field: "name";
            /** @enum {string} */
            op: "contains" | "eq" | "ne" | "lt" | "le" | "gt" | "ge";
            /** @description At most 8,192 bytes, without NUL. */
            value: string;
        } | {
            /** @enum {string} */
            field: "build_id" | "s1" | "s2" | "s3" | "s4" | "s5";
            /** @enum {string} */
            op: "eq" | "ne" | "lt" | "le" | "gt" | "ge";
            /** @description At most 8,192 bytes, without NUL. */
            value: string;
        } | {
            /** @enum {string} */
            field: "locked" | "has_password";
            /** @enum {string} */
            op: "eq" | "ne" | "lt" | "le" | "gt" | "ge";
            /** @enum {string} */
            value: "true" | "false";
        } | {
            /** @enum {string} */
            field: "max_members" | "available_seats" | "created_at" | "updated_at" | "n1" | "n2" | "n3" | "n4" | "n5";
            /** @enum {string} */
            op: "eq" | "ne" | "lt" | "le" | "gt" | "ge";
            /** @description A finite number, as text. */
            value: string;
        };
        /**
         * @description A lobby: 128 random bits, never used again.
         * @example 5b1f0a7e9c3d42868f0e1d2c3b4a5968
         */
        LobbyId: string;
        /** @description A lobby's name: 1 to 128 characters, no control characters. */
        LobbyName: string;
        /** @description A lobby's value. */
        LobbyValue: {
            /** @description It is not indexed. */
            index?: null;
            /** @description At most 8,192 bytes; no control characters other than tabulators and line ends. */
            value: string;
            /**
             * @description Who sees it: everybody who sees the lobby; its members; or its host (a member's value: that member) alone. Whoever may change it sees it too, and so do the game's servers.
             * @default member
             * @enum {string}
             */
            visibility: "public" | "member" | "private";
        } | {
            /**
             * @description What lobbies are found and ordered by.
             * @enum {string}
             */
            index: "s1" | "s2" | "s3" | "s4" | "s5";
            /** @description Less than 128 bytes. */
            value: string;
            /**
             * @description Only public values are indexed.
             * @enum {string}
             */
            visibility: "public";
        } | {
            /**
             * @description What lobbies are found and ordered by.
             * @enum {string}
             */
            index: "n1" | "n2" | "n3" | "n4" | "n5";
            /** @description A finite number, as text. */
            value: string;
            /**
             * @description Only public values are indexed.
             * @enum {string}
             */
            visibility: "public";
        };
        /** @description A lobby, to its members. */
        LobbyView: {
            /** @description The build that all members play. */
            build_id: string;
            /** @description It is closed for good. */
            closed: boolean;
            /** @description When it was created. */
            created_at: components["schemas"]["Timestamp"];
            /** @description What the game keeps with it, as far as the reader may see it. */
            data?: components["schemas"]["LobbyData"];
            /** @description The current host epoch. */
            epoch: components["schemas"]["HostEpoch"];
            hand_over?: components["schemas"]["HandOver"] | null;
            /** @description Newcomers have to know its password. */
            has_password?: boolean;
            /** @description Where the authority is. */
            host: components["schemas"]["HostState"];
            /** @description Its id. */
            id: components["schemas"]["LobbyId"];
            /** @description What others join by. The same over every migration. */
            join_code: components["schemas"]["JoinCode"];
            /** @description All members, in the order of their connection ids. */
            members: components["schemas"]["MemberView"][];
            /** @description Its name. */
            name: string;
            /** @description The newest event that this view contains. */
            seq: components["schemas"]["EventSeq"];
            /** @description What the game set. */
            settings: components["schemas"]["Settings"];
            successor?: components["schemas"]["ConnectionId"] | null;
            /** @description When something happened to it the last time. */
            updated_at?: components["schemas"]["Timestamp"];
        };
        /**
         * @description Why a host was lost.
         * @enum {string}
         */
        LossCause: "disconnected" | "silent" | "restarted" | "left" | "replaced";
        /** @description What becomes of a member. What is absent stays. */
        MemberChanges: {
            /** @description Whether it can be elected host. */
            can_host?: boolean | null;
            /** @description Other data: a key with `null` is removed. */
            data?: components["schemas"]["MemberDataPatch"];
            name?: components["schemas"]["Name"] | null;
        };
        /** @description What a game keeps with a member, by key. At most 32 values and 8,192 bytes together. */
        MemberData: {
            [key: string]: components["schemas"]["MemberValue"];
        };
        /** @description What becomes of a member's values: a key with `null` is removed, one that is not named stays. */
        MemberDataPatch: {
            [key: string]: components["schemas"]["MemberValue"] | null;
        };
        /** @description Where a player is. */
        Memberships: {
            /** @description Those of them that it hosts. */
            hosted: components["schemas"]["LobbyId"][];
            /** @description Open lobbies in which it has a seat, by id. */
            joined: components["schemas"]["LobbyId"][];
        };
        /** @description A member's value. */
        MemberValue: {
            /** @description It is not indexed. */
            index?: null;
            /** @description At most 8,192 bytes; no control characters other than tabulators and line ends. */
            value: string;
            /**
             * @description Who sees it: everybody who sees the lobby; its members; or its host (a member's value: that member) alone. Whoever may change it sees it too, and so do the game's servers.
             * @default member
             * @enum {string}
             */
            visibility: "public" | "member" | "private";
        };
        /** @description A member, to the other members. */
        MemberView: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            /** @description It consents to being host. */
            can_host: boolean;
            /** @description Its seat. */
            connection: components["schemas"]["ConnectionId"];
            /** @description What it tells of itself, as far as the reader may see it. */
            data?: components["schemas"]["MemberData"];
            /** @description Where it can be reached without the relay. */
            direct_address?: string | null;
            /** @description When it took the seat. */
            joined_at: components["schemas"]["Timestamp"];
            /** @description The name that the player gave. */
            name: string;
            /** @description The fingerprint that its links prove. */
            peer_key: components["schemas"]["PeerKey"];
            /** @description Whose seat it is. */
            player: components["schemas"]["PlayerId"];
            /** @description Whether it is connected. */
            presence: components["schemas"]["Presence"];
        };
        /** @description A name: at most 128 characters, no control characters. */
        Name: string;
        /**
         * @description In which form a socket's news come.
         * @enum {string}
         */
        NewsForm: "events" | "lobby";
        /** @description What comes first. */
        Order: {
            /** @description The least first. */
            ascending?: boolean;
            /** @description What is compared. Lobbies that have no value there come last either way. */
            field: components["schemas"]["Field"];
        };
        /**
         * @description Why a lobby has no host and elects none.
         * @enum {string}
         */
        ParkReason: "nobody_eligible" | "too_many_failed_elections";
        /**
         * @description A password as it comes in a request.
         * @example correct horse
         */
        Password: string;
        /**
         * @description A peer's key: the SHA-256 fingerprint of the certificate that one *process* made for itself. A restarted process
         *     has another one, and so is told apart from the one that still has the game in memory.
         * @example 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
         */
        PeerKey: string;
        /** @description A place in a ranking. */
        Place: {
            /** @description Why before the next one. */
            because: components["schemas"]["Criterion"];
            /** @description Who. */
            connection: components["schemas"]["ConnectionId"];
        };
        /**
         * @description A player: 128 random bits. The subject of its access tokens.
         * @example a0b1c2d3e4f5061728394a5b6c7d8e9f
         */
        PlayerId: string;
        /** @description Whether a member has a live event socket (or a heartbeat within its lease), and since when. */
        Presence: {
            /** @description Without interruption. */
            since: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "connected";
        } | {
            /** @description Since when. */
            since: components["schemas"]["Timestamp"];
            /** @enum {string} */
            state: "disconnected";
        };
        /** @description Why a request was refused, or failed. `code` never changes its meaning; `detail` is for people. */
        Problem: {
            /** @description What went wrong, for programs. */
            code: components["schemas"]["ErrorCode"];
            current_epoch?: components["schemas"]["HostEpoch"] | null;
            current_version?: components["schemas"]["EventSeq"] | null;
            /** @description What went wrong, for people. */
            detail: string;
            /** @description With `invalid`: which field. */
            field?: string | null;
            host?: components["schemas"]["ConnectionId"] | null;
            newest_generation?: components["schemas"]["Generation"] | null;
            /**
             * Format: int32
             * @description With `unavailable` and `rate_limited`: seconds to wait, as the header says too.
             */
            retry_after_s?: number | null;
            /**
             * Format: int32
             * @description The HTTP status.
             */
            status: number;
            /** @description The status in words. */
            title: string;
            /** @description `about:blank`: `title` says what the status means. */
            type: string;
        };
        /** @description What lobbies are looked for. */
        QueryLobbies: {
            /**
             * @description `continuation` of the page before. The rest of the request must be the same.
             * @default null
             */
            continuation: string | null;
            /**
             * Format: int32
             * @description Lobbies on the page: 1 to 100.
             * @default 10
             */
            count: number;
            /**
             * @description All of them must hold. At most 16.
             * @default []
             */
            filter: components["schemas"]["LobbyFilter"][];
            /**
             * @description What comes first; then the lower id. At most 4. The newest first, where nothing is said.
             * @default []
             */
            order: components["schemas"]["Order"][];
            /**
             * Format: int32
             * @description Passed over: 0 to 1,000. Not together with `continuation`.
             * @default 0
             */
            skip: number;
        };
        /** @description What is looked for, and what the newcomer brings. */
        QuickJoin: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            /** @description The game's build. Only equal builds play together. */
            build_id?: components["schemas"]["Name"];
            /** @description Whether it can be elected host. */
            can_host?: boolean;
            direct_address?: components["schemas"]["SocketAddress"] | null;
            /** @description All of them must hold. At most 16. */
            filter?: components["schemas"]["LobbyFilter"][];
            /** @description What it tells of itself. */
            member_data?: components["schemas"]["MemberData"];
            name?: components["schemas"]["Name"] | null;
            /** @description The fingerprint of the player's process. */
            peer_key: components["schemas"]["PeerKey"];
            reconnect_secret?: components["schemas"]["Secret"] | null;
        };
        /** @description The outcome of an election, with its reasons. */
        Ranking: {
            /** @description Who cannot. */
            excluded: components["schemas"]["Excluded"][];
            /** @description Who can be elected, best first. */
            places: components["schemas"]["Place"][];
        };
        /** @description The instance is ready. */
        Readiness: {
            /** @description Always true: else a problem is told. */
            ready: boolean;
        };
        /** @description The election that the caller won. */
        Ready: {
            /** @description Its epoch. */
            epoch: components["schemas"]["HostEpoch"];
        };
        /** @description What takes a seat again. */
        Reconnect: {
            /** @description It runs in a browser: WebRTC is the only way to it. */
            browser?: boolean;
            direct_address?: components["schemas"]["SocketAddress"] | null;
            next_secret?: components["schemas"]["Secret"] | null;
            /** @description The fingerprint of the process that takes it. */
            peer_key: components["schemas"]["PeerKey"];
            /** @description As it came with the seat. */
            reconnect_secret: components["schemas"]["Secret"];
        };
        /** @description The token that came last. */
        Refresh: {
            /** @description From the last sign-in or refresh. */
            refresh_token: string;
        };
        /** @description A relay. */
        RelayAddress: {
            /** @description Its UDP address: `host:port`. */
            address: string;
        };
        /** @description What a member shows to a relay. */
        RelayToken: {
            /**
             * Format: int64
             * @description Seconds that the token lives. A bound address stays bound.
             */
            expires_in_s: number;
            /** @description The relays; any will do, all members use the first. */
            relays: components["schemas"]["RelayAddress"][];
            /** @description For the bind frame. */
            token: string;
        };
        /** @description Who asks. */
        RotateCode: {
            epoch?: components["schemas"]["HostEpoch"] | null;
        };
        /** @description A seat, and the lobby it is in. */
        Seat: {
            /** @description The caller's connection id. It stays its own. */
            connection: components["schemas"]["ConnectionId"];
            /** @description The lobby, as the caller sees it. */
            lobby: components["schemas"]["LobbyView"];
            /** @description What another process of the caller takes this seat with, once. */
            reconnect_secret: string;
        };
        /**
         * @description A reconnect secret as it comes in a request.
         * @example 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
         */
        Secret: string;
        /** @description From the service, on the event socket. */
        ServerMessage: (components["schemas"]["Event"] & {
            /** @enum {string} */
            type: "event";
        }) | {
            /** @description The lobby. The next event is number `seq + 1`. */
            lobby: components["schemas"]["LobbyView"];
            /** @enum {string} */
            type: "resync";
        } | {
            /** @description At which epoch. */
            epoch: components["schemas"]["HostEpoch"];
            /** @enum {string} */
            type: "challenge";
        } | {
            /** @description Who says so. */
            from: components["schemas"]["ConnectionId"];
            /** @description Its process. */
            peer_key: components["schemas"]["PeerKey"];
            /** @description What. */
            signal: components["schemas"]["Signal"];
            /** @enum {string} */
            type: "signal";
        } | {
            /** @description Why. */
            reason: components["schemas"]["CloseReason"];
            /**
             * Format: int64
             * @description Come back after this time; absent if coming back makes no sense.
             */
            retry_after_ms?: number | null;
            /** @enum {string} */
            type: "closing";
        };
        /** @description A player with its tokens. */
        Session: {
            /** @description For the `Authorization: Bearer` header of all other requests. */
            access_token: string;
            /**
             * Format: int64
             * @description Seconds that the access token lives.
             */
            expires_in_s: number;
            /** @description Who. */
            player: components["schemas"]["PlayerId"];
            /** @description For the next access token, once. It changes at each use; the one before works until the new one was used. */
            refresh_token: string;
        };
        /** @description What a game sets for its lobby. All times in milliseconds. */
        Settings: {
            /**
             * Format: int64
             * @description From losing the host to choosing another: 0 to 600,000.
             * @default 1000
             */
            election_delay_ms: number;
            /**
             * @description Nobody can join, except those who have a seat.
             * @default false
             */
            locked: boolean;
            /**
             * Format: int32
             * @description Seats: 1 to 1,000.
             * @default 100
             */
            max_members: number;
            /**
             * Format: int64
             * @description Time that an elected host has to restore and confirm: 500 to 60,000.
             * @default 5000
             */
            ready_timeout_ms: number;
            /**
             * @description No player is to learn another's address: all that they say to each other goes through relays.
             * @default false
             */
            relay_only: boolean;
            /**
             * Format: int64
             * @description Time that a disconnected member keeps its seat: 1,000 to 86,400,000, longer than the election delay.
             * @default 60000
             */
            removal_delay_ms: number;
            /**
             * @description Who finds it.
             * @default public
             */
            visibility: components["schemas"]["Visibility"];
        };
        /** @description What becomes of settings. What is absent stays. */
        SettingsPatch: {
            /**
             * Format: int64
             * @description From losing the host to choosing another: 0 to 600,000.
             * @default null
             */
            election_delay_ms: number | null;
            /**
             * @description Nobody can join, except those who have a seat.
             * @default null
             */
            locked: boolean | null;
            /**
             * Format: int32
             * @description Seats: 1 to 1,000, and at least as many as are taken.
             * @default null
             */
            max_members: number | null;
            /**
             * Format: int64
             * @description Time that an elected host has to restore and confirm: 500 to 60,000.
             * @default null
             */
            ready_timeout_ms: number | null;
            /**
             * @description No player is to learn another's address. What they have learnt before they know.
             * @default null
             */
            relay_only: boolean | null;
            /**
             * Format: int64
             * @description Time that a disconnected member keeps its seat: 1,000 to 86,400,000, longer than the election delay.
             * @default null
             */
            removal_delay_ms: number | null;
            /** @default null */
            visibility: components["schemas"]["Visibility"] | null;
        };
        /** @description A lobby: whole to its members and to servers of the game, in short to others. */
        Shown: components["schemas"]["LobbyView"] | components["schemas"]["Summary"];
        /** @description A signal from one process to another. */
        Signal: (components["schemas"]["Description"] & {
            /**
             * Format: int32
             * @description Drawn at random by the one that dials; tells this attempt from others between the two.
             */
            attempt: number;
        } & {
            /** @enum {string} */
            kind: "offer";
        }) | (components["schemas"]["Description"] & {
            /**
             * Format: int32
             * @description That of the offer.
             */
            attempt: number;
        } & {
            /** @enum {string} */
            kind: "answer";
        }) | {
            /**
             * Format: int32
             * @description That of the offer.
             */
            attempt: number;
            /** @description Each as RFC 8839 writes it, from `candidate:` on. */
            candidates: string[];
            /** @enum {string} */
            kind: "candidates";
        } | {
            /**
             * Format: int32
             * @description That of the offer.
             */
            attempt: number;
            /** @enum {string} */
            kind: "close";
        };
        /** @description Who signs in. */
        SignIn: {
            /** @description The name that is shown where no other is given: at most 128 characters. */
            name?: components["schemas"]["Name"];
        };
        /** @description An IP address and a port that others can dial: `192.0.2.1:4000` or `[2001:db8::1]:4000`. */
        SocketAddress: string;
        /** @description What is stored. */
        Stored: {
            /** @description Of the whole record. */
            checksum: components["schemas"]["Checksum"];
            /** @description Where it stands among the snapshots of its lobby. */
            generation: components["schemas"]["Generation"];
            /**
             * Format: int64
             * @description The game's tick.
             */
            tick: number;
        };
        /** @description A lobby, to those who are not in it. */
        Summary: {
            /**
             * Format: int32
             * @description Seats that are free.
             */
            available_seats: number;
            /** @description The build that its members play. */
            build_id: string;
            /** @description When it was created. */
            created_at: components["schemas"]["Timestamp"];
            /** @description Its public data. */
            data?: components["schemas"]["LobbyData"];
            /** @description The current host epoch. */
            epoch: components["schemas"]["HostEpoch"];
            /** @description Newcomers need a password. */
            has_password: boolean;
            /** @description Its id, to join by. */
            id: components["schemas"]["LobbyId"];
            /** @description Nobody can join. */
            locked: boolean;
            /**
             * Format: int32
             * @description Seats.
             */
            max_members: number;
            /** @description Seats taken. */
            members: number;
            /** @description Its name. */
            name: string;
            /** @description When something happened to it the last time. */
            updated_at: components["schemas"]["Timestamp"];
        };
        /** @description What opens an event socket. */
        Ticket: {
            /**
             * Format: int64
             * @description Seconds until it opens nothing any more.
             */
            expires_in_s: number;
            /** @description For the query of the socket's URL, once. */
            ticket: string;
        };
        /**
         * Format: int64
         * @description Milliseconds since the Unix epoch, on the service's clock. Peers' clocks are never compared with it.
         * @example 1790000000000
         */
        Timestamp: number;
        /** @description Who is to host. */
        Transfer: {
            epoch?: components["schemas"]["HostEpoch"] | null;
            to?: components["schemas"]["ConnectionId"] | null;
        };
        /** @description The instance is not ready: a problem, and what is missing. */
        Unready: components["schemas"]["Problem"] & {
            /** @description `store` if the store does not answer, `not_draining` if clients are sent elsewhere. */
            missing: string[];
        };
        /** @description What becomes of a lobby, and who says so. */
        UpdateLobby: {
            /** @description What becomes of it. */
            change?: components["schemas"]["LobbyChanges"];
            epoch?: components["schemas"]["HostEpoch"] | null;
        };
        /**
         * @description Who finds a lobby in the list and can join it by its id. The join code opens both kinds.
         * @enum {string}
         */
        Visibility: "public" | "private";
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
