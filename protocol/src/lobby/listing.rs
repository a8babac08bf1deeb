//! How lobbies are found: filters and order over what stands in the public list. The definition that databases follow.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::LobbyId;
use crate::limits;

use super::data::Index;
use super::{Lobby, Visibility};

/// What lobbies are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Seats.
    MaxMembers,
    /// Seats that are free.
    AvailableSeats,
    /// The name, without regard to case.
    Name,
    /// The build that its members play.
    BuildId,
    /// When it was created, in ms since the Unix epoch.
    CreatedAt,
    /// When something happened to it the last time, in ms since the Unix epoch.
    UpdatedAt,
    /// `true` or `false`: whether nobody can join.
    Locked,
    /// `true` or `false`: whether newcomers need a password.
    HasPassword,
    /// The text with this index.
    S1,
    /// The text with this index.
    S2,
    /// The text with this index.
    S3,
    /// The text with this index.
    S4,
    /// The text with this index.
    S5,
    /// The number with this index.
    N1,
    /// The number with this index.
    N2,
    /// The number with this index.
    N3,
    /// The number with this index.
    N4,
    /// The number with this index.
    N5,
}

/// Of which kind a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Compared byte by byte.
    Text,
    /// Compared as 64-bit floating point numbers.
    Number,
    /// False before true.
    Truth,
}

impl Field {
    /// Of which kind its values are.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Name | Self::BuildId | Self::S1 | Self::S2 | Self::S3 | Self::S4 | Self::S5 => Kind::Text,
            Self::Locked | Self::HasPassword => Kind::Truth,
            Self::MaxMembers
            | Self::AvailableSeats
            | Self::CreatedAt
            | Self::UpdatedAt
            | Self::N1
            | Self::N2
            | Self::N3
            | Self::N4
            | Self::N5 => Kind::Number,
        }
    }

    /// A value of this field as it stands in a request.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] if it is none.
    fn read(self, text: &str) -> Result<Value, Rejection> {
        let invalid = |rule| Rejection::Invalid { field: "filter.value", rule };
        if text.len() > limits::DATA_VALUE_BYTES_MAX || text.contains('\0') {
            return Err(invalid("at most 8192 bytes, without NUL"));
        }
        match self.kind() {
            Kind::Text if self == Self::Name => Ok(Value::Text(text.to_lowercase())),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Number => match text.parse() {
                Ok(number) if f64::is_finite(number) => Ok(Value::Number(number)),
                Ok(_) | Err(_) => Err(invalid("a finite number, as text")),
            },
            Kind::Truth => text.parse().map(Value::Truth).map_err(|_| invalid("true or false")),
        }
    }
}

/// A value of a field. Two of one field are of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// False before true.
    Truth(bool),
    /// Never NaN.
    Number(f64),
    /// Compared byte by byte.
    Text(String),
}

impl Value {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Truth(one), Self::Truth(other)) => one.cmp(other),
            // As a database does it: the two zeros are one number.
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Truth(_) | Self::Number(_) | Self::Text(_), _) => Ordering::Equal,
        }
    }
}

/// How a lobby's value is compared with a filter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// The name contains the text, without regard to case. For names only.
    Contains,
    /// Equal.
    Eq,
    /// Another one.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// A condition, as it stands in a request. A lobby that has no value there does not fulfil it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// What is compared.
    pub field: Field,
    /// How.
    pub op: Operator,
    /// With what: numbers and truth values as text too.
    pub value: String,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is compared. Lobbies that have no value there come last either way.
    pub field: Field,
    /// The least first.
    #[serde(default)]
    pub ascending: bool,
}

/// A condition that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is compared.
    pub field: Field,
    /// How.
    pub operator: Operator,
    /// With what: of the field's kind.
    pub value: Value,
}

/// A place in the order: the last lobby of the page before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Its values of the fields in the order.
    pub values: Vec<Option<Value>>,
    /// Its id, which decides at last.
    pub id: LobbyId,
}

/// What lobbies are looked for, and which page of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What comes first; then the lower id.
    pub order: Vec<Order>,
    /// The page starts after it.
    pub after: Option<Position>,
    /// Passed over before the first of the page.
    pub skip: u32,
    /// Lobbies on the page.
    pub count: u32,
}

impl Query {
    /// Understands a request.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for too many filters, a value that is none of its field's, or a position of another order.
    pub fn new(filters: &[Filter], order: Vec<Order>, after: Option<Position>) -> Result<Self, Rejection> {
        if filters.len() > limits::FILTERS_MAX {
            return Err(Rejection::Invalid { field: "filter", rule: "at most 16" });
        }
        if order.len() > limits::ORDERS_MAX {
            return Err(Rejection::Invalid { field: "order", rule: "at most 4" });
        }
        let understood = filters.iter().map(|filter| {
            if filter.op == Operator::Contains && filter.field != Field::Name {
                return Err(Rejection::Invalid { field: "filter.op", rule: "contains is for names only" });
            }
            let value = filter.field.read(&filter.value)?;
            Ok(Condition { field: filter.field, operator: filter.op, value })
        });
        let conditions = understood.collect::<Result<_, _>>()?;
        if after.as_ref().is_some_and(|after| !after.fits(&order)) {
            return Err(Rejection::Invalid { field: "continuation", rule: "of a query with the same order" });
        }
        Ok(Self { conditions, order, after, skip: 0, count: limits::LIST_PAGE_MAX })
    }

    /// Whether a lobby is looked for.
    #[must_use]
    pub fn matches(&self, listing: &Listing) -> bool {
        self.conditions.iter().all(|condition| condition.holds(listing))
    }

    /// Which of two lobbies comes first.
    #[must_use]
    pub fn compare(&self, one: &Position, other: &Position) -> Ordering {
        for (index, order) in self.order.iter().enumerate() {
            let of = |position: &Position| position.values.get(index).cloned().flatten();
            let ordering = match (of(one), of(other)) {
                (Some(one), Some(other)) if order.ascending => one.compare(&other),
                (Some(one), Some(other)) => other.compare(&one),
                (one, other) => other.is_some().cmp(&one.is_some()),
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        one.id.cmp(&other.id)
    }

    /// Where a lobby stands in the order.
    #[must_use]
    pub fn position(&self, id: LobbyId, listing: &Listing) -> Position {
        Position { values: self.order.iter().map(|order| listing.value(order.field)).collect(), id }
    }
}

impl Position {
    fn fits(&self, order: &[Order]) -> bool {
        let is_of = |value: &Option<Value>, field: Field| match (value, field.kind()) {
            (None, _) | (Some(Value::Truth(_)), Kind::Truth) => true,
            (Some(Value::Number(number)), Kind::Number) => number.is_finite(),
            (Some(Value::Text(text)), Kind::Text) => !text.contains('\0'),
            (Some(Value::Truth(_) | Value::Number(_) | Value::Text(_)), _) => false,
        };
        self.values.len() == order.len()
            && self.values.iter().zip(order).all(|(value, order)| is_of(value, order.field))
    }
}

impl Condition {
    fn holds(&self, listing: &Listing) -> bool {
        let Some(value) = listing.value(self.field) else { return false };
        let ordering = value.compare(&self.value);
        match self.operator {
            Operator::Contains => match (&value, &self.value) {
                (Value::Text(text), Value::Text(part)) => text.contains(part),
                (Value::Truth(_) | Value::Number(_) | Value::Text(_), _) => false,
            },
            Operator::Eq => ordering == Ordering::Equal,
            Operator::Ne => ordering != Ordering::Equal,
            Operator::Lt => ordering == Ordering::Less,
            Operator::Le => ordering != Ordering::Greater,
            Operator::Gt => ordering == Ordering::Greater,
            Operator::Ge => ordering != Ordering::Less,
        }
    }
}

/// What lobbies are found by: what a database keeps in columns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listing {
    /// It stands in the list: public, open, and somebody is connected. Nothing else of a lobby that does not is looked at.
    pub is_listed: bool,
    /// In lower case.
    pub name: String,
    /// The build that its members play.
    pub build_id: String,
    /// Seats.
    pub max_members: u32,
    /// Seats that are free.
    pub available: u32,
    /// In ms since the Unix epoch.
    pub created_at: u64,
    /// In ms since the Unix epoch.
    pub updated_at: u64,
    /// Nobody can join.
    pub is_locked: bool,
    /// Newcomers need a password.
    pub has_password: bool,
    /// The values with the indexes s1 to s5.
    pub texts: [Option<String>; 5],
    /// The values with the indexes n1 to n5.
    pub numbers: [Option<f64>; 5],
}

impl Listing {
    /// A lobby's value of a field, if it has one.
    #[must_use]
    pub fn value(&self, field: Field) -> Option<Value> {
        let number = |number: f64| Some(Value::Number(number));
        match field {
            Field::MaxMembers => number(self.max_members.into()),
            Field::AvailableSeats => number(self.available.into()),
            Field::CreatedAt => number(self.created_at as f64),
            Field::UpdatedAt => number(self.updated_at as f64),
            Field::Name => Some(Value::Text(self.name.clone())),
            Field::BuildId => Some(Value::Text(self.build_id.clone())),
            Field::Locked => Some(Value::Truth(self.is_locked)),
            Field::HasPassword => Some(Value::Truth(self.has_password)),
            Field::S1 | Field::S2 | Field::S3 | Field::S4 | Field::S5 => {
                self.texts[field as usize - Field::S1 as usize].clone().map(Value::Text)
            }
            Field::N1 | Field::N2 | Field::N3 | Field::N4 | Field::N5 => {
                self.numbers[field as usize - Field::N1 as usize].map(Value::Number)
            }
        }
    }
}

impl Lobby {
    /// What it is found by.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let mut listing = Listing {
            is_listed: self.settings.visibility == Visibility::Public
                && !self.closed
                && self.connected().next().is_some(),
            name: self.name.to_lowercase(),
            build_id: self.build_id.clone(),
            max_members: self.settings.max_members,
            available: self.settings.max_members.saturating_sub(u32::try_from(self.members.len()).unwrap_or(u32::MAX)),
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            is_locked: self.settings.locked,
            has_password: self.password.is_some(),
            ..Listing::default()
        };
        for value in self.data.values() {
            match value.index {
                Some(index @ (Index::S1 | Index::S2 | Index::S3 | Index::S4 | Index::S5)) => {
                    listing.texts[index as usize] = Some(value.value.clone());
                }
                Some(index) => {
                    if let Some(place) = index.number().and_then(|number| listing.numbers.get_mut(number)) {
                        *place = value.number();
                    }
                }
                None => {}
            }
        }
        listing
    }
}
