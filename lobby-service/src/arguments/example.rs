//! A file with every option, all commented out.

use clap::{Arg, ArgAction};

use super::check::written;
use super::command;
use super::file::options;

/// Characters of a line.
const WIDTH: usize = 100;

/// Writes the file: each option with its explanation and its default, so that a line counts once its `#` is taken away.
#[must_use]
pub fn example() -> String {
    let mut text =
        "# Options of lobby-service. What stands here is what holds without this file: take away the # to change it.\n\
                    # Each can be given by its variable or as a flag too, which count before this file.\n"
            .to_owned();
    let command = command();
    let mut heading = "Options";
    for option in options(&command) {
        let own = option.get_help_heading().unwrap_or("Options");
        if own != heading {
            text.push_str(&format!("\n## {own}\n"));
            heading = own;
        }
        text.push_str(&entry(option));
    }
    text
}

fn entry(option: &Arg) -> String {
    let help = option.get_long_help().or_else(|| option.get_help()).map(ToString::to_string).unwrap_or_default();
    let variable = option.get_env().unwrap_or_default().to_string_lossy();
    let name = option.get_long().unwrap_or_default();
    let explanation: String =
        wrapped(&format!("{help} ({variable})")).iter().map(|line| format!("# {line}\n")).collect();
    // A line that cannot be taken as it is has a space before its name.
    let line = match default(option) {
        Some(value) => format!("#{name} = {value}\n"),
        None => format!("# {name} is not set.\n"),
    };
    format!("\n{explanation}{line}")
}

fn default(option: &Arg) -> Option<String> {
    if matches!(option.get_action(), ArgAction::SetTrue) {
        return Some("false".to_owned());
    }
    let values: Vec<_> = option.get_default_values().iter().map(|value| written(&value.to_string_lossy())).collect();
    match (option.get_action(), values.is_empty()) {
        (_, true) => None,
        (ArgAction::Append, _) => Some(format!("[{}]", values.join(", "))),
        _ => Some(values.concat()),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
