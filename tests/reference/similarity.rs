//! Image metrics against scikit-image.

use vqgen::evaluation::{ImageShape, mse_per_image, psnr_db, ssim_per_image};

use super::support::Reference;

#[test]
fn mse_psnr_and_ssim_agree_with_scikit_image() {
    let reference = Reference::read("similarity.safetensors");
    for (name, height, width, channels) in [("grey", 24, 20, 1), ("rgb", 32, 32, 3)] {
        let a = reference.values(&format!("input.{name}.a"));
        let b = reference.values(&format!("input.{name}.b"));
        let shape = ImageShape { height, width, channels };
        let close = |metric: &str, actual: Vec<f64>| {
            let actual: Vec<f32> = actual.into_iter().map(|value| value as f32).collect();
            reference.compare(&format!("expected.{name}.{metric}"), &actual);
        };
        let mse = mse_per_image(a, b, shape.image_len());
        close("psnr_db", mse.iter().copied().map(psnr_db).collect());
        close("mse", mse);
        close("ssim", ssim_per_image(a, b, shape, 0.0).unwrap());
    }
}
