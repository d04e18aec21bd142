use burn::tensor::{Device, TensorData, Tolerance};

use super::*;
use crate::rng::{Purpose, stream};

#[test]
fn a_convolution_of_ones_counts_the_pixels_under_the_kernel() {
    let device = Device::flex();
    let x = Tensor::<4>::ones([1, 3, 3, 2], &device);
    let weight = Tensor::<4>::ones([3, 3, 2, 1], &device);
    let y = conv2d(x, weight, Some(Tensor::from_floats([0.5], &device)), 1, 1);
    let counts = [8.5, 12.5, 8.5, 12.5, 18.5, 12.5, 8.5, 12.5, 8.5f32];
    y.into_data().assert_eq(&TensorData::new(counts.to_vec(), [1, 3, 3, 1]), true);
}

#[test]
fn a_transposed_convolution_spreads_each_pixel_by_its_kernel() {
    let device = Device::flex();
    let x = Tensor::<4>::from_floats([[[[2.0], [3.0]]]], &device); // [1, 1, 2, 1]
    let kernel: Vec<f32> = (1..=4).map(|v| v as f32).collect();
    let weight = Tensor::<4>::from_data(TensorData::new(kernel, [1, 2, 2, 1]), &device);
    let y = conv_transpose2d(x, weight, None, 2, 0); // [1, 2, 4, 1]
    let wanted = vec![2.0, 4.0, 3.0, 6.0, 6.0, 8.0, 9.0, 12.0f32];
    y.into_data().assert_eq(&TensorData::new(wanted, [1, 2, 4, 1]), true);
}

fn random<const D: usize>(item: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut rng = stream(7, Purpose::Weights, 0, item);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

type Convolution =
    fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, [usize; 2], bool, Around) -> Tensor<4>;

/// Value and every gradient of `convolution`, weighted by random factors. `around` adds what is around it.
fn passes(
    convolution: Convolution,
    transposed: bool,
    x: [usize; 4],
    weight: [usize; 4],
    [bias, around]: [bool; 2],
    stride: usize,
    padding: usize,
) -> Vec<TensorData> {
    let device = Device::flex().autodiff();
    let x = random(0, x, &device).require_grad();
    let c_out = weight[3];
    let weight = random(1, weight, &device).require_grad();
    let bias = bias.then(|| random(2, [c_out], &device).require_grad());
    let run = |residual| {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
        let around = Around { relu: around, residual };
        convolution(x, weight, bias, [stride, padding], transposed, around)
    };
    let shape = run(None).dims();
    let residual = around.then(|| random(4, shape, &device).require_grad());
    let y = run(residual.clone());
    let factors = random(3, shape, &device);
    let gradients = (y.clone() * factors).sum().backward();
    let mut found = vec![
        y.into_data(),
        x.grad(&gradients).unwrap().into_data(),
        weight.grad(&gradients).unwrap().into_data(),
    ];
    found.extend(bias.map(|bias| bias.grad(&gradients).unwrap().into_data()));
    found.extend(residual.map(|residual| residual.grad(&gradients).unwrap().into_data()));
    found
}

#[test]
fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
    for transposed in [false, true] {
        for (batch, height, width, c_in, c_out, size, stride, padding) in [
            (3, 8, 8, 4, 6, 3, 1, 1),
            (2, 8, 6, 3, 5, 4, 2, 1),
            (1, 5, 7, 2, 3, 1, 1, 0),
            (33, 4, 4, 1, 2, 3, 1, 1),
            (2, 7, 5, 3, 2, 7, 2, 3),
            (2, 6, 6, 2, 4, 1, 2, 0),
        ] {
            let x = [batch, height, width, c_in];
            let weight =
                if transposed { [c_in, size, size, c_out] } else { [size, size, c_in, c_out] };
            for with in [[false, false], [true, false], [false, true], [true, true]] {
                let actual = passes(convolution, transposed, x, weight, with, stride, padding);
                let wanted = passes(composition, transposed, x, weight, with, stride, padding);
                assert_eq!(actual.len(), wanted.len());
                for (actual, wanted) in actual.iter().zip(&wanted) {
                    actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(1e-4, 1e-4));
                }
            }
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| passes(convolution, false, [40, 6, 6, 5], [3, 3, 5, 7], [true, true], 1, 1))
    };
    assert_eq!(run(1), run(3));
}
