//! Orthogonalises matrices by Newton-Schulz iteration, as the optimizer Muon wants it (Jordan et al. 2024, "Muon: An
//! optimizer for hidden layers in neural networks"). It knows no parameter.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use vqgen_kernels as kernels;

/// Each of `matrices` with singular values near 1, as [`kernels::orthogonalise`] says; those of zeros remain.
///
/// # Shapes
/// - matrices, output: `[rows, columns]`, each its own
pub(crate) fn orthogonalised(matrices: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
    match matrices.first() {
        Some(first) if kernels::runs_here(first) => on_host(matrices),
        _ => matrices.into_iter().map(plain).collect(),
    }
}

/// In parallel over matrices, of which there are many.
fn on_host(matrices: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
    let on_one = |matrix: Tensor<2>| {
        let (shape, device) = (matrix.dims(), matrix.device());
        let mut values = kernels::values(matrix);
        kernels::orthogonalise(&mut values, shape);
        Tensor::from_data(TensorData::new(values, shape), &device)
    };
    matrices.into_par_iter().map(on_one).collect()
}

/// In Burn's own operations.
fn plain(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    if rows > columns {
        return plain(x.transpose()).transpose();
    }
    let [a, b, c] = kernels::ORTHOGONAL_QUINTIC;
    let norm = x.clone().square().sum().sqrt().clamp_min(kernels::ORTHOGONAL_FLOOR);
    let x = x / norm.reshape([1, 1]);
    (0..kernels::ORTHOGONAL_STEPS).fold(x, |x, _| {
        let gram = x.clone().matmul(x.clone().transpose()); // [rows, rows]
        let factor = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        factor.matmul(x.clone()) + x.mul_scalar(a)
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    fn random([rows, columns]: [usize; 2]) -> Tensor<2> {
        let mut rng = stream(7, Purpose::Weights, 0, 0);
        let values: Vec<f32> = (0..rows * columns).map(|_| 1e-3 * rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition() {
        let shapes = [[6, 20], [20, 6], [40, 40], [1, 5], [64, 192]];
        let all = orthogonalised(shapes.map(random).to_vec());
        assert_eq!(all.len(), shapes.len());
        for (shape, actual) in shapes.into_iter().zip(all) {
            let wanted = plain(random(shape)).into_data();
            let near = Tolerance::absolute(1e-4);
            actual.into_data().assert_approx_eq::<f32>(&wanted, near);
        }
    }

    #[test]
    fn of_a_diagonal_matrix_each_value_takes_its_own_way() {
        let x = Tensor::<2>::from_floats([[8.0, 0.0], [0.0, -6.0]], &Device::flex());
        let [a, b, c] = kernels::ORTHOGONAL_QUINTIC;
        let quintic = |x: f32| a * x + b * x.powi(3) + c * x.powi(5);
        let by_hand = |x: f32| (0..kernels::ORTHOGONAL_STEPS).fold(x, |x, _| quintic(x));
        // .8 and .6 are the values divided by their norm.
        let wanted = TensorData::from([[by_hand(0.8), 0.0], [0.0, by_hand(-0.6)]]);
        let actual = orthogonalised(vec![x.clone()]).remove(0);
        for actual in [actual, plain(x)] {
            let near = Tolerance::absolute(1e-5);
            actual.into_data().assert_approx_eq::<f32>(&wanted, near);
        }
    }
}
