//! The seeds of the fuzz targets: the files that the tests damage.

use vqgen::recipe::BUILT_IN;

use super::{packed, samples};

#[test]
#[ignore = "writes fuzz/corpus; run it after a change of a format"]
fn write_the_corpus_of_the_fuzz_targets() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    for (name, text) in BUILT_IN {
        write("recipe", name, text.as_bytes());
    }
    write(
        "recipe",
        "overridden",
        br#"{"name": "x", "vqvae": {"preset": "resnet", "halvings": 3}}"#,
    );
    write("codes_file", "codes", &samples::codes_bytes());
    write("model_file", "tokenizer", &samples::tokenizer_bytes());
    write("model_file", "prior", &samples::prior_bytes());
    write("resume_state", "prior", &samples::resume_bytes());
    // The length of the images, big-endian, then images and labels.
    let pair = |images: Vec<u8>, labels: Vec<u8>| {
        [&(images.len() as u16).to_be_bytes()[..], &images, &labels].concat()
    };
    write("idx", "digits", &pair(packed::idx(&[3, 4, 4]), packed::idx(&[3])));
    write("idx", "wide", &pair(packed::idx(&[1, 2, 9]), packed::idx(&[1])));
    write("cifar", "one", &packed::cifar_record());
    write("cifar", "two", &packed::cifar_record().repeat(2));
    // The byte that selects the project, and no changes.
    for (name, byte) in [("taming", 0), ("llamagen", 1), ("diffusers", 2)] {
        write("import", name, &[byte]);
    }
    // The byte that selects the target, then a file; one small file of each kind.
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in [
        "kinds/bmp_v4_calibrated.bmp",
        "kinds/gif_profile.gif",
        "kinds/jpeg_2x2_scans_restart.jpg",
        "kinds/jpeg_cmyk_profile.jpg",
        "kinds/jpeg_progressive_restart.jpg",
        "kinds/png_alpha_profile.png",
        "kinds/png_cicp_p3.png",
        "kinds/tiff_alpha_associated.tif",
        "kinds/tiff_group_4.tif",
        "kinds/tiff_jpeg_ycbcr.tif",
        "kinds/tiff_planes_alpha_u16.tif",
        "kinds/tiff_rgb_f32_predictor.tif",
        "kinds/tiff_rgb_u32_tiles.tif",
        "kinds/tiff_white_is_zero.tif",
        "kinds/tiff_ycbcr_2x2.tif",
        "pictures/c_icc_adobergb.webp",
        "pictures/palette_lzw.tif",
        "pictures/t_big.tif",
    ] {
        let bytes = std::fs::read(fixtures.join(name)).unwrap();
        let (_, name) = name.split_once('/').unwrap();
        write("image", name, &[&[7], &bytes[..]].concat());
    }
}
