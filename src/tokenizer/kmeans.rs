//! Lloyd's k-means, to initialise a codebook from latents.

use burn::tensor::Tensor;

use super::ema::draw_rows;
use crate::ops::nearest::{CodeSums, nearest_code, sums_by_code};
use crate::rng::Stream;

/// Centres of `rows` after `rounds` iterations, starting from rows drawn with `rng`; a centre that loses all its rows
/// is redrawn.
///
/// # Shapes
/// - `rows`: `[n, dim]`, detached
/// - output: `[centres, dim]`
pub(crate) fn kmeans(
    rows: Tensor<2>,
    centres: usize,
    rounds: usize,
    rng: &mut Stream,
) -> Tensor<2> {
    let [_, dim] = rows.dims();
    let mut centroids = draw_rows(rows.clone(), centres, rng);
    for _ in 0..rounds {
        let codes = nearest_code(rows.clone(), centroids);
        let CodeSums { counts, sums } = sums_by_code(rows.clone(), codes, centres);
        let empty = counts.clone().equal_scalar(0.0).reshape([centres, 1]).expand([centres, dim]);
        let means = sums / counts.clamp_min(1.0).reshape([centres, 1]).expand([centres, dim]);
        centroids = means.mask_where(empty, draw_rows(rows.clone(), centres, rng));
    }
    centroids
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn two_clusters_get_a_centre_each() {
        let device = Device::flex();
        let rows = [[0.0, 0.1], [0.1, 0.0], [-0.1, -0.1], [5.0, 5.1], [5.1, 4.9], [4.9, 5.0]];
        let rows = Tensor::<2>::from_floats(rows, &device);
        let mut rng = stream(0, Purpose::CodebookInit, 0, 0);
        let centres = kmeans(rows, 2, 10, &mut rng).into_data();
        let mut firsts: Vec<f32> = centres.iter::<f32>().step_by(2).collect();
        firsts.sort_by(f32::total_cmp);
        assert!(firsts[0].abs() < 1e-6 && (firsts[1] - 5.0).abs() < 1e-6, "{firsts:?}");
    }
}
