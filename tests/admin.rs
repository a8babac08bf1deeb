//! The admin listener, as operators, probes, Prometheus and a collector of traces meet it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::routing::post;
use lobby_service::config::Config;
use protocol::id::ConnectionId;
use protocol::message::CloseReason;
use reqwest::Method;
use serde_json::{Value, json};
use tests::operator::{Operator, migration};
use tests::service::{TestPlayer, record};

/// All operations under `/admin`, from their description.
fn operations() -> Vec<(Method, String)> {
    let description: Value = serde_json::from_str(include_str!("../openapi/admin.json")).unwrap();
    let paths = description["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/admin/"));
    let of = |(path, operations): (&String, &Value)| {
        let path = path
            .replace("api-keys/{id}", "api-keys/abababababababab")
            .replace("{id}", &"ab".repeat(16))
            .replace("{connection}", "0")
            .replace("{player}", &"cd".repeat(16));
        let methods = operations.as_object().unwrap().keys();
        methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

#[tokio::test]
async fn without_the_admin_token_every_operation_is_refused() {
    let operator = Operator::in_memory().await;
    let player = operator.service.player(1).await;
    let operations = operations();
    assert!(operations.len() >= 8, "{operations:?}");
    for (method, path) in operations {
        for token in ["", "nonsense", &player.token, &operator.token[1..]] {
            let answer = operator.call_with(token, method.clone(), &path, Value::Null).await;
            answer.expect_problem("unauthenticated");
        }
    }
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_finds_every_lobby_page_by_page_and_sees_it_whole() {
    let operator = Operator::in_memory().await;
    let service = &operator.service;
    let host = service.player(1).await;
    let mut ids = Vec::new();
    for visibility in ["public", "private", "public"] {
        ids.push(service.create(&host, json!({"visibility": visibility, "election_delay_ms": 0})).await.id);
    }
    let parked = ids[1];
    service.put_snapshot(&host, parked, record(1, 7, b"state")).await.expect_status(200);
    let other = service.player(2).await;
    let lobby = service.view(&host, ids[0]).await;
    service.join(&other, &lobby).await;
    service.post(&host, &format!("/v1/lobbies/{parked}/leave"), Value::Null).await.expect_status(204);
    ids.sort_unstable();

    let first = operator.get("/admin/v1/lobbies?limit=2").await;
    assert_eq!(first["lobbies"].as_array().unwrap().len(), 2);
    let rest = operator.get(&format!("/admin/v1/lobbies?after={}", first["next"].as_str().unwrap())).await;
    assert_eq!((&rest["lobbies"][0]["id"], &rest["next"]), (&json!(ids[2]), &Value::Null));
    let found = operator.get("/admin/v1/lobbies?state=parked").await;
    assert_eq!((found["lobbies"].as_array().unwrap().len(), &found["lobbies"][0]["id"]), (1, &json!(parked)));
    assert_eq!(operator.get("/admin/v1/lobbies?state=closed").await["lobbies"], json!([]));
    assert_eq!(operator.get("/admin/v1/lobbies?state=open").await["lobbies"].as_array().unwrap().len(), 3);
    operator.call(Method::GET, "/admin/v1/lobbies?state=odd", Value::Null).await.expect_problem("malformed");

    let whole = operator.get(&format!("/admin/v1/lobbies/{parked}")).await;
    assert_eq!(whole["lobby"]["id"], json!(parked), "a private one too");
    assert_eq!((&whole["snapshots"][0]["epoch"], &whole["snapshots"][0]["seq"]), (&json!(1), &json!(7)));
    assert_eq!(whole["snapshots"][0]["bytes"], record(1, 7, b"state").len());
    assert_eq!(whole["version"], 2);
    let instances = operator.get("/admin/v1/instances").await;
    assert_eq!(
        (&instances["instances"][0]["is_this"], &instances["instances"][0]["is_live"]),
        (&json!(true), &json!(true))
    );
    let members = operator.get(&format!("/admin/v1/lobbies/{}/members", lobby.id)).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    assert_eq!(members["members"][1]["holder"], instances["instances"][0]["id"]);
    let relays = operator.get("/admin/v1/relays").await;
    let here = service.relay().unwrap().to_string();
    assert_eq!((&relays["relays"][0]["address"], &relays["relays"][0]["link"]), (&json!(here), &json!("local")));
    let nowhere = "/admin/v1/lobbies/abababababababababababababababab";
    operator.call(Method::GET, nowhere, Value::Null).await.expect_problem("not_found");
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_elects_kicks_bans_and_closes() {
    let operator = Operator::in_memory().await;
    let service = &operator.service;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({})).await;
    service.join(&guest, &lobby).await;
    let path = |rest: &str| format!("/admin/v1/lobbies/{}{rest}", lobby.id);
    let post = async |rest: &str, body: Value| operator.call(Method::POST, &path(rest), body).await;

    post("/election", json!({"to": 0})).await.expect_problem("not_eligible");
    post("/hand-over", json!({"to": 0})).await.expect_problem("not_eligible");
    let asked = post("/hand-over", Value::Null).await.expect_status(202).json();
    assert_eq!((&asked["epoch"], &asked["hand_over"]["to"]), (&json!(1), &json!(1)));
    let elected = post("/election", Value::Null).await.expect_status(200).json();
    assert_eq!(
        (&elected["epoch"], &elected["host"]["state"], &elected["host"]["host"]),
        (&json!(2), &json!("elected"), &json!(1))
    );

    let kick = operator.call(Method::DELETE, &path("/members/1"), Value::Null).await;
    kick.expect_status(204);
    operator.call(Method::DELETE, &path("/members/1"), Value::Null).await.expect_problem("not_found");
    service.join(&guest, &lobby).await;
    let player = service.view(&host, lobby.id).await.member(ConnectionId(1)).unwrap().player;
    let banned = post("/bans", json!({"player": player, "reason": "rude"})).await.expect_status(201).json();
    assert_eq!((&banned["player"], &banned["reason"]), (&json!(player), &json!("rude")));
    assert_eq!(operator.get(&path("/bans")).await["bans"][0]["player"], json!(player));
    let body = json!({"join_code": lobby.join_code, "peer_key": guest.peer_key});
    assert_ne!(service.post(&guest, "/v1/lobbies/join", body).await.status, 200);
    operator.call(Method::DELETE, &path(&format!("/bans/{player}")), Value::Null).await.expect_status(204);
    operator.call(Method::DELETE, &path(&format!("/bans/{player}")), Value::Null).await.expect_problem("not_found");
    service.join(&guest, &lobby).await;

    operator.call(Method::DELETE, &path(""), Value::Null).await.expect_status(204);
    post("/election", json!({})).await.expect_problem("lobby_closed");
    assert_eq!(operator.get("/admin/v1/lobbies?state=closed").await["lobbies"][0]["id"], json!(lobby.id));
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_gives_keys_to_servers_and_takes_them_away() {
    let operator = Operator::in_memory().await;
    let service = &operator.service;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({"visibility": "private"})).await;
    let none = json!({"name": "matchmaker", "scopes": []});
    operator.call(Method::POST, "/admin/v1/api-keys", none).await.expect_problem("invalid");
    let wish = json!({"name": "matchmaker", "scopes": ["lobbies:read"]});
    let made = operator.call(Method::POST, "/admin/v1/api-keys", wish).await.expect_status(201).json();
    let server = TestPlayer { token: made["api_key"].as_str().unwrap().to_owned(), ..host.clone() };
    let path = format!("/v1/lobbies/{}", lobby.id);
    service.get(&server, &path).await.expect_status(200);
    let listed = operator.get("/admin/v1/api-keys").await;
    assert_eq!((&listed["keys"][0]["id"], &listed["keys"][0]["name"]), (&made["key"]["id"], &json!("matchmaker")));
    let secret = server.token.rsplit('_').next().unwrap();
    assert!(!listed.to_string().contains(secret), "its secret is told once");

    let key = format!("/admin/v1/api-keys/{}", made["key"]["id"].as_str().unwrap());
    operator.call(Method::DELETE, &key, Value::Null).await.expect_status(204);
    operator.call(Method::DELETE, &key, Value::Null).await.expect_problem("not_found");
    operator.call(Method::DELETE, "/admin/v1/api-keys/x", Value::Null).await.expect_problem("malformed");
    service.get(&server, &path).await.expect_problem("unauthenticated");
    operator.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_drained_sends_its_clients_away_until_it_is_told_otherwise() {
    let operator = Operator::in_memory().await;
    let service = &operator.service;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({})).await;
    service.join(&guest, &lobby).await;
    let mut sockets = [service.listen(&host, lobby.id, None).await, service.listen(&guest, lobby.id, None).await];
    for socket in &mut sockets {
        socket.resync().await;
    }
    let too_long = operator.call(Method::POST, "/admin/v1/drain", json!({"spread_s": 3601})).await;
    assert_eq!(too_long.expect_problem("invalid")["field"], "spread_s");
    let begun = operator.call(Method::POST, "/admin/v1/drain", json!({"spread_s": 0})).await.expect_status(202).json();
    assert_eq!(begun["draining"], true);
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, Some(CloseReason::GoingAway.code()));
    }
    drop(sockets);
    let unready = service.get(&host, "/readyz").await.expect_problem("unavailable");
    assert_eq!(unready["missing"], json!(["not_draining"]));
    operator.call(Method::GET, "/readyz", Value::Null).await.expect_problem("unavailable");
    service.get(&host, "/healthz").await.expect_status(204);
    assert!(service.open(&host, lobby.id).await.is_err(), "no new socket");
    assert!(
        operator
            .metrics_when(|text| text.contains("understudy_event_sockets 0\n"))
            .await
            .contains("understudy_draining 1\n")
    );
    let view = service.view(&guest, lobby.id).await;
    assert_eq!((view.members.len(), view.epoch.0), (2, 1), "nobody has lost a seat, requests are answered");

    let ended = operator.call(Method::DELETE, "/admin/v1/drain", Value::Null).await.expect_status(200).json();
    assert_eq!(ended, json!({"draining": false, "sockets": 0}));
    operator.call(Method::GET, "/readyz", Value::Null).await.expect_status(200);
    service.listen(&host, lobby.id, None).await.resync().await;
    operator.stop().await;
}

#[tokio::test]
async fn a_migration_is_counted_with_its_phases_and_requests_by_their_route() {
    let operator = Operator::in_memory().await;
    let lobby = migration(&operator.service).await;
    let text = operator.metrics_when(|text| text.contains("understudy_migrations_total{")).await;
    for line in [
        "understudy_migrations_total{cause=\"left\",outcome=\"ready\"} 1",
        "understudy_elections_total{cause=\"left\",outcome=\"ready\"} 1",
        "understudy_elections_total{cause=\"left\",outcome=\"failed\"} 1",
        "understudy_migration_phase_seconds_count{phase=\"delay\"} 1",
        "understudy_migration_phase_seconds_count{phase=\"restore\"} 1",
        "understudy_migration_phase_seconds_count{phase=\"total\"} 1",
        "understudy_requests_total{operation=\"POST /v1/lobbies/{id}/leave\",status=\"204\"} 2",
        "understudy_request_duration_seconds_count{operation=\"PUT /v1/lobbies/{id}/snapshot\"} 1",
        "understudy_snapshots_total 1",
        "understudy_relays 1",
        "understudy_build_info{version=",
        "understudy_commands_total{outcome=\"applied\"}",
        "understudy_save_duration_seconds_count{what=\"lobbies\"}",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    assert!(!text.contains(&lobby.to_string()), "no lobby has a name of its own here");
    operator.stop().await;
}

#[tokio::test]
async fn what_clients_make_up_adds_nothing_to_the_metrics() {
    let operator = Operator::in_memory().await;
    let player = operator.service.player(1).await;
    for number in 0..5 {
        operator.service.get(&player, &format!("/nowhere/{number}")).await.expect_problem("not_found");
        let method = format!("MADEUP{number}").parse().unwrap();
        operator.service.call(&player, method, "/v1/lobbies", Value::Null).await.expect_problem("method_not_allowed");
    }
    let text = operator.metrics().await;
    assert!(text.contains("operation=\"unknown\",status=\"404\"} 5"), "{text}");
    assert!(text.contains("operation=\"OTHER /v1/lobbies\",status=\"405\"} 5"), "{text}");
    assert!(!text.contains("MADEUP") && !text.contains("nowhere"));
    operator.stop().await;
}

#[tokio::test]
async fn a_collector_gets_one_trace_of_each_migration() {
    let received = Arc::new(Mutex::new(Vec::<Value>::new()));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let keep = Arc::clone(&received);
    let collect = post(move |axum::Json(traces): axum::Json<Value>| async move {
        keep.lock().unwrap().push(traces);
        told.send(()).unwrap();
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/collector/", listener.local_addr().unwrap());
    let collector = axum::Router::new().route("/collector/v1/traces", collect);
    let serving = tokio::spawn(async move { axum::serve(listener, collector).await });
    let mut config = Config::ephemeral();
    config.operating.traces = Some(url.parse().unwrap());
    let operator = Operator::start(config).await;
    let lobby = migration(&operator.service).await;
    heard.recv().await.unwrap();
    operator.stop().await;
    serving.abort();

    let received = received.lock().unwrap();
    assert_eq!(received.len(), 1);
    let resource = &received[0]["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "understudy-lobby-service");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["migration", "delay", "elect", "restore"]);
    let root = &spans[0];
    assert!(spans.iter().all(|span| span["traceId"] == root["traceId"]));
    assert!(spans[1..].iter().all(|span| span["parentSpanId"] == root["spanId"]) && root.get("parentSpanId").is_none());
    assert_eq!((root["traceId"].as_str().unwrap().len(), root["spanId"].as_str().unwrap().len()), (32, 16));
    let attributes: Vec<_> = root["attributes"].as_array().unwrap().iter().map(attribute).collect();
    let lobby = lobby.to_string();
    let expected =
        [("lobby", &*lobby), ("cause", "left"), ("outcome", "ready"), ("epoch.from", "1"), ("epoch.to", "3")];
    assert_eq!(attributes, expected);
    assert_eq!((&root["events"][0]["name"], &root["status"]["code"]), (&json!("election failed"), &json!(1)));
    let fetched = &spans[3]["events"][0];
    assert_eq!(fetched["name"], "snapshot fetched");
    let bytes = record(1, 1, b"state").len().to_string();
    let what: Vec<_> = fetched["attributes"].as_array().unwrap().iter().map(attribute).collect();
    assert_eq!(what, [("snapshot.epoch", "1"), ("snapshot.seq", "1"), ("snapshot.bytes", &*bytes)]);
    let time = |span: &Value, which: &str| span[which].as_str().unwrap().parse::<u128>().unwrap();
    for span in spans {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"));
        assert!(time(root, "startTimeUnixNano") <= time(span, "startTimeUnixNano"));
        assert!(time(span, "endTimeUnixNano") <= time(root, "endTimeUnixNano"));
    }
}

fn attribute(attribute: &Value) -> (&str, &str) {
    let value = attribute["value"].as_object().unwrap().values().next().unwrap();
    (attribute["key"].as_str().unwrap(), value.as_str().unwrap())
}

#[tokio::test]
async fn the_admin_api_describes_itself_without_the_internet() {
    let operator = Operator::in_memory().await;
    let page = operator.call_with("", Method::GET, "/docs/", Value::Null).await.expect_status(200);
    let page = String::from_utf8(page.bytes).unwrap();
    assert!(page.contains("swagger") && !page.contains("https://"), "{page}");
    let given = operator.call_with("", Method::GET, "/openapi.json", Value::Null).await.expect_status(200).json();
    let committed: Value = serde_json::from_str(include_str!("../openapi/admin.json")).unwrap();
    assert_eq!(given, committed, "run: cargo xtask openapi");
    operator.call_with("", Method::GET, "/nowhere", Value::Null).await.expect_problem("not_found");
    operator.stop().await;
}

#[tokio::test]
async fn players_cannot_reach_the_admin_api_on_their_own_listener() {
    let operator = Operator::in_memory().await;
    let player = operator.service.player(1).await;
    for path in ["/admin/v1/lobbies", "/metrics"] {
        operator.service.get(&player, path).await.expect_problem("not_found");
    }
    operator.stop().await;
}
