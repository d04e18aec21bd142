//! Strict JSON: text to a value without duplicate keys, and a value to a recipe without wrong types. Every message
//! names the key by its full path. It knows no defaults and no ranges.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::Recipe;
use crate::error::{Error, Result};
use crate::keys::{or_list, wanted};

/// Parses `text`, which `origin` names in messages; a duplicate key is an error, as is anything but an object.
pub(super) fn parse_strict(text: &str, origin: &str) -> Result<Map<String, Value>> {
    // Editors on Windows write a byte order mark, which JSON does not allow.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| Error::invalid(format!("{origin} is not a recipe: {error}")))?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Error::invalid(format!(
            "{origin} is not a recipe: it holds {}, expected an object {{…}}",
            shown(&other)
        ))),
    }
}

/// Deserialises any JSON, refusing duplicate keys; `serde_json::Value` would keep the last of them.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let key = cut(&key);
                return Err(A::Error::custom(format_args!("the key {key} appears twice")));
            }
            object.insert(key, entries.next_value_seed(Strict)?);
        }
        Ok(Value::Object(object))
    }
}

/// Converts a value with known keys to a recipe. `origin_of` says where the value of a key came from.
pub(super) fn to_recipe(
    object: Map<String, Value>,
    origin_of: impl Fn(&str) -> String,
) -> Result<Recipe> {
    let value = Value::Object(object);
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let (path, seen) = innermost(&value, error.path());
        let of_list = path.split('[').next().unwrap_or(&path);
        // The choices of an enum key are known, and clearer than serde's message.
        let choices = super::key(&path).map_or(&[][..], |key| (key.choices)());
        let wanted = match choices {
            [] => wanted(&error.inner().to_string()),
            names => or_list(names.iter().map(|name| format!("{name:?}"))),
        };
        Error::invalid(format!(
            "{path} in {} is {}, expected {wanted}",
            origin_of(of_list),
            shown(seen)
        ))
    })
}

/// The value at `way`, with its path as in `vqvae.channel_multipliers[1]`; where the path leads beyond the value, the
/// last one on it.
fn innermost<'a>(mut value: &'a Value, way: &serde_path_to_error::Path) -> (String, &'a Value) {
    let mut path = String::new();
    for segment in way {
        let (inner, longer) = match segment {
            Segment::Map { key } if path.is_empty() => (value.get(key), key.clone()),
            Segment::Map { key } => (value.get(key), format!("{path}.{key}")),
            Segment::Seq { index } => (value.get(index), format!("{path}[{index}]")),
            Segment::Enum { .. } | Segment::Unknown => break,
        };
        let Some(inner) = inner else { break };
        (path, value) = (longer, inner);
    }
    (path, value)
}

/// A value as shown in a message: short, whatever its size.
pub(super) fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

/// The beginning of a text of any length.
pub(super) fn cut(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Recipe::parse(text, "configs/x.json", &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_type_names_the_key_the_value_and_the_type() {
        assert_eq!(
            message(r#"{"vqvae": {"codebook_size": "many"}}"#),
            r#"vqvae.codebook_size in configs/x.json is "many", expected a whole number of at least 0"#
        );
        assert!(
            message(r#"{"vqvae": {"steps": 1.5}}"#).contains("is 1.5, expected a whole number")
        );
        assert!(message(r#"{"vqvae": {"steps": -1}}"#).contains("is -1, expected a whole number"));
        assert!(message(r#"{"prior": {"dropout": true}}"#).contains("is true, expected a number"));
        assert!(message(r#"{"vqvae": {"loss": "mae"}}"#).contains(r#""mse", "l1" or "huber""#));
        assert!(
            message(r#"{"vqvae": 3}"#).contains("vqvae in configs/x.json is 3, expected a sect")
        );
        assert!(message(r#"{"name": null}"#).contains("is null, expected a string"));
    }

    #[test]
    fn a_wrong_entry_of_a_list_and_a_wrong_length_are_named() {
        let list =
            |list: &str| message(&format!(r#"{{"vqvae": {{"channel_multipliers": {list}}}}}"#));
        assert_eq!(
            list(r#"[1, "a"]"#),
            r#"vqvae.channel_multipliers[1] in configs/x.json is "a", expected a whole number of at least 0"#
        );
        assert!(
            list("3").contains("vqvae.channel_multipliers in configs/x.json is 3, expected a list")
        );
        let colour = |list: &str| message(&format!(r#"{{"data": {{"background": {list}}}}}"#));
        assert!(colour("[0, 256, 0]").contains("data.background[1] in configs/x.json is 256"));
        assert!(colour("[0, 0]").ends_with("is [0,0], expected an array of length 3"));
        assert!(colour("[0, 0, 0, 0]").ends_with("is [0,0,0,0], expected a shorter list […]"));
    }

    #[test]
    fn a_wrong_name_lists_the_names_that_there_are() {
        let wanted = r#"expected "plain", "wide", "resnet" or "resnet34""#;
        for wrong in [r#""vqgan""#, "3", "null", r#"{"plain": 3}"#] {
            let text = message(&format!(r#"{{"vqvae": {{"preset": {wrong}}}}}"#));
            assert!(text.starts_with("vqvae.preset in") && text.ends_with(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_named_with_line_and_column() {
        assert!(message("{\n  \"name\": }").contains("line 2 column"));
        assert!(message("{\"seed\": 1e999}").contains("number out of range at line 1"));
        assert!(message("{} x").contains("trailing characters"));
        assert!(message("").contains("configs/x.json is not a recipe"));
        assert!(message("[]").contains("expected an object"));
        assert!(message(&"[".repeat(10_000)).contains("recursion limit"));
    }

    #[test]
    fn a_duplicate_key_is_refused_at_any_depth() {
        assert!(message(r#"{"seed": 1, "seed": 2}"#).contains("the key seed appears twice"));
        let text = message("{\"vqvae\": {\"steps\": 1,\n \"steps\": 2}}");
        assert!(text.contains("the key steps appears twice at line 2"), "{text}");
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let long = "x".repeat(5_000);
        assert!(message(&format!(r#"{{"seed": "{long}"}}"#)).len() < 200);
    }

    #[test]
    fn a_value_that_holds_the_words_of_a_message_does_not_change_it() {
        let text = message(r#"{"vqvae": {"loss": "expected y"}}"#);
        assert!(text.ends_with(r#"expected "mse", "l1" or "huber""#), "{text}");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        Recipe::parse("\u{feff}{}", "configs/x.json", &[]).unwrap();
    }
}
