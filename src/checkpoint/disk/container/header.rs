//! The header of a safetensors file: the metadata, and name, type, shape and offsets of every tensor. It knows no
//! values and no checksum.
//!
//! The header is parsed entry by entry, and not by the `safetensors` crate, which first holds all of its JSON values in
//! memory: 32 bytes for each `0,` of a hostile file. Duplicate names are refused, as are inconsistent offsets: an
//! ambiguous file counts as damaged.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::marker::PhantomData;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::shown;
use crate::checkpoint::tensors::named_tensor::element_count;

const METADATA: &str = "__metadata__";

/// A header consistent with its file: the tensors fill everything after it.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Position in the file from which offsets count.
    pub(super) data_start: usize,
}

impl Header {
    /// Reads the header of the whole file `bytes`. Allocates only for what is present, never for what is declared.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Err(format!(
                "it has {} bytes, of which the header length alone takes 8",
                bytes.len()
            ));
        };
        let announced = u64::from_le_bytes(*length);
        let header = usize::try_from(announced).ok().and_then(|length| rest.get(..length));
        let Some(header) = header else {
            let message = "bytes of header are declared, but the rest of the file has";
            return Err(format!("{announced} {message} {}", rest.len()));
        };
        let Entries { metadata, tensors } =
            serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
        check_places(&tensors, rest.len() - header.len())?;
        Ok(Self { metadata, tensors, data_start: bytes.len() - rest.len() + header.len() })
    }
}

/// Refuses tensors that leave gaps, overlap, or do not end with the file, so that every offset is in bounds.
fn check_places(tensors: &BTreeMap<String, TensorInfo>, n_bytes: usize) -> Result<(), String> {
    let mut by_place: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    by_place.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in by_place {
        let TensorInfo { dtype, shape, data_offsets: (from, to) } = info;
        let n_bits = element_count(shape).and_then(|n| n.checked_mul(dtype.bitsize()));
        let held = to.checked_sub(*from).and_then(|length| length.checked_mul(8));
        if *from != end || n_bits != held || held.is_none() {
            return Err(format!(
                "tensor {} of type {dtype} and shape {} cannot be at bytes {from} to {to}",
                shown(name),
                shown(&format!("{shape:?}"))
            ));
        }
        end = *to;
    }
    if end == n_bytes {
        return Ok(());
    }
    Err(format!("its tensors take {end} bytes, but {n_bytes} follow the header"))
}

/// The two kinds of header entries.
struct Entries {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entries, A::Error> {
        let mut metadata = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name == METADATA {
                let Unique(read) = entries.next_value::<Unique<String>>()?;
                if metadata.replace(read).is_some() {
                    return Err(twice(&name));
                }
            } else {
                insert(&mut tensors, name, entries.next_value()?)?;
            }
        }
        Ok(Entries { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// A JSON object without duplicate keys; a standard library map would keep the last.
struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = Unique<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("texts by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique<V>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            insert(&mut map, key, value)?;
        }
        Ok(Unique(map))
    }
}

fn insert<V, E: serde::de::Error>(
    map: &mut BTreeMap<String, V>,
    key: String,
    value: V,
) -> Result<(), E> {
    match map.entry(key) {
        btree_map::Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
        btree_map::Entry::Occupied(place) => Err(twice(place.key())),
    }
}

fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format_args!("{} appears twice", shown(key)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn file(header: &str, n_bytes: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; n_bytes]].concat()
    }

    fn error(header: &str, n_bytes: usize) -> String {
        Header::read(&file(header, n_bytes)).unwrap_err()
    }

    const X: &str = r#""x":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}"#;

    #[test]
    fn tensors_and_metadata_are_found() {
        let read =
            Header::read(&file(&format!(r#"{{"__metadata__":{{"a":"b"}},{X}}}"#), 4)).unwrap();
        assert_eq!(read.metadata["a"], "b");
        assert_eq!(read.tensors["x"].data_offsets, (0, 4));
        assert_eq!(Header::read(&file("{}", 0)).unwrap().data_start, 10);
    }

    #[test]
    fn what_comes_twice_is_refused() {
        assert!(error(&format!("{{{X},{X}}}"), 4).contains("x appears twice"));
        let twice = r#"{"__metadata__":{"a":"b","a":"b"}}"#;
        assert!(error(twice, 0).contains("a appears twice"));
        let twice = r#"{"__metadata__":{},"__metadata__":{}}"#;
        assert!(error(twice, 0).contains("__metadata__ appears twice"));
    }

    #[test]
    fn tensors_that_do_not_fill_the_file_are_refused() {
        let x = |shape: &str, from: u64, to: u64| {
            let place = format!(r#""data_offsets":[{from},{to}]"#);
            format!(r#"{{"x":{{"dtype":"U16","shape":{shape},{place}}}}}"#)
        };
        for (header, n_bytes) in [
            (x("[2]", 0, 4), 3),
            (x("[2]", 0, 4), 5),
            (x("[2]", 1, 5), 5),
            (x("[2]", 4, 0), 4),
            (x("[3]", 0, 4), 4),
            (x("[4611686018427387904,4]", 0, 0), 0),
            (x("[9223372036854775808]", 0, 0), 0),
            (x("[]", 0, u64::MAX), 2),
        ] {
            let message = error(&header, n_bytes);
            assert!(message.contains("tensor"), "{header}: {message}");
        }
    }

    #[test]
    fn a_length_beyond_the_file_is_refused() {
        for announced in [u64::MAX, 1 << 60, 3] {
            let bytes = [&announced.to_le_bytes()[..], b"{}"].concat();
            let message = Header::read(&bytes).unwrap_err();
            assert!(message.contains(&announced.to_string()), "{message}");
        }
    }
}
