//! A query as SQL. Only names from a fixed list are written into it; all values are bound.

use protocol::id::LobbyId;
use protocol::lobby::listing::{Condition, Field, Operator, Order, Query, Value};
use sqlx::{Database, Encode, QueryBuilder, Type};

/// Whole numbers up to this one are the same as 64-bit floating point numbers.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// What can be bound.
pub(super) trait Bindable<DB: Database>: for<'t> Encode<'t, DB> + Type<DB> {}

impl<DB: Database, T: for<'t> Encode<'t, DB> + Type<DB>> Bindable<DB> for T {}

/// A statement that selects the rows of lobbies.
pub(super) struct Select<DB: Database>(QueryBuilder<DB>);

impl<DB: Database> Select<DB>
where
    bool: Bindable<DB>,
    i64: Bindable<DB>,
    f64: Bindable<DB>,
    String: Bindable<DB>,
    Vec<u8>: Bindable<DB>,
{
    /// The rows that a query looks for, except the first of its page. `place_of` is the database's function that finds a part in a
    /// text: 0 if it is not there.
    pub(super) fn rows(query: &Query, place_of: &str, except: usize, count: usize) -> QueryBuilder<DB> {
        let mut select = Self(QueryBuilder::new("SELECT id, version, body_format, body FROM lobbies WHERE listed"));
        for condition in &query.conditions {
            select.0.push(" AND ");
            select.condition(condition, place_of);
        }
        if let Some(after) = &query.after {
            let terms: Vec<_> = query.order.iter().zip(&after.values).collect();
            select.0.push(" AND ");
            select.after(&terms, after.id);
        }
        select.0.push(" ORDER BY ");
        for order in &query.order {
            let direction = if order.ascending { "ASC" } else { "DESC" };
            let absent = if may_be_absent(order.field) { " NULLS LAST" } else { "" };
            select.0.push(format_args!("{} {direction}{absent}, ", column(order.field)));
        }
        select.0.push("id LIMIT ").push_bind(count as i64);
        select.0.push(" OFFSET ").push_bind(i64::from(query.skip) + except as i64);
        select.0
    }

    /// Nothing is true of a value that is absent: it is NULL.
    fn condition(&mut self, condition: &Condition, place_of: &str) {
        let name = column(condition.field);
        let operator = match condition.operator {
            Operator::Contains => {
                self.0.push(format_args!("{place_of}({name}, "));
                self.value(condition.field, &condition.value);
                self.0.push(") > 0");
                return;
            }
            Operator::Eq => "=",
            Operator::Ne => "<>",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
        };
        self.0.push(format_args!("{name} {operator} "));
        self.value(condition.field, &condition.value);
    }

    /// What comes after a position: not before it by the first of the terms, and behind it by that or after it by the others. The
    /// first half is what an index is good for.
    fn after(&mut self, terms: &[(&Order, &Option<Value>)], id: LobbyId) {
        let Some(((order, value), others)) = terms.split_first() else {
            self.0.push("id > ").push_bind(id.as_bytes().to_vec());
            return;
        };
        let (field, name) = (order.field, column(order.field));
        let Some(value) = value else {
            self.0.push(format_args!("{name} IS NULL AND "));
            return self.after(others, id);
        };
        let operator = if order.ascending { ">" } else { "<" };
        let absent = if may_be_absent(field) { format!(" OR {name} IS NULL") } else { String::new() };
        self.0.push(format_args!("({name} {operator}= "));
        self.value(field, value);
        self.0.push(format_args!("{absent}) AND ({name} {operator} "));
        self.value(field, value);
        self.0.push(format_args!("{absent} OR ("));
        self.after(others, id);
        self.0.push("))");
    }

    /// A whole number is bound as one where the column is of whole numbers, or its index would be of no use. Statements are prepared
    /// once for each text, with the types of their first values: one with another type must be another text.
    fn value(&mut self, field: Field, value: &Value) {
        match value {
            Value::Truth(value) => self.0.push_bind(*value),
            Value::Text(value) => self.0.push_bind(value.clone()),
            Value::Number(value) if is_whole(field) && value.fract() == 0.0 && value.abs() <= WHOLE_MAX => {
                self.0.push_bind(*value as i64)
            }
            Value::Number(value) if is_whole(field) => {
                self.0.push("CAST(").push_bind(*value).push(" AS double precision)")
            }
            Value::Number(value) => self.0.push_bind(*value),
        };
    }
}

const fn column(field: Field) -> &'static str {
    match field {
        Field::MaxMembers => "max_members",
        Field::AvailableSeats => "available",
        Field::Name => "name_folded",
        Field::BuildId => "build_id",
        Field::CreatedAt => "created_at",
        Field::UpdatedAt => "updated_at",
        Field::Locked => "locked",
        Field::HasPassword => "has_password",
        Field::S1 => "s1",
        Field::S2 => "s2",
        Field::S3 => "s3",
        Field::S4 => "s4",
        Field::S5 => "s5",
        Field::N1 => "n1",
        Field::N2 => "n2",
        Field::N3 => "n3",
        Field::N4 => "n4",
        Field::N5 => "n5",
    }
}

const fn may_be_absent(field: Field) -> bool {
    field as u8 >= Field::S1 as u8
}

const fn is_whole(field: Field) -> bool {
    matches!(field, Field::MaxMembers | Field::AvailableSeats | Field::CreatedAt | Field::UpdatedAt)
}
