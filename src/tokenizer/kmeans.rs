//! Lloyd's k-means, to initialise a codebook from latents.

use burn::tensor::Tensor;

use super::ema::draw_rows;
use crate::ops::nearest::{CodeSums, nearest_code, sums_by_code};
use crate::rng::Stream;

/// Lower bound of a norm that divides.
const NORM_FLOOR: f64 = 1e-6;

/// Centres of `rows` after `rounds` iterations, starting from rows drawn with `rng`; a centre that loses all its rows
/// is redrawn. With `spherical`, rows are unit vectors and centres are normalised after each round, so that they are
/// compared by direction (Dhillon and Modha 2001).
///
/// # Shapes
/// - `rows`: `[n, dim]`, detached
/// - output: `[centres, dim]`
pub(crate) fn kmeans(
    rows: Tensor<2>,
    centres: usize,
    rounds: usize,
    spherical: bool,
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
        if spherical {
            let norms = centroids.clone().square().sum_dim(1).sqrt().clamp_min(NORM_FLOOR);
            centroids = centroids / norms;
        }
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
        let centres = kmeans(rows, 2, 10, false, &mut rng).into_data();
        let mut firsts: Vec<f32> = centres.iter::<f32>().step_by(2).collect();
        firsts.sort_by(f32::total_cmp);
        assert!(firsts[0].abs() < 1e-6 && (firsts[1] - 5.0).abs() < 1e-6, "{firsts:?}");
    }

    #[test]
    fn spherical_centres_are_the_directions_of_the_rows_nearest_in_angle() {
        let device = Device::flex();
        let angles = [0.0f32, 0.9, -1.0, 0.5, -0.4, 2.4, 2.6, 3.9];
        let rows: Vec<[f32; 2]> = angles.iter().map(|angle| [angle.cos(), angle.sin()]).collect();
        let data = Tensor::<1>::from_floats(rows.concat().as_slice(), &device).reshape([8, 2]);
        let mut rng = stream(0, Purpose::CodebookInit, 0, 0);
        let centres = kmeans(data, 2, 20, true, &mut rng).into_data();
        let centres: Vec<f32> = centres.iter::<f32>().collect();
        let (centres, _) = centres.as_chunks::<2>();
        let dot = |a: &[f32; 2], b: &[f32; 2]| a[0] * b[0] + a[1] * b[1];
        for (one, other) in [(centres[0], centres[1]), (centres[1], centres[0])] {
            let own = rows.iter().filter(|row| dot(row, &one) > dot(row, &other));
            let sum = own.fold([0.0, 0.0], |sum, row| [sum[0] + row[0], sum[1] + row[1]]);
            let length = sum[0].hypot(sum[1]);
            let wanted = [sum[0] / length, sum[1] / length];
            assert!((dot(&one, &wanted) - 1.0).abs() < 1e-5, "{one:?} {wanted:?}");
        }
    }
}
