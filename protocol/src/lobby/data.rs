//! Texts that a game keeps with its lobby and with its members, who sees them, and by which of them lobbies are found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::limits;

/// Who sees a value. Whoever may change it sees it too, and so do the game's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DataVisibility {
    /// Everybody who sees the lobby.
    Public,
    /// Its members.
    #[default]
    Member,
    /// For a lobby's value: its host, whoever that is. For a member's: that member.
    Private,
}

/// What lobbies can be found and ordered by, beside their own fields: five texts and five numbers, whose meaning is the game's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Index {
    /// A text of less than 128 bytes.
    S1,
    /// A text of less than 128 bytes.
    S2,
    /// A text of less than 128 bytes.
    S3,
    /// A text of less than 128 bytes.
    S4,
    /// A text of less than 128 bytes.
    S5,
    /// A finite number, as text.
    N1,
    /// A finite number, as text.
    N2,
    /// A finite number, as text.
    N3,
    /// A finite number, as text.
    N4,
    /// A finite number, as text.
    N5,
}

impl Index {
    /// Which of the five numbers it is, from 0; `None` for a text.
    #[must_use]
    pub const fn number(self) -> Option<usize> {
        match self {
            Self::S1 | Self::S2 | Self::S3 | Self::S4 | Self::S5 => None,
            Self::N1 | Self::N2 | Self::N3 | Self::N4 | Self::N5 => Some(self as usize - Self::N1 as usize),
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DataValue {
    /// At most 8,192 bytes; control characters other than tabulators and line ends are refused.
    pub value: String,
    /// Who sees it.
    #[serde(default)]
    pub visibility: DataVisibility,
    /// What it is found by. Only a lobby's public values can be indexed, each index once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Index>,
}

/// Values by their keys.
pub type Data = BTreeMap<String, DataValue>;

/// What becomes of values: a key with nothing is removed, one that is not named stays.
pub type DataPatch = BTreeMap<String, Option<DataValue>>;

/// Bytes of keys and values.
pub(super) fn bytes(data: &Data) -> usize {
    data.iter().map(|(key, value)| key.len() + value.value.len()).sum()
}

/// What others may see.
pub(super) fn visible(data: &Data, sees: impl Fn(DataVisibility) -> bool) -> Data {
    data.iter().filter(|(_, value)| sees(value.visibility)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// How many values, and of which kind, an owner may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// As the field is named in the API.
    pub(super) field: &'static str,
    pub(super) keys: usize,
    pub(super) bytes: usize,
    pub(super) has_indexes: bool,
}

pub(super) const OF_LOBBY: Bounds =
    Bounds { field: "data", keys: limits::LOBBY_DATA_KEYS_MAX, bytes: limits::LOBBY_DATA_BYTES_MAX, has_indexes: true };
pub(super) const OF_MEMBER: Bounds = Bounds {
    field: "data",
    keys: limits::MEMBER_DATA_KEYS_MAX,
    bytes: limits::MEMBER_DATA_BYTES_MAX,
    has_indexes: false,
};

/// What a patch changes, apart by who may see it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// For members. What they cannot see any more is gone to them.
    pub(super) shared: DataPatch,
    /// For the host, or the member whose values they are.
    pub(super) private: DataPatch,
}

/// The values after a patch, and what that changes.
///
/// # Errors
/// [`Rejection::Invalid`] for a value that breaks a rule; [`Rejection::TooMuch`] for too many, or too large ones.
pub(super) fn patched(data: &Data, patch: DataPatch, bounds: Bounds) -> Result<(Data, Changes), Rejection> {
    let mut next = data.clone();
    let mut changes = Changes::default();
    for (key, value) in patch {
        check_key(&key, bounds)?;
        if let Some(value) = &value {
            check_value(value, bounds)?;
        }
        let before = match &value {
            Some(value) => next.insert(key.clone(), value.clone()),
            None => next.remove(&key),
        };
        if before != value {
            changes.note(key, before.as_ref(), value);
        }
    }
    if next.len() > bounds.keys || bytes(&next) > bounds.bytes {
        return Err(Rejection::TooMuch { what: bounds.field });
    }
    check_indexes(&next, bounds)?;
    Ok((next, changes))
}

impl Changes {
    fn note(&mut self, key: String, before: Option<&DataValue>, after: Option<DataValue>) {
        let is_private = |value: &DataValue| value.visibility == DataVisibility::Private;
        let (was_private, is_private) = (before.is_some_and(is_private), after.as_ref().is_some_and(is_private));
        if is_private || (was_private && after.is_none()) {
            self.private.insert(key.clone(), after);
            // Others see that it is gone, once.
            if is_private && before.is_some() && !was_private {
                self.shared.insert(key, None);
            }
        } else {
            self.shared.insert(key, after);
        }
    }
}

fn check_key(key: &str, bounds: Bounds) -> Result<(), Rejection> {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !(1..=limits::DATA_KEY_BYTES_MAX).contains(&key.len()) || !is_plain {
        let rule = "keys have 1 to 64 letters, digits, dashes, dots and underscores";
        return Err(Rejection::Invalid { field: bounds.field, rule });
    }
    Ok(())
}

fn check_value(value: &DataValue, bounds: Bounds) -> Result<(), Rejection> {
    let invalid = |rule| Err(Rejection::Invalid { field: bounds.field, rule });
    if value.value.len() > limits::DATA_VALUE_BYTES_MAX {
        return invalid("a value has at most 8192 bytes");
    }
    if value.value.chars().any(|letter| letter.is_control() && !matches!(letter, '\t' | '\n' | '\r')) {
        return invalid("without control characters");
    }
    let Some(index) = value.index else { return Ok(()) };
    if !bounds.has_indexes {
        return invalid("a member's values are not indexed");
    }
    if value.visibility != DataVisibility::Public {
        return invalid("only public values are indexed");
    }
    match index.number() {
        Some(_) if value.number().is_none() => invalid("a value of n1 to n5 is a finite number"),
        None if value.value.len() >= limits::INDEXED_BYTES_MAX => {
            invalid("a value of s1 to s5 has less than 128 bytes")
        }
        Some(_) | None => Ok(()),
    }
}

impl DataValue {
    /// The number that it is, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        self.value.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

fn check_indexes(data: &Data, bounds: Bounds) -> Result<(), Rejection> {
    let mut indexes: Vec<_> = data.values().filter_map(|value| value.index).collect();
    let count = indexes.len();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() < count {
        return Err(Rejection::Invalid { field: bounds.field, rule: "each index is used once" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, visibility: DataVisibility) -> DataValue {
        DataValue { value: text.into(), visibility, index: None }
    }

    fn patch(entries: &[(&str, Option<DataValue>)]) -> DataPatch {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_patch_sets_and_removes_and_leaves_the_rest() {
        let (data, _) = patched(
            &Data::new(),
            patch(&[("a", Some(value("1", DataVisibility::Public))), ("b", Some(value("2", DataVisibility::Member)))]),
            OF_LOBBY,
        )
        .unwrap();
        let (data, changes) = patched(&data, patch(&[("a", None), ("c", None)]), OF_LOBBY).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(changes, Changes { shared: patch(&[("a", None)]), private: DataPatch::new() }, "c was not there");
        let same = patch(&[("b", Some(value("2", DataVisibility::Member)))]);
        assert_eq!(patched(&data, same, OF_LOBBY).unwrap().1, Changes::default(), "nothing has changed");
    }

    #[test]
    fn what_becomes_private_is_gone_to_the_others_and_nothing_else_is_said() {
        let (public, private) = (value("1", DataVisibility::Public), value("1", DataVisibility::Private));
        let change = |before: &Option<DataValue>, after: &Option<DataValue>| {
            let data = before.iter().map(|value| ("a".to_owned(), value.clone())).collect();
            patched(&data, patch(&[("a", after.clone())]), OF_LOBBY).unwrap().1
        };
        let (public, private) = (Some(public), Some(private));
        let only = |value: &Option<DataValue>| patch(&[("a", value.clone())]);
        assert_eq!(change(&public, &private), Changes { shared: only(&None), private: only(&private) });
        assert_eq!(change(&None, &private), Changes { shared: DataPatch::new(), private: only(&private) });
        assert_eq!(change(&private, &None), Changes { shared: DataPatch::new(), private: only(&None) });
        assert_eq!(change(&private, &public), Changes { shared: only(&public), private: DataPatch::new() });
    }

    #[test]
    fn values_have_bounds_and_indexes_have_rules() {
        let refuses =
            |key: &str, value: DataValue, bounds| patched(&Data::new(), patch(&[(key, Some(value))]), bounds).is_err();
        let indexed = |text: &str, index| DataValue { index: Some(index), ..value(text, DataVisibility::Public) };
        assert!(!refuses("mode-1.x_Y", indexed("ctf", Index::S1), OF_LOBBY));
        assert!(!refuses("level", indexed("-1.5e3", Index::N5), OF_LOBBY));
        for (key, wrong) in [
            ("", value("", DataVisibility::Public)),
            ("a b", value("", DataVisibility::Public)),
            ("a", value("\0", DataVisibility::Public)),
            ("a", value(&"x".repeat(limits::DATA_VALUE_BYTES_MAX + 1), DataVisibility::Public)),
            ("a", indexed("ten", Index::N1)),
            ("a", indexed("NaN", Index::N1)),
            ("a", indexed(&"x".repeat(limits::INDEXED_BYTES_MAX), Index::S1)),
            ("a", DataValue { visibility: DataVisibility::Member, ..indexed("1", Index::S1) }),
        ] {
            assert!(refuses(key, wrong, OF_LOBBY));
        }
        assert!(refuses("a", indexed("1", Index::S1), OF_MEMBER));
        let twice = patch(&[("a", Some(indexed("1", Index::S1))), ("b", Some(indexed("2", Index::S1)))]);
        assert!(patched(&Data::new(), twice, OF_LOBBY).is_err());
        let many =
            (0..=limits::LOBBY_DATA_KEYS_MAX).map(|key| (key.to_string(), Some(value("", DataVisibility::Public))));
        assert_eq!(patched(&Data::new(), many.collect(), OF_LOBBY), Err(Rejection::TooMuch { what: "data" }));
    }
}
