//! What a type accepts, worded for users. serde knows it, but says `usize` and `unknown variant`.

use std::fmt;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;

/// The variant names of an enum; none for other types.
pub(crate) fn choices<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // Always an error: it has no value to offer.
    let _ = T::deserialize(Choices(&mut names));
    names
}

/// Holds no value, and records the variant names that an enum asks for.
struct Choices<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Choices<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no value"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = names;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The values of a type, in words.
pub(crate) fn values_of<T: DeserializeOwned>() -> String {
    match choices::<T>() {
        // No type of a key accepts `null`, so serde's error says what it accepts.
        [] => T::deserialize(Value::Null)
            .map_or_else(|error| wanted(&error.to_string()), |_| String::new()),
        names => or_list(names.iter().map(|name| format!("`{name}`"))),
    }
}

/// serde's message (`invalid type: string "x", expected usize`) reduced to what is expected.
pub(crate) fn wanted(message: &str) -> String {
    // The last one: the value seen, which comes first, may contain the word too.
    let expected = message.rsplit_once("expected ").map_or(message, |(_, expected)| expected);
    match expected {
        "usize" | "u64" | "u32" | "u16" => "a whole number of at least 0".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "f64" | "f32" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list […]".to_owned(),
        "fewer elements in array" => "a shorter list […]".to_owned(),
        "a string" | "path string" => "a string in quotes".to_owned(),
        other => other.replace('`', "\""),
    }
}

/// `a, b or c`.
pub(crate) fn or_list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// A value of a key as JSON.
pub(crate) fn json(value: impl Serialize) -> Value {
    // Keys are numbers, strings, names and lists of them, which JSON can always represent.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The names of some values of an enum key.
pub(crate) fn names<T: Serialize>(values: &[T]) -> Vec<String> {
    values.iter().filter_map(|value| json(value).as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Green,
        Blue,
    }

    #[test]
    fn the_values_of_a_type_are_said_in_plain_words() {
        let _ = [Colour::Red, Colour::Green, Colour::Blue];
        assert_eq!(choices::<Colour>(), ["red", "green", "blue"]);
        assert_eq!(values_of::<Colour>(), "`red`, `green` or `blue`");
        assert_eq!(values_of::<bool>(), "true or false");
        assert_eq!(values_of::<u64>(), "a whole number of at least 0");
        assert_eq!(values_of::<f64>(), "a number");
        assert_eq!(values_of::<String>(), "a string in quotes");
        assert_eq!(values_of::<Vec<usize>>(), "a list […]");
        assert!(choices::<Vec<Colour>>().is_empty());
    }

    #[test]
    fn a_list_of_choices_reads_as_a_sentence() {
        assert_eq!(or_list(["a"]), "a");
        assert_eq!(or_list(["a", "b"]), "a or b");
        assert_eq!(or_list(["a", "b", "c"]), "a, b or c");
        assert_eq!(or_list([0u8; 0]), "");
    }
}
