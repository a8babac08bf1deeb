//! What JSON of strangers may be, before it is read for its meaning.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use protocol::limits;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and lists within each other.
const DEPTH_MAX: usize = 16;
/// Keys of an object: a server of a game changes that many members at once.
const KEYS_MAX: usize = limits::MEMBERS_MAX as usize;

/// Refuses what is no JSON, nests too deeply, has an object with too many keys or with a key twice, or holds U+0000, which
/// Postgres cannot keep in text. Keys are compared as they are meant, not as they are escaped.
///
/// # Errors
/// The parser's, or which of the rules is broken.
pub(super) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut source = serde_json::Deserializer::from_slice(bytes);
    Checked { depth: 0 }.deserialize(&mut source)?;
    source.end()
}

/// One value, so many objects and lists deep.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {DEPTH_MAX} deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    /// The parser refuses a number that is out of a float's range.
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(E::custom("text with U+0000")) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while list.next_element_seed(deeper)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut keys: BTreeSet<Cow<'de, str>> = BTreeSet::new();
        while let Some(Key(key)) = object.next_key()? {
            self.visit_str(&key)?;
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} twice")));
            }
            if keys.len() == KEYS_MAX {
                return Err(A::Error::custom(format_args!("an object with more than {KEYS_MAX} keys")));
            }
            keys.insert(key);
            object.next_value_seed(deeper)?;
        }
        Ok(())
    }
}

/// A key, copied only if it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    fn refusal(text: &str) -> String {
        check(text.as_bytes()).expect_err(text).to_string()
    }

    fn nested(depth: usize) -> String {
        format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_a_client_means_is_taken() {
        for text in
            ["{}", "null", "[1, -2, 3.5e300, true, \"\\u00e4\\n\", {}]", "18446744073709551615", "\"\\ud83d\\ude00\""]
        {
            check(text.as_bytes()).expect(text);
        }
        check(nested(DEPTH_MAX).as_bytes()).unwrap();
        check(r#"{"a": {"b": 1}, "b": {"a": 1}}"#.as_bytes()).expect("equal keys of different objects");
    }

    #[test]
    fn what_nests_too_deeply_is_refused_however_deep() {
        for depth in [DEPTH_MAX + 1, 100, 1_000, 100_000] {
            assert!(refusal(&nested(depth)).starts_with("nested more than 16 deep"));
            assert!(refusal(&"{\"a\":".repeat(depth)).starts_with("nested more than 16 deep"));
        }
    }

    #[test]
    fn an_object_has_so_many_keys_and_each_once() {
        let object = |keys| Value::from(Map::from_iter((0..keys).map(|key| (format!("k{key}"), 0.into())))).to_string();
        check(object(KEYS_MAX).as_bytes()).unwrap();
        assert!(refusal(&object(KEYS_MAX + 1)).starts_with("an object with more than 1000 keys"));
        assert!(refusal(r#"{"a": 1, "b": 2, "a": 1}"#).starts_with("the key \"a\" twice"));
        assert!(
            refusal(r#"[{"x": {"a": 1, "\u0061": 2}}]"#).starts_with("the key \"a\" twice"),
            "however it is written"
        );
    }

    #[test]
    fn the_character_that_postgres_cannot_keep_is_refused_wherever_it_stands() {
        for text in [r#""\u0000""#, r#"{"a": ["b\u0000"]}"#, r#"{"a\u0000": 1}"#] {
            assert!(refusal(text).starts_with("text with U+0000"));
        }
        check(br#""\\u0000""#).expect("a backslash and five characters");
    }

    #[test]
    fn numbers_out_of_range_and_what_is_no_json_are_refused() {
        for text in ["1e400", "-1e999", "01", "+1", "NaN", "", "{", "{}{}", "{\"a\" 1}", "\"\u{1}\"", "{a: 1}", "[1,]"]
        {
            refusal(text);
        }
        assert!(check(b"\"\xff\"").is_err(), "no UTF-8");
    }

    /// What another parser builds from random text obeys the rules if and only if it passes.
    #[test]
    fn it_agrees_with_a_reading_of_the_whole_value() {
        fn obeys(value: &Value, depth: usize) -> bool {
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => true,
                Value::String(text) => !text.contains('\0'),
                Value::Array(list) => depth < DEPTH_MAX && list.iter().all(|value| obeys(value, depth + 1)),
                Value::Object(object) => {
                    depth < DEPTH_MAX
                        && object.len() <= KEYS_MAX
                        && object.iter().all(|(key, value)| !key.contains('\0') && obeys(value, depth + 1))
                }
            }
        }
        const PIECES: [&str; 16] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "1",
            "-2.5",
            "null",
            "\"a\"",
            "\"b\"",
            "\"\\u0000\"",
            "\"c\":",
            "\"d\":[",
            " ",
            "true",
        ];
        let (mut state, mut taken, mut refused) = (1_u64, 0, 0);
        for _ in 0..200_000 {
            let mut text = String::new();
            let length = (state >> 60) + 1;
            for _ in 0..length {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(PIECES[(state >> 33) as usize % PIECES.len()]);
            }
            let Ok(value) = serde_json::from_str::<Value>(&text) else {
                assert!(check(text.as_bytes()).is_err(), "{text}");
                continue;
            };
            // A key that stands twice is lost in the value; then the text is the longer one.
            let is_whole = value.to_string().matches(':').count() == text.matches(':').count();
            assert_eq!(check(text.as_bytes()).is_ok(), is_whole && obeys(&value, 0), "{text}");
            if is_whole && obeys(&value, 0) { taken += 1 } else { refused += 1 }
        }
        assert!(taken > 1000 && refused > 10, "{taken} taken and {refused} refused");
    }
}
