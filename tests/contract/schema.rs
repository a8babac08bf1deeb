//! Checks JSON against the schemas of the API's description: the part of JSON Schema 2020-12 that it uses. What is not understood
//! fails, so that nothing is passed over. Stricter than the standard in one thing: an answer has no field that is not described.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Says something about a value to people, and nothing to a check.
const ANNOTATIONS: [&str; 6] = ["description", "title", "example", "examples", "default", "format"];

/// Fields that a schema describes, whether the object has them or not.
type Described = BTreeSet<String>;

/// The description, in which references lead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schemas<'a>(pub(crate) &'a Value);

impl Schemas<'_> {
    /// Why a value is not what a schema says.
    pub(crate) fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let described = self.fits(schema, value)?;
        let fields = value.as_object().into_iter().flat_map(Map::keys);
        match fields.into_iter().find(|field| !described.contains(*field)) {
            Some(field) => Err(format!("`{field}` is not described")),
            None => Ok(()),
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<Described, String> {
        let Some(keywords) = schema.as_object() else {
            return Err(format!("{schema} is no schema that is understood here"));
        };
        let mut described = Described::new();
        for (keyword, rule) in keywords {
            described.extend(self.fits_keyword(keywords, keyword, rule, value)?);
        }
        if keywords.keys().all(|keyword| ANNOTATIONS.contains(&keyword.as_str())) {
            // Anything at all.
            described.extend(value.as_object().into_iter().flat_map(Map::keys).cloned());
        }
        Ok(described)
    }

    fn fits_keyword(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
    ) -> Result<Described, String> {
        let none = Ok(Described::new());
        let require = |holds: bool| if holds { none.clone() } else { Err(format!("{value} is not {keyword} {rule}")) };
        match keyword {
            "$ref" => {
                let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).ok_or("a strange reference")?;
                self.fits(self.0.pointer(pointer).ok_or_else(|| format!("{pointer} leads nowhere"))?, value)
            }
            "type" => match rule.as_array() {
                Some(kinds) => require(kinds.iter().any(|kind| is_of(kind, value))),
                None => require(is_of(rule, value)),
            },
            "enum" => require(list(rule).contains(value)),
            "minimum" => require(value.as_f64().is_none_or(|number| Some(number) >= rule.as_f64())),
            "maximum" => require(value.as_f64().is_none_or(|number| Some(number) <= rule.as_f64())),
            "pattern" => {
                let pattern = regex::Regex::new(text(rule)).map_err(|error| error.to_string())?;
                require(value.as_str().is_none_or(|text| pattern.is_match(text)))
            }
            "minLength" => require(length(value).is_none_or(|chars| Some(chars) >= rule.as_u64())),
            "maxLength" => require(length(value).is_none_or(|chars| Some(chars) <= rule.as_u64())),
            "maxProperties" => require(value.as_object().is_none_or(|map| Some(map.len() as u64) <= rule.as_u64())),
            "maxItems" => {
                require(value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap_or(0)))
            }
            "required" => {
                require(value.as_object().is_none_or(|map| list(rule).iter().all(|name| map.contains_key(text(name)))))
            }
            "properties" => self.properties(rule, value),
            "additionalProperties" => self.others(schema, rule, value),
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(Map::keys) {
                    self.check(rule, &Value::from(name.as_str()))?;
                }
                none
            }
            "items" => {
                for (at, item) in list(value).iter().enumerate() {
                    self.check(rule, item).map_err(|why| format!("[{at}]: {why}"))?;
                }
                none
            }
            "allOf" => {
                let all: Result<Vec<_>, _> = list(rule).iter().map(|one| self.fits(one, value)).collect();
                Ok(all?.into_iter().flatten().collect())
            }
            "oneOf" => {
                // An alternative whose fields are another's, too, is told from it by what it does not describe.
                let fitting: Vec<_> = list(rule).iter().filter(|one| self.check(one, value).is_ok()).collect();
                match fitting.as_slice() {
                    [one] => self.fits(one, value),
                    [] => Err(format!("{value} is none of {}", reasons(self, rule, value))),
                    _ => Err(format!("{value} is several of {rule}")),
                }
            }
            _ if ANNOTATIONS.contains(&keyword) => none,
            _ => Err(format!("the keyword {keyword} is not understood here")),
        }
    }

    fn properties(&self, rule: &Value, value: &Value) -> Result<Described, String> {
        let fields = rule.as_object().ok_or("properties are an object")?;
        for (name, schema) in fields {
            if let Some(field) = value.get(name) {
                self.check(schema, field).map_err(|why| format!("{name}: {why}"))?;
            }
        }
        Ok(fields.keys().cloned().collect())
    }

    /// Those that the schema does not name.
    fn others(&self, schema: &Map<String, Value>, rule: &Value, value: &Value) -> Result<Described, String> {
        let named = |name: &str| schema.get("properties").is_some_and(|fields| fields.get(name).is_some());
        let mut others = Described::new();
        for (name, field) in value.as_object().into_iter().flatten().filter(|(name, _)| !named(name)) {
            match rule.as_bool() {
                Some(true) => {}
                Some(false) => return Err(format!("`{name}` is not allowed")),
                None => self.check(rule, field).map_err(|why| format!("{name}: {why}"))?,
            }
            others.insert(name.clone());
        }
        Ok(others)
    }
}

fn reasons(schemas: &Schemas<'_>, alternatives: &Value, value: &Value) -> String {
    let reasons = list(alternatives).iter().filter_map(|one| schemas.check(one, value).err());
    reasons.collect::<Vec<_>>().join(" | ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Characters of a text.
fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_from_its_schema_is_noticed() {
        let description = json!({"components": {"schemas": {"Seat": {
            "type": "object", "required": ["id"], "properties": {
                "id": {"type": "integer", "minimum": 0},
                "name": {"oneOf": [{"type": "null"}, {"type": "string", "enum": ["a", "b"]}]},
            },
        }}}});
        let schema = json!({"allOf": [
            {"$ref": "#/components/schemas/Seat"},
            {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
        ]});
        let check = |value: Value| Schemas(&description).check(&schema, &value);
        for good in [json!({"id": 1}), json!({"id": 0, "name": null, "tags": ["x"]}), json!({"id": 0, "name": "b"})] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            json!({}),
            json!([]),
            json!({"id": -1}),
            json!({"id": "1"}),
            json!({"id": 1.5}),
            json!({"id": 1, "name": "c"}),
            json!({"id": 1, "tags": [1]}),
            json!({"id": 1, "more": 1}),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
        assert!(Schemas(&description).check(&json!({"multipleOf": 2}), &json!(4)).is_err(), "not understood");
    }
}
