//! `--check-config`: what was chosen, where each choice comes from, and whether it can be used. Nothing but files is opened.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction};

use super::file::options;
use super::{Arguments, HIDDEN, Settings, Unusable, command};
use crate::auth::{AdminToken, Auth};
use crate::config::Key;

impl Settings {
    /// Writes each option as it could stand in a file, with where it comes from.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn describe(&self, mut out: impl Write) -> io::Result<()> {
        for argument in options(&command()) {
            let name = argument.get_long().unwrap_or_default();
            match self.value(argument) {
                Some(value) => writeln!(out, "{name} = {value}  # {}", self.source(argument))?,
                None => writeln!(out, "# {name} is not set")?,
            }
        }
        for note in self.notes() {
            writeln!(out, "# {note}")?;
        }
        Ok(())
    }

    fn value(&self, argument: &Arg) -> Option<String> {
        let id = argument.get_id().as_str();
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            return Some(self.matches.get_flag(id).to_string());
        }
        let values = self.matches.get_raw(id)?.map(|value| value.to_string_lossy());
        let hides = argument.is_hide_env_values_set() && !self.is_default(argument);
        let values: Vec<_> = values.map(|value| if hides { quoted(HIDDEN) } else { written(&value) }).collect();
        let is_list = matches!(argument.get_action(), ArgAction::Append);
        Some(if is_list { format!("[{}]", values.join(", ")) } else { values.concat() })
    }

    fn is_default(&self, argument: &Arg) -> bool {
        self.matches.value_source(argument.get_id().as_str()) == Some(ValueSource::DefaultValue)
    }

    fn source(&self, argument: &Arg) -> String {
        if self.from_file.contains(argument.get_id().as_str()) {
            return self.file.path().display().to_string();
        }
        match self.matches.value_source(argument.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line".to_owned(),
            Some(ValueSource::EnvVariable) => {
                argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            _ => "default".to_owned(),
        }
    }

    /// Secrets that more can read than this user: on some systems that cannot be helped, so that it is no error.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for argument in options(&command()).filter(|argument| is_secret_file(argument)) {
            let path = self.matches.try_get_one::<PathBuf>(argument.get_id().as_str()).ok().flatten();
            if let Some(path) = path.filter(|path| is_exposed(path)) {
                let name = argument.get_long().unwrap_or_default();
                notes.push(format!("note: {name}: others than the owner can read {}", path.display()));
            }
        }
        notes
    }
}

impl Arguments {
    /// Everything that would keep the service from starting, as far as files tell.
    #[must_use]
    pub fn problems(&self) -> Vec<Unusable> {
        let checks = [self.config().map(drop), self.log_filter().map(drop), self.check_key(), self.check_token()];
        checks.into_iter().filter_map(Result::err).collect()
    }

    fn check_key(&self) -> Result<(), Unusable> {
        if self.key_file.exists() {
            return Ok(Auth::new(&Key::File(self.key_file.clone()), &self.identity).map(drop)?);
        }
        check_folder("key-file", &self.key_file)
    }

    fn check_token(&self) -> Result<(), Unusable> {
        let path = &self.identity.admin_token_file;
        if path.exists() {
            return AdminToken::open(path).map(drop).map_err(Unusable::AdminToken);
        }
        check_folder("admin-token-file", path)
    }
}

/// A file that is made at the first start needs a folder.
fn check_folder(option: &'static str, path: &Path) -> Result<(), Unusable> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_none_or(Path::is_dir) { Ok(()) } else { Err(Unusable::Folder { option, path: path.to_owned() }) }
}

fn is_secret_file(argument: &Arg) -> bool {
    let name = argument.get_long().unwrap_or_default();
    name.ends_with("-file") && ["secret", "key", "token", "database"].iter().any(|word| name.contains(word))
}

#[cfg(unix)]
fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &Path) -> bool {
    false
}

/// A value as it would stand in the file.
pub(super) fn written(text: &str) -> String {
    if text.parse::<i64>().is_ok() { text.to_owned() } else { quoted(text) }
}

/// Rust's escapes are TOML's, but for characters that are in no option.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
