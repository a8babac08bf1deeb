//! The file with options: `name = value` for each flag that has an environment variable.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::{INSTEAD, Unreadable, blamed};

/// Where the file is looked for, if none is named.
const DEFAULT: &str = "./understudy.toml";
/// More than all options with a comment each.
const BYTES_MAX: u64 = 1 << 20;
/// Names that are at least so much alike are taken for a slip of the pen.
const ALIKE: f64 = 0.8;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Where it is, if there is one.
    path: PathBuf,
    table: Table,
}

impl File {
    /// Reads the file that is named, or the one at the usual place, if it is there.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, Unreadable> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT));
        let refused = |reason: String| Unreadable::File { path: path.to_owned(), reason };
        if named.is_none() && !path.exists() {
            return Ok(Self::default());
        }
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
        read.map_err(|error| refused(error.to_string()))?;
        // The error shows the line, which may hold a secret: where it is and what is wrong will do.
        let table = text.parse().map_err(|error: toml::de::Error| refused(reason(&text, &error)))?;
        Ok(Self { path: path.to_owned(), table })
    }

    /// The ids of the options that it decides: they are neither on the command line nor in the environment.
    pub(super) fn decides(&self, command: &Command, given: &ArgMatches) -> BTreeSet<String> {
        let mentioned =
            options(command).filter(|option| option.get_long().is_some_and(|name| self.table.contains_key(name)));
        let ids = mentioned.map(|option| option.get_id().as_str());
        let is_open =
            |id: &&str| !matches!(given.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        ids.filter(is_open).map(str::to_owned).collect()
    }

    /// What it says of these options, as words of a command line.
    pub(super) fn words(&self, command: &Command, decided: &BTreeSet<String>) -> Result<Vec<OsString>, Unreadable> {
        let mut words = Vec::new();
        for (name, value) in &self.table {
            let option = options(command).find(|option| option.get_long() == Some(name));
            let option = option.ok_or_else(|| self.refuse(unknown(command, name)))?;
            let said = said(option, name, value).map_err(|reason| self.refuse(reason))?;
            if decided.contains(option.get_id().as_str()) {
                words.extend(said.into_iter().map(OsString::from));
            }
        }
        Ok(words)
    }

    /// Says of an error that it is the file's, if it is.
    pub(super) fn explain(&self, decided: &BTreeSet<String>, error: clap::Error) -> Unreadable {
        // clap makes a flag's name from its id by this rule.
        if !blamed(&error).is_some_and(|name| decided.contains(&name.replace('-', "_"))) {
            return error.into();
        }
        let text = error.to_string();
        let sentence = text.lines().next().unwrap_or_default();
        self.refuse(sentence.trim_start_matches("error: ").to_owned())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn refuse(&self, reason: String) -> Unreadable {
        Unreadable::File { path: self.path.clone(), reason }
    }
}

/// Options that may stand in the file: all but the file's own name and what is done instead of serving.
pub(super) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        argument.get_env().is_some() && argument.get_id() != "config" && argument.get_help_heading() != Some(INSTEAD)
    })
}

fn reason(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn unknown(command: &Command, name: &str) -> String {
    let known = options(command).filter_map(Arg::get_long);
    let nearest = known.map(|known| (strsim::jaro_winkler(known, name), known)).filter(|&(alike, _)| alike > ALIKE);
    match nearest.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, nearest)) => format!("there is no option {name:?}; is {nearest:?} meant?"),
        None => format!("there is no option {name:?}"),
    }
}

/// An option and its value, as words of a command line.
fn said(argument: &Arg, name: &str, value: &Value) -> Result<Vec<String>, String> {
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let takes_many = matches!(argument.get_action(), ArgAction::Append);
    if is_switch {
        let says = value.as_bool().ok_or_else(|| format!("{name} is true or false"))?;
        return Ok(says.then(|| format!("--{name}")).into_iter().collect());
    }
    let (values, rule) = match value.as_array().filter(|_| takes_many) {
        Some(values) => (values.as_slice(), "a list of texts or numbers"),
        None => (std::slice::from_ref(value), "one text or number"),
    };
    let words = values.iter().map(|value| Some(format!("--{name}={}", plain(value)?)));
    words.collect::<Option<_>>().ok_or_else(|| format!("{name} is {rule}"))
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
