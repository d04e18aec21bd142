//! One text an image as one tensor: UTF-8, each terminated by a zero byte, which neither a file name nor a caption
//! contains.

/// The bytes of `texts`.
pub(super) fn join(texts: &[String]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The texts in `bytes`, the tensor `name`, or the reason why they cannot be parsed.
pub(super) fn split(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
    let Some((&0, _)) = bytes.split_last() else {
        return Err(format!("{name} does not end in a zero byte"));
    };
    let text = std::str::from_utf8(bytes).map_err(|e| format!("{name} is not UTF-8: {e}"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_kind_come_back_and_broken_bytes_are_refused() {
        let texts = ["a/ü 1.png", "", "line\nend.jpg"].map(str::to_owned);
        assert_eq!(join(&texts[..1]), b"a/\xc3\xbc 1.png\0");
        assert_eq!(split("names", &join(&texts)).unwrap(), texts);
        assert!(split("names", b"").unwrap_err().contains("names does not end in a zero byte"));
        assert!(split("names", b"a\0b").unwrap_err().contains("zero byte"));
        assert!(split("captions", b"\xff\0").unwrap_err().contains("captions is not UTF-8"));
    }
}
