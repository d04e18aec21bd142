//! Every kind of image file that occurs in practice, judged by the colours that a viewer shows.
//! `tests/fixtures/pictures` and `tests/fixtures/kinds` hold one picture of four coloured quarters in many formats;
//! `truth.json` beside them has the expected result: the colours, with a tolerance for lossy formats, or words of the
//! refusal.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use vqgen::data::{DataConfig, Dataset, Target, decode_file};

const TARGET: Target = Target { image_size: 64, channels: 3, background: [255; 3] };

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What is wrong with the pixels of a file: nothing if they match `truth`.
fn judge(path: &Path, truth: &serde_json::Value) -> Result<(), String> {
    let decoded = decode_file(path, &TARGET);
    if let Some(words) = truth["refused"].as_str() {
        return match decoded {
            Ok(_) => Err("was decoded".to_string()),
            Err(error) if error.to_string().contains(words) => Ok(()),
            Err(error) => Err(format!("{error}, which does not say: {words}")),
        };
    }
    let Some(corners) = truth["corners"].as_array() else {
        // Any colours, or a refusal.
        return Ok(());
    };
    let pixels = decoded.map_err(|error| error.to_string())?;
    for ((x, y), expected) in [(9, 9), (50, 9), (9, 50), (50, 50)].iter().zip(corners) {
        let found = &pixels[(y * 64 + x) * 3..][..3];
        let expected: Vec<u8> = serde_json::from_value(expected.clone()).unwrap();
        let worst = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        if u64::from(worst.unwrap()) > truth["tolerance"].as_u64().unwrap() {
            return Err(format!("at {x}, {y}: {found:?}, expected {expected:?}"));
        }
    }
    Ok(())
}

fn judge_all(name: &str, at_least: usize, may_be_refused: &[(&str, &str)]) {
    let folder = folder(name);
    let truth = std::fs::read_to_string(folder.join("truth.json")).unwrap();
    let truth: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&truth).unwrap();
    assert!(truth.len() >= at_least, "only {} files", truth.len());
    let mut wrong = Vec::new();
    for (file, truth) in &truth {
        let refused = may_be_refused.iter().find(|(name, _)| name == file);
        let truth = match refused {
            Some((_, words)) => &serde_json::json!({ "refused": words }),
            None => truth,
        };
        if let Err(what) = judge(&folder.join(file), truth) {
            wrong.push(format!("{file}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} files are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_that_people_reported_are_read_right_or_refused_in_plain_words() {
    judge_all("pictures", 32, &[("j_arithmetic.jpg", "arithmetic coding")]);
}

#[test]
fn every_kind_of_file_has_its_colours_or_is_refused_in_plain_words() {
    judge_all("kinds", 75, &[]);
}

#[test]
fn a_profile_of_srgb_leaves_every_pixel_alone() {
    let decode = |name: &str| decode_file(folder("pictures").join(name), &TARGET).unwrap();
    assert_eq!(decode("c_icc_srgb.png"), decode("a_plain.png"));
}

#[test]
fn a_data_set_of_converted_colours_is_another_than_that_of_the_colours_as_stored() {
    let fingerprint = |picture: &str| {
        let folder_of_images = tempfile::tempdir().unwrap();
        let path = folder_of_images.path();
        std::fs::copy(folder("pictures").join(picture), path.join("a.png")).unwrap();
        let config = DataConfig { path: path.to_str().unwrap().to_owned(), ..Default::default() };
        Dataset::open(&config, true).unwrap().fingerprint().to_owned()
    };
    // SHA-256 of the lines that the fingerprint covers, as before colours were converted, and with the colour mark.
    let expected = |picture: &str, mark: &str| {
        use sha2::{Digest, Sha256};
        let bytes = std::fs::read(folder("pictures").join(picture)).unwrap();
        let key = u64::from_be_bytes(Sha256::digest(bytes)[..8].try_into().unwrap());
        let head = "vqgen.data.1 32 3 [255, 255, 255] 0.05 0.05\n";
        let digest = Sha256::digest(format!("{head}a.png\0{} {key}{mark}\n", 0));
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(fingerprint("a_plain.png"), expected("a_plain.png", ""));
    assert_eq!(fingerprint("c_icc_srgb.png"), expected("c_icc_srgb.png", ""));
    assert_eq!(fingerprint("c_icc_p3.png"), expected("c_icc_p3.png", " srgb"));
}

#[test]
fn colours_that_cannot_be_converted_are_counted_and_named() {
    let folder_of_images = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        std::fs::copy(folder(from), folder_of_images.path().join(to)).unwrap();
    };
    for i in 0..3 {
        put("pictures/c_icc_p3.png", &format!("good_{i}.png"));
    }
    // A profile whose length differs from the one in its header.
    let whole = std::fs::read(folder("kinds/jpeg_profile_in_parts.jpg")).unwrap();
    let at = whole.windows(12).position(|window| window == b"ICC_PROFILE\0").unwrap();
    let mut damaged = whole.clone();
    damaged[at + 12] = 77;
    for name in ["bad_1.jpg", "bad_2.jpg"] {
        std::fs::write(folder_of_images.path().join(name), &damaged).unwrap();
    }
    let open = || {
        let path = folder_of_images.path().to_str().unwrap().to_owned();
        let config = DataConfig { path, image_size: 64, ..DataConfig::default() };
        Dataset::open(&config, true).unwrap().report().to_string()
    };
    let report = open();
    let expected = "2 images have a colour profile that cannot be converted: their colours are treated as \
                    sRGB: bad_1.jpg (damaged: a part is missing), bad_2.jpg (damaged: a part is missing)";
    assert!(report.contains(expected), "{report}");
    std::fs::remove_file(folder_of_images.path().join("bad_2.jpg")).unwrap();
    let report = open();
    let expected =
        "1 image has a colour profile that cannot be converted: its colours are treated as sRGB";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn what_is_another_kind_of_picture_is_called_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    for (bytes, name) in [
        (&b"\0\0\0\x1cftypavif\0\0\0\0"[..], "an AVIF image"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC image"),
        (b"8BPS\0\x01", "a Photoshop document"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = decode_file(&path, &TARGET).unwrap_err().to_string();
        let expected = format!("is {name}, which is not read; convert it to PNG or JPEG");
        assert!(message.contains(&expected), "{message}");
    }
}
