//! Image names as one tensor: UTF-8, each terminated by a zero byte, which no file name contains.

/// The bytes of `names`.
pub(super) fn join(names: &[String]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for name in names {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The names in `bytes`, or the reason why they cannot be parsed.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<String>, String> {
    let Some((&0, _)) = bytes.split_last() else {
        return Err("names does not end in a zero byte".to_owned());
    };
    let text = std::str::from_utf8(bytes).map_err(|e| format!("names is not UTF-8: {e}"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_come_back_and_broken_bytes_are_refused() {
        let names = ["a/ü 1.png", "", "line\nend.jpg"].map(str::to_owned);
        assert_eq!(join(&names[..1]), b"a/\xc3\xbc 1.png\0");
        assert_eq!(split(&join(&names)).unwrap(), names);
        assert!(split(b"").unwrap_err().contains("zero byte"));
        assert!(split(b"a\0b").unwrap_err().contains("zero byte"));
        assert!(split(b"\xff\0").unwrap_err().contains("not UTF-8"));
    }
}
