//! Memory use on hostile files: reading one allocates a few times its size plus a few MiB, whatever it declares. Tests
//! run one at a time, because all threads share the allocator's count. Bounded by fixed limits instead: a model of the
//! most layers, before its weights are initialised (6 MiB); a compressed image that really holds its pixels (512 MiB);
//! headers of WebP and of some TIFF compressions, which allow any number of pixels in a few bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic_in_result_fn)]
#![allow(missing_docs, unsafe_code)]

#[path = "hostile_memory/counting.rs"]
mod counting;

use std::io::Write as _;
use std::path::Path;

use burn::tensor::Device;
use counting::{SLACK, TIMES, alone, cheaply, refused_cheaply};
use vqgen::checkpoint::{Codes, Kind, MetricsLog, ModelFile, NamedTensor, ResumeState, Stage};
use vqgen::data::{DataConfig, Dataset, Target, decode_bytes};
use vqgen::error::Result;
use vqgen::prior::{Prior, PriorConfig};
use vqgen::recipe::Recipe;
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};

/// What a model of the most layers that a configuration may have takes beyond [`SLACK`] before it is initialised.
const MOST_LAYERS: usize = 2 << 20;

#[test]
fn what_is_taken_and_given_back_is_counted() {
    let _alone = alone();
    let take = |size: usize| {
        let grown = std::panic::catch_unwind(|| {
            refused_cheaply("a vector", 0, || -> Result<()> {
                drop(std::hint::black_box(vec![0u8; size]));
                Err(vqgen::error::Error::invalid("no"))
            });
        });
        grown.is_ok()
    };
    assert!(take(SLACK / 2));
    assert!(!take(SLACK * 2));
}

#[test]
fn headers_of_tensor_files_cost_what_they_are_not_what_they_say() {
    let _alone = alone();
    let file = |length: u64, header: &str| [&length.to_le_bytes()[..], header.as_bytes()].concat();
    let whole = |header: String| file(header.len() as u64, &header);
    let tensor = |shape: &str| {
        whole(format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[0,0]}}}}"))
    };
    let million = 1 << 20;
    let files = [
        ("a header of 2^60 bytes", file(1 << 60, "{}")),
        ("a header of 2^64 - 1 bytes", file(u64::MAX, "{}")),
        ("a tensor of 2^62 numbers", tensor("4611686018427387904")),
        ("a tensor of a million axes", tensor(&vec!["0"; million].join(","))),
        ("a header of a million lists", whole("[".repeat(million))),
        ("a million unknown values", whole(format!("{{\"x\":[{}0]}}", "0,".repeat(million)))),
        ("a metadata of nothing but quotes", whole("\"".repeat(million))),
        ("a million bytes of a name", whole(format!("{{\"{}\":1}}", "n".repeat(million)))),
    ];
    for (what, bytes) in files {
        let size = bytes.len();
        refused_cheaply(what, size, || Codes::from_bytes("c", bytes.clone()));
        refused_cheaply(what, size, || ModelFile::from_bytes("m", bytes.clone(), Kind::Prior));
        refused_cheaply(what, size, || ResumeState::from_bytes("r", bytes.clone(), Stage::Vqvae));
    }
}

#[test]
fn a_configuration_costs_nothing_before_it_is_that_of_the_tensors() {
    let _alone = alone();
    let prior = |width: u64, layers: u64, positions: &str| {
        serde_json::json!({
            "codebook_size": 65_536, "n_classes": 0, "grid_height": 256, "grid_width": 256,
            "layers": layers, "heads": 1, "width": width, "dropout": 0.0, "positions": positions,
            "tie_weights": false,
        })
    };
    let tokenizer = |preset: &str, width: u64, image_size: u64| {
        serde_json::json!({
            "image_size": image_size, "channels": 3, "preset": preset, "width": width,
            "channel_multipliers": if preset == "resnet" { vec![1, 1] } else { vec![] },
            "residual_blocks": 64, "residual_width": if ["plain", "wide"].contains(&preset) { 16_384 } else { 0 },
            "halvings": if preset == "resnet34" { 3 } else { 1 }, "attention": preset == "resnet",
            "codebook_size": 65_536, "code_dim": 16_384, "normalize_codes": false,
        })
    };
    let device = Device::flex();
    let weights = || vec![NamedTensor::new("a", vec![64], vec![0.5; 64]).unwrap()];
    for config in [
        prior(1_000_000_000, 1, "learned"),
        prior(65_536, 256, "learned"),
        prior(65_536, 256, "rotary"),
    ] {
        let file = ModelFile::new(Kind::Prior, &config, weights()).unwrap();
        refused_cheaply("a prior", 4_096, || {
            file.build(|config: &PriorConfig| Prior::new(config, 0, &device))
        });
    }
    // Six levels of 64 blocks, the most there are.
    let mut most_layers = tokenizer("resnet", 2_688, 64);
    most_layers["halvings"] = 5.into();
    most_layers["channel_multipliers"] = serde_json::json!([1, 2, 3, 4, 5, 6]);
    let file = ModelFile::new(Kind::Tokenizer, &most_layers, weights()).unwrap();
    let built = cheaply("a tokenizer of the most layers", 4_096 + MOST_LAYERS / TIMES, || {
        file.build(|config: &TokenizerConfig| Tokenizer::new(config, 0, &device))
    });
    let message = built.unwrap_err().to_string();
    assert!(message.contains("the tensors hold 64"), "{message}");
    let with = |fields: serde_json::Value| {
        let mut config = tokenizer("plain", 16, 64);
        for (key, value) in fields.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    for config in [
        with(serde_json::json!({ "quantizer": "residual", "depth": 8 })),
        with(serde_json::json!({ "quantizer": "residual", "depth": 1u64 << 60 })),
        with(serde_json::json!({ "quantizer": "residual", "depth": 8, "codebook_map": true })),
        with(serde_json::json!({ "quantizer": "fsq", "levels": vec![256; 8], "code_dim": 8 })),
        with(serde_json::json!({ "quantizer": "fsq", "levels": [256, 256], "code_dim": 2 })),
        with(serde_json::json!({ "codebook_map": true })),
        tokenizer("plain", 1_000_000_000, 64),
        tokenizer("plain", 16_384, 64),
        tokenizer("wide", 16_384, 64),
        tokenizer("plain", 16_384, 1 << 60),
        tokenizer("resnet", 16_384, 64),
        tokenizer("resnet34", 16_384, 1024),
    ] {
        let file = ModelFile::new(Kind::Tokenizer, &config, weights()).unwrap();
        refused_cheaply("a tokenizer", 4_096, || {
            file.build(|config: &TokenizerConfig| Tokenizer::new(config, 0, &device))
        });
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(folder: &Path) -> Result<Dataset> {
    let path = folder.to_str().unwrap().to_owned();
    Dataset::open(&DataConfig { path, image_size: 4, channels: 1, ..DataConfig::default() }, false)
}

#[test]
fn idx_headers_and_gzip_bombs_cost_what_they_are() {
    let _alone = alone();
    let header = |dims: &[u32]| -> Vec<u8> {
        let magic = 0x0800 + dims.len() as u32;
        std::iter::once(&magic).chain(dims).flat_map(|word| word.to_be_bytes()).collect()
    };
    let bomb = vec![0; 256 << 20];
    let files = [
        ("2^31 images of one pixel", "", header(&[1 << 31, 1, 1])),
        ("2^31 images", "", header(&[1 << 31, 28, 28])),
        ("2^32 - 1 of everything", "", header(&[u32::MAX; 3])),
        ("2^31 - 1 images, gzipped", ".gz", gzip(&header(&[(1 << 31) - 1, 1, 1]))),
        ("a bomb that says so", ".gz", gzip(&[&header(&[1 << 16, 64, 64])[..], &bomb].concat())),
        ("a bomb that does not", ".gz", gzip(&[&header(&[1, 4, 4])[..], &bomb].concat())),
    ];
    for (what, ending, bytes) in files {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write(&format!("train-images-idx3-ubyte{ending}"), &bytes);
        write("train-labels-idx1-ubyte", &[&header(&[1])[..], &[0]].concat());
        refused_cheaply(what, bytes.len(), || open(folder.path()));
    }
}

/// A PNG of the given size with these chunks before its pixels, which are `data`.
fn png(width: u32, height: u32, chunks: &[(&[u8; 4], Vec<u8>)], data: &[u8]) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(data);
        png.extend(name.iter().chain(data));
        png.extend(crc.sum().to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    chunks.iter().for_each(|(name, data)| chunk(name, data));
    chunk(b"IDAT", &zlib(data));
    chunk(b"IEND", &[]);
    png
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_in_the_metadata_of_a_png_do_not_go_off() {
    let _alone = alone();
    let target = Target { image_size: 4, channels: 3, background: [0; 3] };
    let bomb = zlib(&vec![0; 128 << 20]);
    let with = |start: &[u8]| [start, &bomb].concat();
    for (name, data) in [
        (b"iCCP", with(b"p\0\0")),
        (b"zTXt", with(b"Comment\0\0")),
        (b"iTXt", with(b"Comment\0\x01\0\0\0")),
        (b"eXIf", vec![0; 1 << 20]),
    ] {
        let bytes = png(4, 4, &[(name, data)], &[0; 4 * 13]);
        let what = String::from_utf8_lossy(name).into_owned();
        // Whether such an image is accepted is up to the decoder.
        let _ = cheaply(&what, bytes.len(), || decode_bytes("x", &bytes, &target));
    }
}

#[test]
fn colour_profiles_cost_what_they_are_not_what_they_say() {
    let _alone = alone();
    let target = Target { image_size: 4, channels: 3, background: [0; 3] };
    // A profile of one table whose grid says that it has 255 points in each of its dimensions.
    let profile = |space: &[u8; 4], kind: &[u8; 4], inputs: u8, grid: u8| {
        let mut profile = vec![0; 128 + 4 + 12];
        profile[12..20].copy_from_slice(&[*b"mntr", *space].concat());
        profile[20..24].copy_from_slice(b"Lab ");
        profile[36..40].copy_from_slice(b"acsp");
        profile[131] = 1;
        profile[132..136].copy_from_slice(b"A2B0");
        profile[136..144].copy_from_slice(&[144u32.to_be_bytes(), 4096u32.to_be_bytes()].concat());
        profile.extend([&kind[..], &[0; 4], &[inputs, 3, grid, 0], &[1; 4096]].concat());
        profile
    };
    for (space, kind, inputs) in
        [(b"RGB ", b"mft1", 3), (b"RGB ", b"mft2", 3), (b"RGB ", b"mAB ", 3)]
    {
        let profile = profile(space, kind, inputs, 255);
        let packed = [b"p\0\0", &zlib(&profile)[..]].concat();
        let bytes = png(4, 4, &[(b"iCCP", packed)], &[0; 4 * 13]);
        let decoded = cheaply("a profile", bytes.len(), || decode_bytes("x", &bytes, &target));
        assert_eq!(decoded.unwrap(), [0; 48]);
    }
}

#[test]
fn images_that_announce_enormous_ones_cost_nothing() {
    let _alone = alone();
    let target = Target { image_size: 4, channels: 3, background: [0; 3] };
    let fixture = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
        std::fs::read(folder.join(name)).unwrap()
    };
    let mut jpeg = fixture("grey.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3f, 0xff, 0x3f, 0xff]);
    let mut gif = fixture("animated.gif");
    gif[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x1f]);
    let bmp = |width: i32, height: i32| {
        let mut bytes = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend([1, 0, 24, 0]);
        bytes.resize(54 + 16, 0);
        bytes
    };
    // Little-endian, with these values of 32 bits, one strip and three samples of 8 bits.
    let tiff = |big: bool, tags: &[(u16, u64)]| {
        let mut bytes = if big {
            b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0".to_vec()
        } else {
            b"II*\0\x08\0\0\0".to_vec()
        };
        let mut all = vec![(258, 8), (262, 2), (273, 8), (277, 3), (279, 1 << 30)];
        all.retain(|(tag, _)| tags.iter().all(|(other, _)| other != tag));
        all.extend_from_slice(tags);
        all.sort_unstable();
        match big {
            true => bytes.extend((all.len() as u64).to_le_bytes()),
            false => bytes.extend((all.len() as u16).to_le_bytes()),
        }
        for (tag, value) in all {
            bytes.extend(tag.to_le_bytes());
            bytes.extend((if big { 16u16 } else { 4 }).to_le_bytes());
            match big {
                true => bytes.extend([1u64.to_le_bytes(), value.to_le_bytes()].concat()),
                false => bytes.extend([1u32.to_le_bytes(), (value as u32).to_le_bytes()].concat()),
            }
        }
        bytes.extend([0; 8]);
        bytes
    };
    let sized =
        |width, height, more: &[(u16, u64)]| [&[(256, width), (257, height)], more].concat();
    let tile = |width, height| [(322, width), (323, height), (324, 8), (325, 1 << 30)];
    let rows = (278, 10_000);
    let ten_thousand = |more: &[(u16, u64)]| sized(10_000, 10_000, &[&[rows], more].concat());
    for (what, bytes) in [
        ("a TIFF of 10,000 squared", tiff(false, &ten_thousand(&[]))),
        ("the same as BigTIFF", tiff(true, &ten_thousand(&[]))),
        ("the same in LZW", tiff(false, &ten_thousand(&[(259, 5)]))),
        ("the same in deflate", tiff(false, &ten_thousand(&[(259, 8)]))),
        ("the same in PackBits", tiff(false, &ten_thousand(&[(259, 32_773)]))),
        ("a TIFF of 2^32 - 1 squared", tiff(false, &sized(u64::from(u32::MAX), 1 << 31, &[]))),
        ("a tile of 2^31 squared", tiff(false, &sized(4, 4, &tile(1 << 31, 1 << 31)))),
        ("65,535 samples per pixel", tiff(false, &sized(4, 4, &[(277, 65_535), (278, 4)]))),
        ("a TIFF of 2^60 bytes of strips", tiff(true, &sized(4, 4, &[(278, 4), (279, 1 << 60)]))),
        ("a PNG of 60,000 squared", png(60_000, 60_000, &[], &[])),
        ("a PNG of 2^31 - 1 squared", png(i32::MAX as u32, i32::MAX as u32, &[], &[])),
        ("a PNG of 16,000 x 8,000", png(16_000, 8_000, &[], &[])),
        ("a JPEG of 16,383 squared", jpeg),
        ("a GIF of 16,383 x 8,191", gif),
        ("a BMP of 16,000 x 8,000", bmp(16_000, 8_000)),
        ("a BMP of -2^31", bmp(i32::MIN, i32::MIN)),
    ] {
        refused_cheaply(what, bytes.len(), || decode_bytes("x", &bytes, &target));
    }
}

#[test]
fn recipes_and_logs_cost_a_few_times_their_size() {
    let _alone = alone();
    let long = "x".repeat(1_000_000);
    let numbers = "1,".repeat(500_000);
    for (what, text) in [
        ("a long key", format!("{{\"{long}\": 1}}")),
        ("a long name", format!("{{\"name\": \"{long}\"}}")),
        ("a long preset", format!("{{\"vqvae\": {{\"preset\": \"{long}\"}}}}")),
        ("no JSON", long.clone()),
    ] {
        refused_cheaply(what, text.len(), || Recipe::parse(&text, "r", &[]));
    }
    // serde_json takes 32 bytes for each of these values, and a recipe has at most 1 MiB.
    let list = format!("{{\"vqvae\": {{\"channel_multipliers\": [{numbers}1]}}}}");
    refused_cheaply("half a million numbers", 16 * list.len(), || Recipe::parse(&list, "r", &[]));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let log =
        format!("{{\"stage\":\"prior\",\"step\":1,\"split\":\"x\",\"{long}\":0.5}}\n").repeat(3);
    let log = format!("{log}{long}\n");
    std::fs::write(&path, &log).unwrap();
    refused_cheaply("a log", log.len(), || MetricsLog::read(&path));
}
