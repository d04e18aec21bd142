//! Distances between sets against scipy, pytorch-fid and the code of Karras et al. restated.

use vqgen::evaluation::{
    ImageShape, Moments, Patches, frechet_distance, kernel_distance, sliced_wasserstein,
};

use super::support::Reference;

#[test]
fn distances_between_features_agree_with_the_packages() {
    let reference = Reference::read("sets.safetensors");
    for (case, n_features) in [("many", 8), ("few", 32)] {
        let [a, b] = ["a", "b"].map(|set| reference.values(&format!("input.{case}.{set}")));
        let moments = |vectors: &[f32]| {
            let mut moments = Moments::new(n_features);
            // In parts, as they come.
            for part in vectors.chunks(4 * n_features) {
                moments.add(part);
            }
            moments
        };
        for (a, b) in [(a, b), (b, a)] {
            let distance = frechet_distance(&moments(a), &moments(b));
            reference.compare(&format!("expected.{case}.frechet"), &[distance as f32]);
            let distance = kernel_distance(a, b, n_features).unwrap();
            reference.compare(&format!("expected.{case}.kernel"), &[distance as f32]);
        }
    }
}

#[test]
fn the_sliced_wasserstein_distance_agrees_with_the_published_code() {
    let reference = Reference::read("sets.safetensors");
    for (case, size, channels) in [("rgb", 32, 3), ("grey", 28, 1)] {
        let shape = ImageShape { height: size, width: size, channels };
        let [a, b] = ["a", "b"].map(|set| {
            let values = reference.values(&format!("input.{case}.{set}"));
            let images: Vec<u8> = values.iter().map(|value| *value as u8).collect();
            let mut patches = Patches::new(images.len() / shape.image_len(), shape).unwrap();
            patches.add(&images);
            patches
        });
        let (mean, levels) = sliced_wasserstein(&a, &b).unwrap();
        let levels: Vec<f32> = levels.into_iter().map(|level| level as f32).collect();
        reference.compare(&format!("expected.{case}.sliced"), &levels);
        let of_levels = f64::from(levels.iter().sum::<f32>()) / levels.len() as f64;
        assert!((mean - of_levels).abs() < 1e-4, "{mean} {levels:?}");
    }
}
