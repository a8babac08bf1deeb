use std::path::Path;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Reads these words and this file.
fn read_with(file: &str, words: &[&str]) -> Result<Settings, Unreadable> {
    let folder = folder();
    let path = folder.path().join("options.toml");
    std::fs::write(&path, file).unwrap();
    let first = ["lobby-service", "--config", path.to_str().unwrap()];
    Settings::read(first.iter().chain(words).map(OsString::from))
}

fn refusal(file: &str, words: &[&str]) -> String {
    read_with(file, words).unwrap_err().to_string()
}

fn described(settings: &Settings) -> String {
    let mut text = Vec::new();
    settings.describe(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn every_option_is_explained_under_a_heading_and_has_a_variable_of_its_own() {
    let mut command = command();
    let help = command.render_long_help().to_string();
    let mut variables = BTreeSet::new();
    for option in command.get_arguments() {
        let name = option.get_long().unwrap();
        assert!(help.contains(&format!("--{name}")), "{name} is in the help");
        let sentence = option.get_help().unwrap().to_string();
        assert!(sentence.chars().next().unwrap().is_uppercase() && sentence.len() > 10, "{name}: {sentence}");
        if option.get_help_heading() == Some(INSTEAD) || ["help", "version"].contains(&name) {
            assert!(option.get_env().is_none(), "{name} is asked for on the command line only");
            continue;
        }
        let variable = option.get_env().unwrap_or_else(|| panic!("{name} has no variable")).to_str().unwrap();
        assert!(variable == "DATABASE_URL" || variable.starts_with("UNDERSTUDY_"), "{variable}");
        assert!(variables.insert(variable.to_owned()), "{variable} is one option's");
        assert!(help.contains(variable), "{variable} is in the help");
    }
}

#[test]
fn the_command_line_counts_before_the_file_and_the_file_before_the_default() {
    let settings = read_with("listen = '127.0.0.1:1'\nno-relay = true\nkeep-closed-lobbies-s = 7", &[]).unwrap();
    let config = settings.arguments.config().unwrap();
    assert_eq!((config.listen.port(), config.relay, config.closed_lobbies_kept.as_secs()), (1, None, 7));
    let settings = read_with("listen = '127.0.0.1:1'", &["--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!(settings.arguments.config().unwrap().listen.port(), 2);
    let settings = read_with("no-relay = false", &[]).unwrap();
    assert!(settings.arguments.config().unwrap().relay.is_some());
}

#[test]
fn the_check_says_where_each_option_comes_from_and_shows_no_secret() {
    let text = "log = 'debug'\ndatabase = 'postgres://u:hush@h/d'";
    let settings = read_with(text, &["--listen", "127.0.0.1:2", "--no-relay"]).unwrap();
    let described = described(&settings);
    for line in [
        "listen = \"127.0.0.1:2\"  # command line",
        "no-relay = true  # command line",
        "keep-closed-lobbies-s = 86400  # default",
        "# relay-secret-file is not set",
    ] {
        assert!(described.contains(line), "{line} in:\n{described}");
    }
    assert!(described.contains("log = \"debug\"  # ") && described.contains("options.toml"));
    assert!(described.contains("database = \"***\"") && !described.contains("hush"), "P18");
    let again = described.lines().filter(|line| !line.starts_with("database =")).collect::<Vec<_>>().join("\n");
    assert!(read_with(&again, &[]).is_ok(), "what is described can be read:\n{again}");
}

#[test]
fn what_the_file_says_wrongly_is_refused_with_the_options_name() {
    assert!(refusal("lisen = 'x'", &[]).ends_with("there is no option \"lisen\"; is \"listen\" meant?"));
    assert!(refusal("surprise = 'x'", &[]).ends_with("there is no option \"surprise\""));
    assert!(refusal("migrate-only = true", &[]).contains("no option \"migrate-only\""));
    assert!(refusal("listen = 'nowhere'", &[]).contains("options.toml: invalid value 'nowhere' for '--listen"));
    assert!(refusal("listen = ['127.0.0.1:1']", &[]).ends_with("listen is one text or number"));
    assert!(refusal("no-relay = 'yes'", &[]).ends_with("no-relay is true or false"));
    assert!(refusal("log = 'a'\nlog = 'b'", &[]).contains("line 2: "));
    let refused = refusal("[server]\nlisten = '127.0.0.1:1'", &[]);
    assert!(refused.contains("no option \"server\""), "{refused}");
}

/// P18.
#[test]
fn a_secret_that_is_refused_is_not_shown() {
    for refused in [
        refusal("database = 'mysql://u:hush@h/d'", &[]),
        refusal("", &["--database", "mysql://u:hush@h/d"]),
        refusal("database = 'postgres://u:hush@h/d", &[]),
    ] {
        assert!(!refused.contains("hush"), "{refused}");
    }
}

#[test]
fn an_error_on_the_command_line_is_not_blamed_on_the_file() {
    let refused = refusal("listen = '127.0.0.1:1'", &["--listen", "nowhere"]);
    assert!(refused.starts_with("error: invalid value 'nowhere' for '--listen"), "{refused}");
    assert!(refusal("listen = '127.0.0.1:1'", &["--surprise"]).contains("unexpected argument '--surprise'"));
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let words = ["lobby-service", "--config", "./no/such/file.toml"].map(OsString::from);
    assert!(Settings::read(words).unwrap_err().to_string().starts_with("./no/such/file.toml: "));
    assert!(Settings::read([OsString::from("lobby-service")]).is_ok(), "without a name there need be none");
}

fn problems(words: &[&str]) -> Vec<String> {
    let settings = read_with("", words).unwrap();
    settings.arguments.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn the_check_finds_what_would_keep_the_service_from_starting() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        std::fs::write(Path::new(&path(name)), text).unwrap();
        path(name)
    };
    let key = path("key.der");
    let ok = ["--key-file", &key];
    assert_eq!(problems(&ok), [""; 0]);
    let (database, bad) = (write("database", "postgres://u:p@h/d\n"), write("bad", "mysql://u:hush@h/d"));
    assert_eq!(problems(&["--key-file", &key, "--database-file", &database]), [""; 0]);
    let found = problems(&["--key-file", &key, "--database-file", &bad]);
    assert!(found[0].starts_with("database-file: ") && !found[0].contains("hush"), "{found:?}");
    assert!(problems(&["--key-file", &path("none/key.der")])[0].starts_with("key-file: "));
    assert!(
        problems(&["--key-file", &key, "--relay-secret-file", &path("none")])[0].starts_with("relay-secret-file: ")
    );
    assert!(problems(&["--key-file", &key, "--log", "=,="])[0].starts_with("log: "));
    assert!(problems(&["--key-file", &write("no-key", "x")])[0].starts_with("key-file: "));
    let turn = ["--key-file", &key, "--turn-url", "turn:turn.example:3478,turns:turn.example:443?transport=tcp"];
    assert!(problems(&turn)[0].starts_with("turn-url: it needs the servers' secret"));
    let secret = write("turn-secret", "hush\n");
    assert_eq!(problems(&[&turn[..], &["--turn-secret-file", &secret]].concat()), [""; 0]);
    assert!(
        problems(&[&turn[..], &["--turn-secret-file", &path("none")]].concat())[0].starts_with("turn-secret-file: ")
    );
    assert!(refusal("turn-url = 'turn.example'", &[]).contains("a TURN server is turn:HOST:PORT"));
    assert!(refusal("turn-credential-life-s = 1", &[]).contains("60 to 86400 seconds"));
    assert!(!Path::new(&key).exists(), "nothing is made by a check");
}
