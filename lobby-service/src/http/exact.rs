//! Reads JSON as its schema says. serde takes lists of a struct's fields for the struct, and refuses 51.0 where a whole number is due;
//! to JSON Schema a list is no object, and 51.0 is the number 51 (2020-12, core section 6.3: some languages write it so).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// What is read so; and what stands around each part of serde that has a hand in it.
#[derive(Debug)]
pub(super) struct Exact<T>(pub(super) T);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Exact(deserializer)).map(Self)
    }
}

macro_rules! forward {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Exact(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Exact<D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Exact(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Exact(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Exact(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, Exact(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, length, Exact(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Exact(visitor))
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Exact<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V::Value, E> {
        match whole(number) {
            Some(whole) => self.0.visit_u64(whole),
            None => self.0.visit_f64(number),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Exact(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Exact(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Exact(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Exact(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(variant)
    }
}

/// The whole number that it is, if it is one that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and within the bounds: nothing is lost"
)]
fn whole(number: f64) -> Option<u64> {
    /// 2^64: the least number that is past a `u64`.
    const PAST: f64 = 18_446_744_073_709_551_616.0;
    (number.fract() == 0.0 && (0.0..PAST).contains(&number)).then_some(number as u64)
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Exact<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Exact<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Exact<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Exact(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protocol::id::{ConnectionId, HostEpoch};
    use protocol::lobby::{SettingsPatch, Visibility};
    use serde::Deserialize;

    use super::Exact;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        epoch: Option<HostEpoch>,
        #[serde(default)]
        settings: SettingsPatch,
        #[serde(default)]
        by_name: BTreeMap<String, Option<SettingsPatch>>,
        #[serde(default)]
        seats: Vec<ConnectionId>,
    }

    fn read(json: &str) -> Result<Outer, serde_json::Error> {
        serde_json::from_str(json).map(|Exact(outer)| outer)
    }

    #[test]
    fn whole_numbers_may_have_a_point_at_any_depth() {
        let outer = r#"{ "epoch": 51.0, "settings": { "max_members": 5e0, "visibility": "private" }, "seats": [0, 1.0, -0.0] }"#;
        let outer = read(outer).unwrap();
        assert_eq!(outer.epoch, Some(HostEpoch(51)));
        assert_eq!(outer.settings.max_members, Some(5));
        assert_eq!(outer.settings.visibility, Some(Visibility::Private));
        assert_eq!(outer.seats, [0, 1, 0].map(ConnectionId));
        assert_eq!(read(r#"{ "epoch": 18446744073709551615 }"#).unwrap().epoch, Some(HostEpoch(u64::MAX)));
        for number in ["51.5", "-1", "-1.0", "18446744073709551616", "1e400", "\"51\"", "true", "[51]"] {
            assert!(read(&format!(r#"{{ "epoch": {number} }}"#)).is_err(), "{number}");
        }
        assert!(read(r#"{ "seats": [4294967296.0] }"#).is_err());
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        assert!(read(r#"{ "by_name": { "a": null, "b": {} } }"#).is_ok());
        for json in ["[null]", "null", r#"{ "settings": [null, 5] }"#, r#"{ "by_name": { "a": [] } }"#] {
            assert!(read(json).is_err(), "{json}");
        }
        assert!(read(r#"{ "epoch": 1, "epoch": 1 }"#).is_err(), "nor is a field there twice");
    }
}
