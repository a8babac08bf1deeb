//! The operator's choices.

use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

use super::{Class, ForwardedHeader, Limits, Network, Quota, Rate, RateError};

/// What an operator limits, as flags.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
#[group(id = "limits")]
pub struct Flags {
    /// Rate of a class of requests: CLASS=COUNT/SECONDS, with ,burst=N for as many at once, or CLASS=off. Repeatable;
    /// in the environment separated by semicolons.
    #[arg(long, env = "UNDERSTUDY_RATE_LIMIT", value_name = "CLASS=RATE", value_delimiter = ';', long_help = help())]
    rate_limit: Vec<Choice>,
    /// How many times the rates of players a server's API key has.
    #[arg(long, env = "UNDERSTUDY_API_KEY_RATE_FACTOR", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    api_key_rate_factor: u32,
    /// Proxies whose word about the client's address is taken: networks or addresses, separated by commas. Without it everybody
    /// behind a proxy counts as one address.
    #[arg(long, env = "UNDERSTUDY_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    trusted_proxies: Vec<Network>,
    /// The header that they write, and overwrite or append to if a client sends it. The other one is not read.
    #[arg(long, env = "UNDERSTUDY_FORWARDED_HEADER", value_enum, default_value_t)]
    forwarded_header: ForwardedHeader,
    /// Requests that are handled at a time; from half of it on searches are answered 503, then new lobbies, joins, and the rest.
    /// 0: any number.
    #[arg(long, env = "UNDERSTUDY_REQUESTS_MAX", default_value_t = Limits::default().requests_max)]
    requests_max: usize,
    /// That nothing is there is answered at a multiple of so many milliseconds after the request came, so that its time does not tell
    /// what is private from what does not exist. 0: at once.
    #[arg(long, env = "UNDERSTUDY_NOT_FOUND_GRID_MS", default_value_t = 20)]
    not_found_grid_ms: u32,
    /// Open lobbies that a player may host. 0: any number.
    #[arg(long, env = "UNDERSTUDY_HOSTED_LOBBIES_MAX", default_value_t = Limits::default().quota.hosted_max)]
    hosted_lobbies_max: u32,
    /// Open lobbies that a player may be in, those that it hosts included. 0: any number.
    #[arg(long, env = "UNDERSTUDY_JOINED_LOBBIES_MAX", default_value_t = Limits::default().quota.joined_max)]
    joined_lobbies_max: u32,
    /// Limits nothing of all this: to measure the service, or behind something that does it.
    #[arg(long, env = "UNDERSTUDY_NO_LIMITS")]
    no_limits: bool,
}

/// A class and its rate, if it has one.
#[derive(Debug, Clone, Copy)]
struct Choice(Class, Option<Rate>);

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (class, rate) = text.split_once('=').ok_or("CLASS=COUNT/SECONDS or CLASS=off is expected")?;
        let rate = match rate {
            "off" => None,
            rate => Some(rate.parse().map_err(|error: RateError| error.to_string())?),
        };
        Ok(Self(class.parse()?, rate))
    }
}

impl Flags {
    /// The limits that they make.
    #[must_use]
    pub fn limits(self) -> Limits {
        if self.no_limits {
            return Limits { trusted_proxies: self.trusted_proxies, ..Limits::off() };
        }
        let mut limits = Limits {
            api_key_factor: self.api_key_rate_factor,
            trusted_proxies: self.trusted_proxies,
            forwarded_header: self.forwarded_header,
            requests_max: self.requests_max,
            not_found_grid: Duration::from_millis(self.not_found_grid_ms.into()),
            quota: Quota { hosted_max: self.hosted_lobbies_max, joined_max: self.joined_lobbies_max },
            ..Limits::default()
        };
        for Choice(class, rate) in self.rate_limit {
            limits.rates.set(class, rate);
        }
        limits
    }
}

/// What the flag says of itself: all classes with the rates that they have without it.
fn help() -> String {
    let mut text =
        "Rate of a class of requests: CLASS=COUNT/SECONDS, with ,burst=N for as many at once after a pause, or \
                    CLASS=off. Repeatable; in the environment separated by semicolons.\n\n"
            .to_owned();
    for class in Class::ALL {
        let (rate, by, what) = (class.default_rate().to_string(), class.by(), class.what());
        // Text takes any text.
        let _ = writeln!(text, "{:22} {rate:18} by {by}: {what}", class.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: Flags,
    }

    fn parsed(arguments: &[&str]) -> Result<Limits, clap::Error> {
        Program::try_parse_from([&["program"], arguments].concat()).map(|program| program.limits.limits())
    }

    #[test]
    fn without_flags_the_defaults_hold() {
        assert_eq!(parsed(&[]).unwrap(), Limits::default());
    }

    #[test]
    fn a_class_is_changed_or_switched_off_and_the_others_stay() {
        let limits = parsed(&["--rate-limit", "create=7/60s,burst=9;join=off", "--rate-limit", "get=1/2"]).unwrap();
        assert_eq!(limits.rates.of(Class::Create), Some("7/60,burst=9".parse().unwrap()));
        assert_eq!(limits.rates.of(Class::Join), None);
        assert_eq!(limits.rates.of(Class::Get), Some("1/2".parse().unwrap()));
        assert_eq!(limits.rates.of(Class::Leave), Some(Class::Leave.default_rate()));
        assert_eq!(parsed(&["--no-limits", "--rate-limit", "create=7/60s"]).unwrap(), Limits::off());
    }

    #[test]
    fn proxies_are_named_by_network_or_address() {
        let limits =
            parsed(&["--trusted-proxies", "10.0.0.0/8,2001:db8::1", "--forwarded-header", "forwarded"]).unwrap();
        assert_eq!(limits.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "2001:db8::1/128".parse().unwrap()]);
        assert_eq!(limits.forwarded_header, ForwardedHeader::Forwarded);
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for text in ["create", "create=", "nothing=1/1", "create=0/1", "=off"] {
            assert!(parsed(&["--rate-limit", text]).is_err(), "{text}");
        }
        assert!(parsed(&["--trusted-proxies", "10.0.0.0/33"]).is_err());
        assert!(parsed(&["--api-key-rate-factor", "0"]).is_err());
    }

    /// The help is made of the code; the README is not.
    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../../../README.md");
        let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `")).collect();
        for class in Class::ALL {
            let row = format!("| `{class}` | {} | {} | {} |", class.default_rate(), class.by(), class.what());
            assert!(rows.contains(&row.as_str()), "the README lacks\n{row}");
        }
    }
}
