//! Weights of other projects: safetensors files, and what `torch.save` writes of a dictionary of tensors (`.pth`,
//! `.pt`), in its format since 2020 (a zip archive) and in the one before, which torchvision's older weights have.
//! Nothing of a file is executed, and nothing is read of tensors that are not wanted.
//!
//! Whether `torch.save` wrote a tensor's numbers, and how many, is compared with the file before memory is taken.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::{bf16, f16};

use super::container;
use crate::checkpoint::tensors::named_tensor::NamedTensor;
use crate::error::{Error, Result};

mod file;
mod pickle;
mod zip;

use file::{number, read_at};
use pickle::{Pickle, Storage, Value, View};

/// Most bytes of a pickle: the largest models have a tenth of this.
const MOST_PICKLE: u64 = 8 << 20;

/// How often tensors may share their numbers, as tied weights do: a small file could ask for any amount of memory.
const MOST_SHARED: u64 = 4;

/// How a file of the format before 2020 begins: a pickle of this number.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Every tensor of 32-bit or 16-bit floats of a file, bfloat16 among them, sorted by name, whoever wrote it: safetensors
/// without a format or checksum, or what `torch.save` wrote. Tensors of other types (PyTorch's counters) are left out.
///
/// # Errors
/// A file that cannot be read, of neither format, or damaged.
pub fn read_foreign(path: impl AsRef<Path>) -> Result<Vec<NamedTensor>> {
    read_wanted(path.as_ref(), &|_| true)
}

/// As [`read_foreign`], of the tensors whose names are `wanted`; the others take no memory in `.pth` files.
///
/// # Errors
/// As [`read_foreign`].
pub(in crate::checkpoint) fn read_wanted(
    path: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<NamedTensor>> {
    let io = |error| Error::io("read", path, error);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut start = Vec::new();
    (&file).take(64).read_to_end(&mut start).map_err(io)?;
    let read = if start.starts_with(b"PK\x03\x04") {
        Archive::open(&file, length)
    } else if start.windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC) {
        Archive::open_legacy(&file, length)
    } else {
        return container::read_floats(path, wanted);
    };
    let fault = |fault| Error::file(path, format!("cannot be read as weights of PyTorch: {fault}"));
    read.and_then(|archive| archive.floats(wanted)).map_err(fault)
}

/// Why a file cannot be read; the end of a message.
type Fault = String;

/// Where the numbers of a storage lie.
struct Place {
    from: u64,
    bytes: u64,
    /// CRC-32; 0 where there is none.
    crc: u32,
}

/// A file of `torch.save`.
struct Archive<'a> {
    file: &'a File,
    length: u64,
    views: BTreeMap<String, View>,
    storages: HashMap<String, Place>,
}

impl<'a> Archive<'a> {
    fn open(file: &'a File, length: u64) -> Result<Self, Fault> {
        let entries = zip::entries(file, length)?;
        let (name, program) = entries
            .iter()
            .find(|(name, _)| name.ends_with("/data.pkl") || *name == "data.pkl")
            .ok_or("it is a zip archive without data.pkl, not one of torch.save")?;
        let folder = name.trim_end_matches("data.pkl").to_owned();
        if program.bytes.end - program.bytes.start > MOST_PICKLE {
            return Err(format!("its data.pkl is larger than {MOST_PICKLE} bytes"));
        }
        if let Some(order) = entries.get(&format!("{folder}byteorder"))
            && order.bytes.end - order.bytes.start < 16
            && read_at(file, order.bytes.clone())? != b"little"
        {
            return Err(BIG_ENDIAN.to_owned());
        }
        let bytes = read_at(file, program.bytes.clone())?;
        let views = views(&Pickle::read(&bytes)?)?;
        let prefix = format!("{folder}data/");
        let storages = entries.iter().filter_map(|(name, entry)| {
            let key = name.strip_prefix(&prefix)?.to_owned();
            let (from, bytes) = (entry.bytes.start, entry.bytes.end - entry.bytes.start);
            Some((key, Place { from, bytes, crc: entry.crc }))
        });
        Ok(Self { file, length, views, storages: storages.collect() })
    }

    fn open_legacy(file: &'a File, length: u64) -> Result<Self, Fault> {
        let bytes = read_at(file, 0..length.min(MOST_PICKLE))?;
        let mut rest = bytes.as_slice();
        let mut next = || {
            let pickle = Pickle::read(rest)?;
            rest = &rest[pickle.length..];
            Ok::<_, Fault>(pickle)
        };
        // The magic number, the version of the protocol, and the system that wrote it.
        let (_, _, system) = (next()?, next()?, next()?);
        if let Value::Dict(entries) = system.root()
            && system.entry(entries, "little_endian") == Some(&Value::Flag(false))
        {
            return Err(BIG_ENDIAN.to_owned());
        }
        let (model, keys) = (next()?, next()?);
        let mut from = (bytes.len() - rest.len()) as u64;
        let views = views(&model)?;
        // Of all tensors of the file, also those beside the model's, as an optimizer's.
        let declared: HashMap<&str, &Storage> =
            model.storages().map(|storage| (storage.key.as_str(), storage)).collect();
        let Value::Sequence(ids) = keys.root() else {
            return Err("its list of storages is missing".to_owned());
        };
        let mut storages = HashMap::new();
        for id in ids {
            let Value::Text(key) = keys.value(*id) else {
                return Err("its list of storages holds what is not a name".to_owned());
            };
            let storage = declared.get(key.as_str());
            let storage = storage.ok_or_else(|| format!("it holds storage {key} of no tensor"))?;
            let bytes = byte_count(storage)?;
            let end = from.checked_add(8 + bytes).filter(|end| *end <= length);
            let end =
                end.ok_or_else(|| format!("storage {key} lies outside of the file (truncated?)"))?;
            let count = number(&read_at(file, from..from + 8)?, 0, 8);
            if count != Some(storage.len as u64) {
                return Err(format!(
                    "storage {key} holds {} numbers, its tensors expect {}",
                    count.unwrap_or_default(),
                    storage.len
                ));
            }
            storages.insert(key.clone(), Place { from: from + 8, bytes, crc: 0 });
            from = end;
        }
        Ok(Self { file, length, views, storages })
    }

    fn floats(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<NamedTensor>, Fault> {
        let is_float = |view: &View| FLOATS.contains(&view.storage.kind.as_str());
        let views = self.views.iter().filter(|(name, view)| is_float(view) && wanted(name));
        // Of what is read, a storage again for each of its tensors, and of the tensors.
        let mut left = [MOST_SHARED * self.length; 2];
        let mut take = |which: usize, bytes: u64| {
            left[which] = left[which].checked_sub(bytes).ok_or_else(|| {
                format!("its tensors share their numbers more than {MOST_SHARED} times over")
            })?;
            Ok::<(), Fault>(())
        };
        let read = views.map(|(name, view)| {
            take(0, byte_count(&view.storage)?)?;
            let tensor = self.float(name, view)?;
            take(1, 4 * tensor.data.len() as u64)?;
            Ok(tensor)
        });
        read.collect()
    }

    fn float(&self, name: &str, view: &View) -> Result<NamedTensor, Fault> {
        let key = &view.storage.key;
        let place = self.storages.get(key);
        let place = place.ok_or_else(|| format!("storage {key} of {name} is missing"))?;
        if place.bytes != byte_count(&view.storage)? {
            return Err(format!(
                "storage {key} of {name} holds {} bytes, its tensor expects {}",
                place.bytes,
                byte_count(&view.storage)?
            ));
        }
        let bytes = read_at(self.file, place.from..place.from + place.bytes)?;
        if place.crc != 0 {
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            if crc.sum() != place.crc {
                return Err(format!(
                    "storage {key} of {name} is damaged: its checksum is not that of the file"
                ));
            }
        }
        let numbers: Vec<f32> = match view.storage.kind.as_str() {
            "HalfStorage" => {
                bytes.as_chunks().0.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect()
            }
            "BFloat16Storage" => {
                bytes.as_chunks().0.iter().map(|half| bf16::from_le_bytes(*half).to_f32()).collect()
            }
            _ => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        };
        let data = gather(view, &numbers).ok_or_else(|| {
            format!(
                "tensor {name} of shape {:?} and strides {:?} does not fit its {} numbers",
                view.shape,
                view.strides,
                numbers.len()
            )
        })?;
        Ok(NamedTensor { name: name.to_owned(), shape: view.shape.clone(), data })
    }
}

/// The types of the tensors that are read.
const FLOATS: [&str; 3] = ["FloatStorage", "HalfStorage", "BFloat16Storage"];

const BIG_ENDIAN: &str = "its numbers are big-endian (save it again on a little-endian machine)";

/// The tensors of a pickle, by name: of its dictionary, or of its entry `state_dict` or `model`, as training scripts save
/// it.
fn views(pickle: &Pickle) -> Result<BTreeMap<String, View>, Fault> {
    let Value::Dict(root) = pickle.root() else {
        return Err("it holds no dictionary of tensors (save model.state_dict())".to_owned());
    };
    let inner = ["state_dict", "model"].into_iter().find_map(|key| match pickle.entry(root, key) {
        Some(Value::Dict(inner)) => Some(inner),
        _ => None,
    });
    let dict = inner.unwrap_or(root);
    let mut views = BTreeMap::new();
    for (key, value) in dict {
        if let (Value::Text(name), Value::Tensor(view)) = (pickle.value(*key), pickle.value(*value))
            && views.insert(name.clone(), View::clone(view)).is_some()
        {
            return Err(format!("tensor {name} appears twice"));
        }
    }
    Ok(views)
}

fn byte_count(storage: &Storage) -> Result<u64, Fault> {
    let size = match storage.kind.as_str() {
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "CharStorage" | "ByteStorage" | "BoolStorage" => 1,
        other => return Err(format!("it holds numbers of the unknown type {other}")),
    };
    let bytes = (storage.len as u64).checked_mul(size);
    // Not so many that adding to it could overflow.
    bytes
        .filter(|bytes| *bytes < 1 << 60)
        .ok_or_else(|| format!("it declares {} numbers", storage.len))
}

/// The numbers of a view in row-major order; `None` where they lie outside of the storage, or where the tensor has more
/// than there are (with strides of 0, a small file could ask for any amount of memory).
fn gather(view: &View, numbers: &[f32]) -> Option<Vec<f32>> {
    if view.shape.len() != view.strides.len() {
        return None;
    }
    let count = view.shape.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent))?;
    if count > numbers.len() {
        return None;
    }
    let mut data = Vec::with_capacity(count);
    let mut place = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..count {
        data.push(*numbers.get(at)?);
        for axis in (0..place.len()).rev() {
            place[axis] += 1;
            at = at.checked_add(view.strides[axis])?;
            if place[axis] < view.shape[axis] {
                break;
            }
            at -= view.strides[axis].checked_mul(view.shape[axis])?;
            place[axis] = 0;
        }
    }
    Some(data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
