//! P18: no token, code, password, game byte or name is ever logged, counted, or told in an error. The service runs as a process of its
//! own with its log open as far as it goes; values that are found again are planted in everything that it is sent and gives.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use protocol::message::EventBody;
use reqwest::Method;
use serde_json::{Value, json};
use tests::cluster::binaries;
use tests::service::{TestPlayer, TestService, TestSocket, record};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What may turn up nowhere, with what it is.
#[derive(Default)]
struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// Makes one that is found wherever it turns up.
    fn plant(&mut self, what: &'static str) -> String {
        let canary = format!("canary{:02}x{}", self.0.len(), what.replace(' ', ""));
        self.keep(what, &canary);
        canary
    }

    /// One that the service has made.
    fn keep(&mut self, what: &'static str, text: impl AsRef<str>) {
        let text = text.as_ref();
        assert!(text.len() >= 6, "{what} would be found by chance: {text:?}");
        self.0.push((what, text.to_owned()));
    }

    fn keep_field(&mut self, what: &'static str, value: &Value) {
        self.keep(what, value.as_str().unwrap_or_else(|| panic!("there is no {what}")));
    }

    fn check(&self, place: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        for (what, canary) in &self.0 {
            if let Some(line) = text.lines().find(|line| line.contains(canary.as_str())) {
                panic!("{what} is in {place}:\n{line}");
            }
        }
    }
}

/// Starts the service in a folder; what it tells goes into files there.
fn start(folder: &Path, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(binaries().join("lobby-service"));
    command.current_dir(folder).env_remove("DATABASE_URL").envs(variables.iter().copied());
    command.args(["--listen", "127.0.0.1:0", "--relay-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--log", "trace", "--log-format", "json"]).stdout(Stdio::piped());
    command.stderr(File::options().create(true).append(true).open(folder.join("stderr")).unwrap()).kill_on_drop(true);
    command.spawn().expect("`cargo build --workspace --bins` makes the service")
}

/// Where it listens, as it says.
async fn addresses(child: &mut Child) -> (String, TestService, TestService) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let address = |key: &str| {
        let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).unwrap().1.parse().unwrap()
    };
    (line.clone(), TestService::at(address("http")), TestService::at(address("admin")))
}

/// Bodies of answers that are errors.
#[derive(Default)]
struct Errors(Vec<u8>);

impl Errors {
    async fn send(&mut self, service: &TestService, token: &str, method: Method, path: &str, body: Value) -> Value {
        let answer = service
            .send(|client, service| {
                let request = client.request(method.clone(), service.url("http", path)).bearer_auth(token);
                if body.is_null() { request } else { request.json(&body) }
            })
            .await;
        if !answer.status.is_success() {
            self.0.extend_from_slice(&answer.bytes);
            self.0.push(b'\n');
        }
        answer.json()
    }
}

#[tokio::test]
async fn nothing_secret_is_in_the_log_the_metrics_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (mut canaries, mut errors) = (Canaries::default(), Errors::default());
    let relay_secret = canaries.plant("relay secret");
    let collector = format!("http://u:{}@127.0.0.1:1/", canaries.plant("collector password"));
    let turn_secret = canaries.plant("TURN secret");
    let variables = [
        ("UNDERSTUDY_RELAY_SECRET", &*relay_secret),
        ("UNDERSTUDY_OTLP_ENDPOINT", &*collector),
        ("UNDERSTUDY_TURN_SECRET", &*turn_secret),
        ("UNDERSTUDY_TURN_URL", "turn:turn.example:3478"),
    ];
    let mut child = start(folder.path(), &variables);
    let (stdout, service, admin) = addresses(&mut child).await;
    let admin_token = std::fs::read_to_string(folder.path().join("understudy-admin-token")).unwrap();
    canaries.keep("admin token", admin_token.trim());

    play(&mut canaries, &mut errors, &service).await;
    operate(&mut canaries, &mut errors, (&service, &admin), admin_token.trim()).await;
    hostile(&mut canaries, &mut errors, &service).await;
    assert!(canaries.0.len() >= 20, "{}", canaries.0.len());

    let metrics = admin.send(|client, admin| client.get(admin.url("http", "/metrics"))).await.expect_status(200);
    child.kill().await.unwrap();
    wrong_database(&mut canaries, folder.path()).await;
    let log = std::fs::read(folder.path().join("stderr")).unwrap();
    let lines = String::from_utf8_lossy(&log);
    assert!(lines.contains("\"operation\":\"POST /v1/lobbies/join\""), "requests are logged");
    assert!(!errors.0.is_empty());
    canaries.check("the log", &log);
    canaries.check("what it prints", stdout.as_bytes());
    canaries.check("the metrics", &metrics.bytes);
    canaries.check("an error", &errors.0);
}

/// Signs in, and does what players do.
async fn play(canaries: &mut Canaries, errors: &mut Errors, service: &TestService) {
    let mut sessions = Vec::new();
    for number in 1..=2 {
        let name = canaries.plant("player name");
        let session = errors.send(service, "", Method::POST, "/v1/players", json!({"name": name})).await;
        canaries.keep_field("access token", &session["access_token"]);
        canaries.keep_field("refresh token", &session["refresh_token"]);
        let token = session["access_token"].as_str().unwrap().to_owned();
        let refresh_token = session["refresh_token"].as_str().unwrap().to_owned();
        sessions.push(TestPlayer { token, refresh_token, ..service.player(number).await });
    }
    let [host, guest] = &sessions[..] else { unreachable!("two have signed in") };
    for _ in 0..3 {
        let shown = json!({"refresh_token": host.refresh_token});
        let refreshed = errors.send(service, "", Method::POST, "/v1/players/refresh", shown).await;
        if refreshed["refresh_token"].is_string() {
            canaries.keep_field("refresh token", &refreshed["refresh_token"]);
            canaries.keep_field("access token", &refreshed["access_token"]);
        }
    }

    let (lobby_name, password) = (canaries.plant("lobby name"), canaries.plant("password"));
    let data = json!({"mode": {"value": canaries.plant("lobby data"), "visibility": "public"}});
    let body = json!({
        "lobby_name": lobby_name, "password": password, "data": data, "peer_key": host.peer_key,
        "settings": {"election_delay_ms": 0},
    });
    let made = errors.send(service, &host.token, Method::POST, "/v1/lobbies", body).await;
    let lobby = &made["lobby"];
    let id = lobby["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let code = lobby["join_code"].as_str().unwrap().to_owned();
    canaries.keep("join code", &code);
    canaries.keep("join code as it is shown", code.replace('-', ""));
    canaries.keep_field("reconnect secret", &made["reconnect_secret"]);
    let path = |rest: &str| format!("/v1/lobbies/{id}{rest}");

    let wrong = canaries.plant("wrong password");
    for password in [&wrong, &password] {
        let body = json!({"join_code": code, "password": password, "peer_key": guest.peer_key});
        errors.send(service, &guest.token, Method::POST, "/v1/lobbies/join", body).await;
    }
    let secret = made["reconnect_secret"].clone();
    for (secret, epoch) in [(json!(canaries.plant("wrong secret")), 1), (secret, 1)] {
        let body = json!({"reconnect_secret": secret, "peer_key": host.peer_key});
        let back = errors.send(service, &host.token, Method::POST, &path("/reconnect"), body).await;
        if back["reconnect_secret"].is_string() {
            canaries.keep_field("reconnect secret", &back["reconnect_secret"]);
        }
        let patch = json!({"epoch": epoch, "password": canaries.plant("new password")});
        errors.send(service, &host.token, Method::PATCH, &path(""), patch).await;
    }
    let state = canaries.plant("snapshot bytes");
    service.put_snapshot(host, id.parse().unwrap(), record(1, 1, state.as_bytes())).await.expect_status(200);
    for operation in ["/relay-token", "/host-grant"] {
        let given = errors.send(service, &host.token, Method::POST, &path(operation), json!({"epoch": 1})).await;
        if given["token"].is_string() {
            canaries.keep_field("relay token", &given["token"]);
        }
    }
    let ticket = errors.send(service, &host.token, Method::POST, &path("/ticket"), Value::Null).await;
    canaries.keep_field("ticket", &ticket["ticket"]);
    let member = json!({"data": {"skill": {"value": canaries.plant("member data"), "visibility": "private"}}});
    errors.send(service, &guest.token, Method::PATCH, &path("/members/1"), member).await;
    for read in ["", "/election", "/snapshot", "/bans"] {
        errors.send(service, &guest.token, Method::GET, &path(read), Value::Null).await;
    }
    let mut socket = service.listen(guest, id.parse().unwrap(), None).await;
    socket.resync().await;
    let mut of_host = service.listen(host, id.parse().unwrap(), None).await;
    of_host.resync().await;
    signal(canaries, &mut socket, host, &mut of_host).await;
    drop(of_host);
    let ice = errors.send(service, &guest.token, Method::POST, &path("/ice-servers"), Value::Null).await;
    let turn = &ice["ice_servers"][1];
    canaries.keep_field("TURN credential", &turn["credential"]);
    canaries.keep_field("TURN user name", &turn["username"]);
    let rotated = errors.send(service, &host.token, Method::POST, &path("/join-code"), json!({"epoch": 1})).await;
    if rotated["join_code"].is_string() {
        canaries.keep_field("join code", &rotated["join_code"]);
    }
    errors.send(service, &host.token, Method::POST, &path("/leave"), Value::Null).await;
    let epoch = socket.event_like(|body| matches!(body, EventBody::HostElected { .. })).await.epoch;
    errors.send(service, &guest.token, Method::POST, &path("/ready"), json!({"epoch": epoch})).await;
    socket.say_text(canaries.plant("socket text")).await;
    socket.closed().await;
}

/// Signals to the host, also what cannot be forwarded.
async fn signal(canaries: &mut Canaries, socket: &mut TestSocket, host: &TestPlayer, of_host: &mut TestSocket) {
    let ufrag = canaries.plant("fragment");
    let pwd = format!("{}{}", canaries.plant("ICE"), "p".repeat(16));
    for address in ["203.0.113.61", "2001:db8::6161:1", "canary6161.local", "canary6162.example"] {
        canaries.keep("address of a candidate", address);
        let candidate = format!("candidate:1 1 udp 1 {address} 4000 typ host raddr 203.0.113.62 rport 4001");
        canaries.keep("related address", "203.0.113.62");
        for signal in [
            json!({"kind": "offer", "attempt": 1, "ufrag": ufrag, "pwd": pwd, "candidates": [candidate]}),
            json!({"kind": "answer", "attempt": 1, "ufrag": "!", "pwd": pwd, "candidates": [candidate]}),
            json!({"kind": "candidates", "attempt": 1, "candidates": [candidate]}),
        ] {
            for key in [host.peer_key.to_string(), "77".repeat(32)] {
                let message = json!({"type": "signal", "to": 0, "peer_key": key, "signal": signal});
                socket.say_text(message.to_string()).await;
            }
        }
    }
    let last = json!({"type": "signal", "to": 0, "peer_key": host.peer_key, "signal": {"kind": "close", "attempt": 2}});
    socket.say_text(last.to_string()).await;
    while !of_host.text().await.contains("\"close\"") {}
}

/// Does what operators do.
async fn operate(
    canaries: &mut Canaries,
    errors: &mut Errors,
    (players, admin): (&TestService, &TestService),
    token: &str,
) {
    let wrong = canaries.plant("wrong admin token");
    errors.send(admin, &wrong, Method::GET, "/admin/v1/lobbies", Value::Null).await;
    let lobbies = errors.send(admin, token, Method::GET, "/admin/v1/lobbies", Value::Null).await;
    let path = format!("/admin/v1/lobbies/{}", lobbies["lobbies"][0]["id"].as_str().unwrap());
    for rest in ["", "/members", "/bans"] {
        errors.send(admin, token, Method::GET, &format!("{path}{rest}"), Value::Null).await;
    }
    let ban = json!({"player": "ab".repeat(16), "reason": canaries.plant("ban reason")});
    errors.send(admin, token, Method::POST, &format!("{path}/bans"), ban).await;
    let key = json!({"name": canaries.plant("name of a key"), "scopes": ["lobbies:read"]});
    let made = errors.send(admin, token, Method::POST, "/admin/v1/api-keys", key).await;
    canaries.keep_field("api key", &made["api_key"]);
    let api_key = made["api_key"].as_str().unwrap();
    let public = path.replace("/admin", "");
    errors.send(players, api_key, Method::GET, &public, Value::Null).await;
    errors.send(players, api_key, Method::DELETE, &public, Value::Null).await;
    for at in ["/admin/v1/api-keys", "/admin/v1/instances", "/admin/v1/relays", "/admin/v1/drain"] {
        errors.send(admin, token, Method::GET, at, Value::Null).await;
    }
    errors.send(admin, token, Method::DELETE, &path, Value::Null).await;
}

/// Sends secrets to where they do not belong.
async fn hostile(canaries: &mut Canaries, errors: &mut Errors, service: &TestService) {
    let token = canaries.plant("wrong token");
    errors.send(service, &token, Method::GET, "/v1/players/me/lobbies", Value::Null).await;
    let key = format!("usk_{}", canaries.plant("api key"));
    errors.send(service, &key, Method::GET, "/v1/lobbies/abababababababababababababababab", Value::Null).await;
    let player = service.player(7).await;
    for path in ["/v1/lobbies/query?token=", "/v1/nowhere/", "/v1/lobbies/join?join_code="] {
        let path = format!("{path}{}", canaries.plant("part of a path"));
        errors.send(service, &player.token, Method::POST, &path, json!({})).await;
        errors.send(service, &player.token, Method::GET, &path, Value::Null).await;
    }
    for body in [
        json!({"refresh_token": canaries.plant("refresh token")}),
        json!({"refresh_token": format!("{}.{}", "ab".repeat(16), "cd".repeat(32))}),
    ] {
        errors.send(service, "", Method::POST, "/v1/players/refresh", body).await;
    }
    canaries.keep("made up refresh token", "cd".repeat(32));
    let password = canaries.plant("password of a wrong type");
    for body in [
        json!({"join_code": canaries.plant("wrong join code"), "peer_key": player.peer_key}),
        json!({"join_code": "ABCD-EFGH-JK", "password": {"is": password}, "peer_key": player.peer_key}),
        json!({"join_code": "ABCD-EFGH-JK", "password": [password], "peer_key": player.peer_key}),
    ] {
        errors.send(service, &player.token, Method::POST, "/v1/lobbies/join", body).await;
    }
    let secret = canaries.plant("wrong relay secret");
    errors.send(service, &secret, Method::GET, "/v1/relays/control", Value::Null).await;
}

/// A database that is not there.
async fn wrong_database(canaries: &mut Canaries, folder: &Path) {
    for url in ["postgres://understudy:{}@127.0.0.1:1/none", "mysql://understudy:{}@127.0.0.1:1/none"] {
        let url = url.replace("{}", &canaries.plant("database password"));
        let mut child = start(folder, &[("DATABASE_URL", &url)]);
        assert!(!child.wait().await.unwrap().success());
    }
}
