//! Our own files, undamaged, with valid checksums and impossible contents.

use serde_json::json;
use vqgen::checkpoint::{Codes, Kind, ModelFile, ResumeState, Stage};
use vqgen::prior::{Prior, PriorConfig};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};

use super::forge::{Forged, Tensor};
use super::samples::{self, parts, set_json, tensor};

type Change = fn(&mut Forged);

#[test]
fn a_file_taken_apart_and_put_together_again_is_valid() {
    for file in [samples::tokenizer_bytes(), samples::prior_bytes()] {
        let kind = if file == samples::prior_bytes() { Kind::Prior } else { Kind::Tokenizer };
        ModelFile::from_bytes("m", parts(&file).bytes(), kind).unwrap();
    }
    let codes = parts(&samples::codes_bytes()).bytes();
    assert_eq!(Codes::from_bytes("c", codes).unwrap(), samples::codes());
    let state = parts(&samples::resume_bytes()).bytes();
    let mut state = ResumeState::from_bytes("r", state, Stage::Prior).unwrap();
    assert_eq!(state.counters::<samples::Counters>().unwrap().step, 7);
    assert_eq!(state.take("model.").len(), 2);
}

#[test]
fn a_code_file_that_lies_is_refused_with_the_lie() {
    let cases: [(Change, &str); 28] = [
        (|f| tensor(f, "codes").bytes[4] = 4, "image 0 has the code 4, allowed are 0 to 3"),
        (|f| tensor(f, "codes").bytes[5] = 255, "image 0 has the code"),
        (|f| tensor(f, "labels").bytes[2] = 2, "image 1 has the label 2, allowed are 0 to 1"),
        (|f| tensor(f, "splits").bytes[2] = 3, "image 2 has the split 3"),
        (|f| tensor(f, "views").bytes[0] = 242, "image 0 has the view 242"),
        (|f| tensor(f, "codes").shape = vec![3, 4], "codes has shape [3, 4]"),
        (|f| tensor(f, "codes").shape = vec![2, 2, 3], "labels has shape [3], the codes need [2]"),
        (|f| tensor(f, "labels").shape = vec![1, 3], "labels has shape [1, 3]"),
        (|f| drop(f.tensors.remove("views")), "tensor views is missing"),
        (
            |f| {
                let labels = f.tensors.remove("labels").unwrap();
                f.tensors.insert("label".to_owned(), labels);
            },
            "holds an unknown tensor label",
        ),
        (
            |f| tensor(f, "splits").type_name = "I8".to_owned(),
            "splits has the type I8, expected U8",
        ),
        (
            |f| {
                f.tensors.remove("names");
                for tensor in f.tensors.values_mut() {
                    tensor.shape[0] = 0;
                    tensor.bytes.clear();
                }
            },
            "there are no images",
        ),
        (
            |f| drop(f.metadata.insert("codebook_size".into(), "65537".into())),
            "codebook_size is 65537",
        ),
        (
            |f| drop(f.metadata.insert("codebook_size".into(), "-1".into())),
            "codebook_size is \"-1\"",
        ),
        (|f| drop(f.metadata.insert("image_size".into(), "0".into())), "image_size is 0"),
        (|f| drop(f.metadata.insert("channels".into(), "2".into())), "channels is 2"),
        (|f| drop(f.metadata.insert("classes".into(), "{}".into())), "classes in the metadata"),
        (|f| drop(f.metadata.insert("classes".into(), "[]".into())), "has the label 1"),
        (|f| drop(f.metadata.remove("tokenizer")), "has no tokenizer in its metadata"),
        (
            |f| drop(f.metadata.insert("format".into(), "vqgen.codes.2".into())),
            "has format vqgen.codes.2",
        ),
        (|f| drop(f.metadata.insert("format".into(), "x".repeat(1 << 20))), "has format xxx"),
        (|f| tensor(f, "names").bytes[2] = 0, "names has 4 entries for 3 images"),
        (|f| tensor(f, "names").bytes[0] = 0xff, "names is not UTF-8"),
        (
            |f| *tensor(f, "names").bytes.last_mut().unwrap() = b'x',
            "names does not end in a zero byte",
        ),
        (|f| captions(f, b"a cat\0"), "captions has 1 entries for 3 images"),
        (|f| captions(f, b"a cat\0\0\xff\0"), "captions is not UTF-8"),
        (|f| captions(f, b"a cat\0\0a"), "captions does not end in a zero byte"),
        (|f| drop(f.metadata.insert("data".into(), "[]".into())), "data in the metadata"),
    ];
    for (change, expected) in cases {
        let mut lie = parts(&samples::codes_bytes());
        change(&mut lie);
        let error = Codes::from_bytes("codes.safetensors", lie.bytes()).unwrap_err().to_string();
        assert!(error.starts_with("codes.safetensors: "), "{error}");
        assert!(error.contains(expected) && error.len() < 400, "{error} lacks {expected}");
    }
}

/// Gives a code file captions.
fn captions(file: &mut Forged, bytes: &[u8]) {
    let mut tensor = tensor(file, "names").clone();
    (tensor.shape, tensor.bytes) = (vec![bytes.len()], bytes.to_vec());
    file.tensors.insert("captions".to_owned(), tensor);
}

/// The error for a forged prior.
fn prior_error(change: impl FnOnce(&mut Forged)) -> String {
    let lie = parts(&samples::prior_bytes()).with(change).bytes();
    let built = ModelFile::from_bytes("prior.safetensors", lie, Kind::Prior).and_then(|file| {
        file.build(|config: &PriorConfig| Prior::new(config, 0, &samples::device()))
    });
    let error = built.unwrap_err().to_string();
    assert!(error.starts_with("prior.safetensors: "), "{error}");
    error
}

#[test]
fn weights_that_are_not_numbers_are_refused_by_name() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = prior_error(|f| {
            tensor(f, "norm.bias").bytes[..4].copy_from_slice(&value.to_le_bytes())
        });
        assert!(error.contains("tensor norm.bias holds"), "{error}");
    }
}

#[test]
fn weights_of_another_shape_name_or_type_are_refused_by_name() {
    let cases: [(Change, &str); 6] = [
        (|f| tensor(f, "head.weight").shape = vec![2, 8], "head.weight has shape [2, 8]"),
        (|f| tensor(f, "head.weight").shape = vec![16], "head.weight has shape [16]"),
        (|f| tensor(f, "head.weight").type_name = "I32".into(), "head.weight has the type I32"),
        (|f| drop(f.tensors.remove("position")), "tensors hold"),
        (
            |f| {
                let zero = Tensor { type_name: "F32".into(), shape: vec![0], bytes: vec![] };
                f.tensors.insert("more".into(), zero);
            },
            "tensor more is not a parameter",
        ),
        (
            |f| {
                let position = f.tensors.remove("position").unwrap();
                f.tensors.insert("positions".into(), position);
            },
            "tensor position is missing (and 1 more",
        ),
    ];
    for (change, expected) in cases {
        let error = prior_error(change);
        assert!(error.contains(expected), "{error} lacks {expected}");
    }
}

#[test]
fn a_configuration_of_another_model_is_refused_before_that_model_is_built() {
    for (key, value, expected) in [
        ("width", json!(1_000_000_000), "prior.width is 1000000000"),
        ("width", json!(65_536), "describes a model of 5"),
        ("width", json!(8), "describes a model of"),
        ("width", json!(u64::MAX), "prior.width is 18446744073709551615"),
        ("width", json!(-4), "config in the metadata"),
        ("layers", json!(256), "describes a model of"),
        ("layers", json!(0), "prior.layers is 0"),
        ("heads", json!(3), "which 3 heads do not divide"),
        ("heads", json!(0), "prior.heads is 0"),
        ("codebook_size", json!(65_536), "describes a model of"),
        ("n_classes", json!(u64::MAX), "classes cannot be built"),
        ("grid_height", json!(u64::MAX), "cannot be modelled"),
        ("grid_height", json!(32_768), "describes a model of"),
        ("dropout", json!(1.0), "prior.dropout is 1"),
        ("dropout", json!(null), "config in the metadata"),
        ("positions", json!("absolute"), "config in the metadata"),
        ("tie_weights", json!(true), "describes a model of"),
        ("extra", json!(1), "unknown field `extra`"),
    ] {
        let error = prior_error(|f| set_json(f, "config", key, value.clone()));
        assert!(error.contains(expected), "{key} {value}: {error}");
    }
}

#[test]
fn a_tokenizer_that_asks_for_images_or_layers_beyond_its_tensors_is_refused() {
    for (key, value, expected) in [
        (
            "image_size",
            json!(1u64 << 40),
            "data.image_size is 1099511627776, allowed are up to 1024",
        ),
        ("image_size", json!(5), "data.image_size is 5"),
        ("width", json!(16_384), "describes a model of"),
        ("residual_blocks", json!(64), "describes a model of"),
        ("residual_blocks", json!(u64::MAX), "vqvae.residual_blocks is"),
        ("halvings", json!(64), "vqvae.halvings is 64"),
        ("halvings", json!(0), "vqvae.halvings is 0"),
        ("codebook_size", json!(65_536), "describes a model of"),
        ("code_dim", json!(16_384), "describes a model of"),
        ("channels", json!(3), "describes a model of"),
        ("preset", json!("resnet"), "vqvae.channel_multipliers has 0 entries"),
        ("preset", json!("vit"), "config in the metadata"),
        ("quantizer", json!("lfq"), "config in the metadata"),
        ("quantizer", json!("fsq"), "vqvae.levels has 0 entries"),
        ("quantizer", json!("residual"), "vqvae.depth is 1, allowed are 2 to 8"),
        ("depth", json!(u64::MAX), "which only the residual quantizer has"),
        ("depth", json!(0), "vqvae.depth is 0"),
        ("levels", json!(vec![3; 1000]), "which only the fsq quantizer has"),
        ("codebook_map", json!(true), "describes a model of"),
    ] {
        let lie = parts(&samples::tokenizer_bytes());
        let lie = lie.with(|f| set_json(f, "config", key, value.clone())).bytes();
        let file = ModelFile::from_bytes("vqvae.safetensors", lie, Kind::Tokenizer).unwrap();
        let built =
            file.build(|config: &TokenizerConfig| Tokenizer::new(config, 0, &samples::device()));
        let error = built.unwrap_err().to_string();
        assert!(error.starts_with("vqvae.safetensors: "), "{error}");
        assert!(error.contains(expected), "{key} {value}: {error}");
    }
}

#[test]
fn a_training_state_that_lies_is_refused_with_the_lie() {
    let read = |change: Change| {
        let mut lie = parts(&samples::resume_bytes());
        change(&mut lie);
        let state = ResumeState::from_bytes("resume.safetensors", lie.bytes(), Stage::Prior);
        state.and_then(|state| state.counters::<samples::Counters>())
    };
    let cases: [(Change, &str); 9] = [
        (|f| drop(f.metadata.insert("stage".into(), "vqvae".into())), "is a state of vqvae"),
        (
            |f| drop(f.metadata.insert("state".into(), format!("[{}0]", "0,".repeat(1 << 16)))),
            "state in the metadata has 131075 bytes, allowed are 65536",
        ),
        (|f| drop(f.metadata.insert("state".into(), "{".into())), "state in the metadata"),
        (|f| set_json(f, "state", "step", json!(-1)), "state in the metadata"),
        (|f| set_json(f, "state", "step", json!(1.5)), "state in the metadata"),
        (|f| drop(f.metadata.remove("state")), "has no state"),
        (|f| drop(f.metadata.remove("stage")), "has no stage"),
        (
            |f| tensor(f, "model.a").bytes[..4].copy_from_slice(&[0, 0, 0xc0, 0x7f]),
            "model.a holds NaN",
        ),
        (|f| tensor(f, "model.a").type_name = "U32".into(), "model.a has the type U32"),
    ];
    for (change, expected) in cases {
        let error = read(change).unwrap_err().to_string();
        assert!(error.starts_with("resume.safetensors: "), "{error}");
        assert!(error.contains(expected), "{error} lacks {expected}");
    }
}

#[test]
fn a_file_without_its_checksum_or_its_fingerprint_is_refused() {
    for (key, expected) in [("checksum", "has no checksum"), ("format", "names no format")] {
        let lie = parts(&samples::codes_bytes()).with(|f| drop(f.metadata.remove(key)));
        let error = Codes::from_bytes("c", lie.unsigned_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn weights_as_large_as_numbers_go_give_codes_in_range() {
    // Finite weights whose GEMM overflows: the distances are NaN, and a code has to come out all the same.
    use burn::tensor::Tensor;
    for value in [f32::MAX, -f32::MAX, 1e30] {
        let lie = parts(&samples::tokenizer_bytes()).with(|f| {
            for tensor in f.tensors.values_mut() {
                tensor.bytes = value.to_le_bytes().repeat(tensor.bytes.len() / 4);
            }
        });
        let file = ModelFile::from_bytes("v", lie.bytes(), Kind::Tokenizer).unwrap();
        let device = samples::device();
        let model: Tokenizer = file.build(|config| Tokenizer::new(config, 0, &device)).unwrap();
        let images = Tensor::<4>::ones([2, 4, 4, 1], &device);
        let codes = model.encode(images);
        assert!(codes.to_data().iter::<i64>().all(|code| (0..4).contains(&code)), "{value}");
        assert_eq!(model.decode(codes).dims(), [2, 4, 4, 1]);
    }
}
