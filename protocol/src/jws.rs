//! Signed tokens taken apart (RFC 7515, compact), as strictly as RFC 8725 asks for. Nothing in them is believed yet: shells verify
//! the signature before they look at the claims.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits;

/// Headers that bring a key, name a place to get one, or change what the signature covers.
const REFUSED: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"];

/// It is no token that anybody here would sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is malformed")]
pub struct Malformed;

/// A token, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Unverified<'a> {
    /// The algorithm that it says it is signed with. Compare it with the key's; never let it choose.
    pub alg: String,
    /// The name of its key.
    pub kid: String,
    /// What kind of token it says it is.
    pub typ: Option<String>,
    /// What the signature covers.
    pub signed: &'a str,
    /// The signature, in base64.
    pub signature: &'a str,
    claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    /// Takes a token of at most `bytes_max` bytes apart: three parts of base64url without padding, two of them JSON objects in
    /// which no name comes twice, with an algorithm and the name of a key, and no header that brings another key.
    ///
    /// # Errors
    /// [`Malformed`], whatever is wrong.
    pub fn parse(token: &'a [u8], bytes_max: usize) -> Result<Self, Malformed> {
        if token.len() > bytes_max {
            return Err(Malformed);
        }
        let token = std::str::from_utf8(token).map_err(|_| Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed)?;
        let mut header = read_object(header)?;
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return Err(Malformed);
        }
        let alg = take_text(&mut header, "alg")?.ok_or(Malformed)?;
        let kid = take_text(&mut header, "kid")?.filter(|kid| is_key_name(kid)).ok_or(Malformed)?;
        let typ = take_text(&mut header, "typ")?;
        Ok(Self { alg, kid, typ, signed, signature, claims: read_object(claims)? })
    }

    /// A claim as it stands in the token, from whoever made it.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// All claims, once the signature was verified.
    ///
    /// # Errors
    /// [`Malformed`] if one is missing or of another type.
    pub fn into_claims<T: DeserializeOwned>(self) -> Result<T, Malformed> {
        T::deserialize(Value::Object(self.claims)).map_err(|_| Malformed)
    }
}

/// Whether this can be the name of a key: letters, digits, `_` and `-`, and not many.
#[must_use]
pub fn is_key_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= limits::KEY_NAME_BYTES_MAX && text.bytes().all(is_plain)
}

fn take_text(header: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Malformed> {
    match header.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(Malformed),
    }
}

fn read_object(part: &str) -> Result<Map<String, Value>, Malformed> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed)?;
    let mut reader = serde_json::Deserializer::from_slice(&json);
    let value = Unique.deserialize(&mut reader).map_err(|_| Malformed)?;
    reader.end().map_err(|_| Malformed)?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(Malformed),
    }
}

/// Reads any JSON in which no object has a name twice: of two readers, one would believe the first and one the last. How deep it
/// may go is limited by `serde_json`.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a name that comes twice")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Unique)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Unique)?;
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a name comes twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_taken_apart_and_its_signature_covers_the_first_two_parts() {
        let text = token(r#"{"alg":"EdDSA","kid":"a_b-1","typ":"x+jwt"}"#, r#"{"n":[1,{"deep":null}]}"#);
        let parsed = Unverified::parse(text.as_bytes(), 1024).unwrap();
        assert_eq!((&*parsed.alg, &*parsed.kid, parsed.typ.as_deref()), ("EdDSA", "a_b-1", Some("x+jwt")));
        assert_eq!(format!("{}.{}", parsed.signed, parsed.signature), text);
        assert_eq!(parsed.claim("n").unwrap().to_string(), r#"[1,{"deep":null}]"#);
    }

    #[test]
    fn what_nobody_here_would_sign_is_malformed() {
        let good = r#"{"alg":"EdDSA","kid":"k"}"#;
        let long = "k".repeat(limits::KEY_NAME_BYTES_MAX + 1);
        let headers = [
            r#"{"alg":"EdDSA"}"#.to_owned(),
            r#"{"alg":["EdDSA"],"kid":"k"}"#.to_owned(),
            r#"{"alg":"EdDSA","kid":null}"#.to_owned(),
            r#"{"alg":"EdDSA","kid":"../k"}"#.to_owned(),
            r#"{"alg":"none","alg":"EdDSA","kid":"k"}"#.to_owned(),
            r#"["EdDSA","k"]"#.to_owned(),
            format!(r#"{{"alg":"EdDSA","kid":"{long}"}}"#),
            format!("{good}{good}"),
        ];
        let bringing = REFUSED.iter().map(|name| format!(r#"{{"alg":"EdDSA","kid":"k","{name}":null}}"#));
        for header in headers.into_iter().chain(bringing) {
            assert_eq!(Unverified::parse(token(&header, "{}").as_bytes(), 1024), Err(Malformed), "{header}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for claims in ["[]", "null", "{} ,", r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":1e999}"#, &deep] {
            assert_eq!(Unverified::parse(token(good, claims).as_bytes(), 1024), Err(Malformed), "{claims}");
        }
        for text in ["", ".", "..", "a.b", &token(good, "{}").replace('.', "=."), &format!("{}.x", token(good, "{}"))] {
            assert_eq!(Unverified::parse(text.as_bytes(), 1024), Err(Malformed), "{text}");
        }
        assert!(Unverified::parse(token(good, "{}").as_bytes(), 20).is_err(), "too long");
        assert!(Unverified::parse(token(good, "{}").as_bytes(), 1024).is_ok());
    }
}
