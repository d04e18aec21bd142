//! Any tensors are a tokenizer that can be built or an error. The first byte selects the project and the size of the
//! images; every four bytes that follow remove, rename or reshape a tensor of a whole file, or change its numbers.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::Value;
use vqgen::device::Device;
use vqgen::import::import_tokenizer;

/// Names and shapes of whole files.
const SHAPES: &[u8] = include_bytes!("../../tests/reference/imported.safetensors");
/// The largest file that is written, in values.
const MOST: usize = 1 << 21;

type Tensors = Vec<(String, Vec<usize>)>;

fn tensors_of(project: &str) -> Tensors {
    let (_, file) = SafeTensors::read_metadata(SHAPES).unwrap();
    let listed: &HashMap<String, String> = file.metadata().as_ref().unwrap();
    let listed: Vec<Value> = serde_json::from_str(&listed[project]).unwrap();
    let floats = listed.iter().filter(|tensor| !tensor["range"].is_null());
    let sizes = |tensor: &Value| {
        let sizes = tensor["shape"].as_array().unwrap().iter();
        sizes.map(|size| size.as_u64().unwrap() as usize).collect()
    };
    floats.map(|tensor| (tensor["name"].as_str().unwrap().to_owned(), sizes(tensor))).collect()
}

fn edit(tensors: &mut Tensors, [at, action, axis, value]: [u8; 4]) {
    if tensors.is_empty() {
        return;
    }
    let n = tensors.len();
    let at = usize::from(at) % n;
    let value = usize::from(value);
    match action % 6 {
        0 => drop(tensors.remove(at)),
        1 => {
            let shape = &mut tensors[at].1;
            let axis = usize::from(axis) % shape.len().max(1);
            if let Some(size) = shape.get_mut(axis) {
                *size = value;
            }
        }
        2 => tensors[at].1.push(value),
        3 => drop(tensors[at].1.pop()),
        4 => tensors[at].0 = tensors[value % n].0.clone(),
        _ => {
            let (name, shape) = tensors[at].clone();
            tensors.push((name.replace(['0', '1'], &axis.to_string()), shape));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, edits)) = bytes.split_first() else { return };
    let mut tensors = tensors_of(["taming", "llamagen", "diffusers"][usize::from(choice % 3)]);
    for edit_bytes in edits.chunks_exact(4).take(32) {
        edit(&mut tensors, [edit_bytes[0], edit_bytes[1], edit_bytes[2], edit_bytes[3]]);
    }
    // A name twice is no file of tensors.
    let tensors: HashMap<String, Vec<usize>> = tensors.into_iter().collect();
    let lengths = tensors.values().map(|shape| shape.iter().product::<usize>());
    let longest = lengths.clone().max().unwrap_or(0);
    if lengths.sum::<usize>() > MOST {
        return;
    }
    let fill = edits.last().copied().unwrap_or(0) & 0x7f;
    let data = vec![fill; 2 * longest];
    let views = tensors.into_iter().map(|(name, shape)| {
        let len = 2 * shape.iter().product::<usize>();
        (name, TensorView::new(Dtype::BF16, shape, &data[..len]).unwrap())
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.safetensors");
    serialize_to_file(views, None, &path).unwrap();
    let size = [16, 64, 255, usize::from(choice)][usize::from(choice / 3 % 4)];
    let _ = import_tokenizer(&path, size, &Device::flex());
});
