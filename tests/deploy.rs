//! The files for operators in `deploy/`: every option, variable, secret, volume and metric that they name is there.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lobby_service::arguments::{Settings, example};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value};
use tests::cluster::binaries;
use tests::operator::{Operator, migration};

const EXAMPLE: &str = include_str!("../deploy/understudy.example.toml");
const COMPOSE: &str = include_str!("../deploy/compose.yaml");
const DOCKERFILE: &str = include_str!("../deploy/Dockerfile");
const UNITS: [(&str, &str, &str); 2] = [
    ("lobby-service", "understudy.service", include_str!("../deploy/understudy.service")),
    ("relay", "understudy-relay.service", include_str!("../deploy/understudy-relay.service")),
];

/// Metrics that are on no panel and in no alert: they explain gaps in others, to who looks for them.
const UNUSED: [&str; 2] = ["understudy_migrations_unobserved", "understudy_traces_dropped"];
/// Metrics that are not told before something has happened that one migration does not make happen.
const RARE: [&str; 1] = ["understudy_refusals"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

/// What a program says of its options.
fn help(program: &str) -> String {
    let output = Command::new(binaries().join(program)).arg("--help").output();
    let output = output.expect("`cargo build --workspace --bins` makes the programs");
    String::from_utf8(output.stdout).unwrap()
}

fn expect_variable(program: &str, name: &str) {
    assert!(help(program).contains(&format!("[env: {name}")), "{program} knows no variable {name}");
}

fn yaml(text: &str) -> Value {
    json(&Yaml::load_from_str(text).unwrap()[0])
}

/// As JSON, whose values are easier to ask.
fn json(yaml: &Yaml<'_>) -> Value {
    if let Some(map) = yaml.as_mapping() {
        let fields = map.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), json(value)));
        Value::Object(fields.collect::<Map<_, _>>())
    } else if let Some(list) = yaml.as_sequence() {
        list.iter().map(json).collect()
    } else if let Some(text) = yaml.as_str() {
        text.into()
    } else {
        yaml.as_integer().map(Value::from).or_else(|| yaml.as_bool().map(Value::from)).unwrap_or_default()
    }
}

fn names(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => BTreeSet::new(),
    }
}

#[test]
fn the_example_names_every_option_and_says_what_holds_without_it() {
    assert!(EXAMPLE.trim_end() == example().trim_end(), "run: cargo xtask openapi");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("understudy.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let words = [OsString::from("lobby-service"), "--config".into(), path.clone().into()];
        let settings = Settings::read(words).unwrap();
        let mut described = Vec::new();
        settings.describe(&mut described).unwrap();
        let described = String::from_utf8(described).unwrap();
        // Without where each comes from.
        described.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let uncommented: Vec<_> = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase())))
        .map(|line| line.unwrap_or_default())
        .collect();
    assert!(uncommented.iter().filter(|line| !line.is_empty()).count() > 10);
    assert_eq!(
        read(&uncommented.join("\n")).join("\n").replace("\"***\"", "\"sqlite://./understudy.db\""),
        read(EXAMPLE).join("\n")
    );
}

#[test]
fn the_composition_names_only_what_is_there() {
    let compose = yaml(COMPOSE);
    let services = compose["services"].as_object().unwrap();
    assert!(
        ["postgres", "service-a", "service-b", "relay", "balancer"].iter().all(|name| services.contains_key(*name))
    );
    for name in names(&compose["x-service"]["environment"]) {
        expect_variable("lobby-service", name);
    }
    for name in names(&services["relay"]["environment"]) {
        expect_variable("relay", name);
    }
    let mut used_secrets = BTreeSet::new();
    for (name, service) in services {
        let service = if service.get("<<").is_some() { &service["<<"] } else { service };
        used_secrets.extend(names(&service["secrets"]));
        let depends = names(&service["depends_on"]);
        assert!(depends.iter().all(|other| services.contains_key(*other)), "{name} waits for {depends:?}");
        for volume in names(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            let is_there = match source.strip_prefix("./") {
                Some(file) => folder().join(file).exists(),
                None => compose["volumes"].get(source).is_some(),
            };
            assert!(is_there, "{name} mounts {source}");
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            if let Some(secret) = value.as_str().and_then(|value| value.strip_prefix("/run/secrets/")) {
                assert!(names(&service["secrets"]).contains(secret), "{name}: {variable} is {secret}");
            }
        }
    }
    assert_eq!(used_secrets, names(&compose["secrets"]), "each secret is declared, and used");
    let caddyfile = include_str!("../deploy/Caddyfile");
    assert!(caddyfile.contains("service-a:8080 service-b:8080") && caddyfile.contains("/readyz"));
}

#[test]
fn the_secrets_of_the_composition_are_made_by_its_script() {
    let made = tempfile::tempdir().unwrap();
    let secrets = made.path().join("secrets");
    let run =
        || assert!(Command::new("sh").arg(folder().join("make-secrets")).arg(&secrets).status().unwrap().success());
    run();
    assert_eq!(std::fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o700);
    let read = || {
        let files = yaml(COMPOSE)["secrets"].as_object().unwrap().clone();
        let path = |file: &Value| secrets.join(Path::new(file["file"].as_str().unwrap()).file_name().unwrap());
        let read = files.iter().map(|(name, file)| (name.clone(), std::fs::read_to_string(path(file)).unwrap()));
        read.collect::<BTreeMap<_, _>>()
    };
    let first = read();
    assert!(first["database_url"].contains(&first["postgres_password"]) && first["postgres_password"].len() == 64);
    assert!(first["database_url"].parse::<lobby_service::config::Database>().is_ok());
    run();
    assert_eq!(read(), first, "what is there stays");
}

#[test]
fn the_image_sets_only_variables_and_options_that_there_are() {
    let variables = DOCKERFILE.split(|c: char| c.is_whitespace()).filter_map(|word| word.split_once('='));
    let ours: Vec<_> = variables.filter(|(name, _)| name.starts_with("UNDERSTUDY_")).collect();
    assert!(ours.len() >= 4);
    for (name, _) in ours {
        expect_variable("lobby-service", name);
    }
    assert!(DOCKERFILE.contains("\"lobby-service\", \"--probe\"") && help("lobby-service").contains("--probe"));
    assert!(DOCKERFILE.contains("USER understudy"), "not as root");
}

#[test]
fn the_units_set_only_variables_that_there_are_and_systemd_takes_them() {
    let made = tempfile::tempdir().unwrap();
    for (program, file, unit) in UNITS {
        let lines = || unit.lines().filter(|line| !line.starts_with('#'));
        for line in lines().filter_map(|line| line.strip_prefix("Environment=")) {
            expect_variable(program, line.split('=').next().unwrap());
        }
        for option in lines().filter(|line| line.starts_with("Exec")).flat_map(str::split_whitespace) {
            assert!(!option.starts_with("--") || help(program).contains(option), "{option}");
        }
        for line in ["ProtectSystem=strict", "DynamicUser=yes", "Restart=on-failure"] {
            assert!(unit.contains(line), "{file}: {line}");
        }
        // With the programs where they are here; that they are not in /usr/local is no fault of the unit.
        let copy = made.path().join(file);
        std::fs::write(&copy, unit.replace("/usr/local/bin", binaries().to_str().unwrap())).unwrap();
        let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output() else {
            println!("systemd-analyze is not installed: {file} was not verified");
            continue;
        };
        let complaints = String::from_utf8_lossy(&verified.stderr);
        let ours = complaints.lines().filter(|line| line.contains(file)).collect::<Vec<_>>();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

/// The names of metrics in a text, without what a histogram or a counter adds to them.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("understudy_") || word.starts_with("process_"));
    ours.map(|word| {
        let endings = ["_bucket", "_sum", "_count", "_total", "_info"];
        endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned()
    })
    .collect()
}

#[tokio::test]
async fn the_board_and_the_alerts_name_every_metric_and_no_other() {
    let operator = Operator::in_memory().await;
    migration(&operator.service).await;
    let text = operator.metrics_when(|text| text.contains("understudy_migrations_total{")).await;
    operator.stop().await;
    let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next());
    let told: BTreeSet<_> = told.map(ToOwned::to_owned).chain(RARE.map(ToOwned::to_owned)).collect();

    let board: Value = serde_json::from_str(include_str!("../deploy/grafana-dashboard.json")).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    let rules = yaml(include_str!("../deploy/alerts.yml"));
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    let alerts: Vec<_> = rules.iter().map(|rule| rule["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 20 && alerts.len() >= 5);
    let used = mentioned(&[queries, alerts].concat().join(" "));

    let unknown: Vec<_> = used.difference(&told).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not told by the service");
    let unused: BTreeSet<_> = told.difference(&used).map(String::as_str).collect();
    assert_eq!(unused, BTreeSet::from(UNUSED), "what is told is shown, or listed here");
}

#[test]
fn prometheus_scrapes_the_instances_of_the_composition() {
    let (prometheus, compose) = (yaml(include_str!("../deploy/prometheus.yml")), yaml(COMPOSE));
    let targets = names(&prometheus["scrape_configs"][0]["static_configs"][0]["targets"]);
    for target in &targets {
        let (name, port) = target.split_once(':').unwrap();
        assert!(compose["services"].get(name).is_some(), "{name}");
        let admin = compose["x-service"]["environment"]["UNDERSTUDY_ADMIN_LISTEN"].as_str().unwrap();
        assert!(admin.ends_with(&format!(":{port}")));
    }
    assert_eq!(targets.len(), 2);
    for file in names(&prometheus["rule_files"]) {
        assert!(folder().join(file).exists());
    }
}
