//! The names of classes that the Hugging Face hub keeps in a table's own metadata.

use serde_json::Value;

/// The key of the metadata.
pub(super) const KEY: &str = "huggingface";

/// The names of classes 0, 1, … of the column `column`, as `metadata` has them; empty where it has none.
pub(super) fn class_names(metadata: &str, column: &str) -> Vec<String> {
    let Ok(metadata) = serde_json::from_str::<Value>(metadata) else { return Vec::new() };
    let names = metadata
        .pointer("/info/features")
        .and_then(|features| features.get(column))
        .and_then(|feature| feature.get("names"))
        .and_then(Value::as_array);
    let names: Vec<Option<&str>> = names.into_iter().flatten().map(Value::as_str).collect();
    // One that is no text would shift those after it.
    names.into_iter().map(|name| name.map(str::to_owned)).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_column() {
        let metadata = r#"{"info": {"features": {"image": {"_type": "Image"},
            "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
        assert_eq!(class_names(metadata, "label"), ["cat", "dog"]);
        for (metadata, column) in [(metadata, "image"), (metadata, "none"), ("{", "label")] {
            assert!(class_names(metadata, column).is_empty());
        }
        assert!(class_names(&metadata.replace("\"dog\"", "2"), "label").is_empty());
    }
}
