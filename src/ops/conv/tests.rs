use burn::tensor::{Device, TensorData, Tolerance};

use super::*;
use crate::rng::{Purpose, stream};

#[test]
fn a_convolution_of_ones_counts_the_pixels_under_the_kernel() {
    let device = Device::flex();
    // Few channels, and enough for Winograd.
    for (c_in, c_out) in [(2, 1), (16, 17)] {
        let x = Tensor::<4>::ones([1, 3, 3, c_in], &device);
        let weight = Tensor::<4>::ones([3, 3, c_in, c_out], &device);
        let y = conv2d(x, weight, Some(Tensor::full([c_out], 0.5, &device)), 1, 1);
        let pixels = [4, 6, 4, 6, 9, 6, 4, 6, 4];
        let wanted: Vec<f32> = pixels
            .into_iter()
            .flat_map(|pixels| vec![(pixels * c_in) as f32 + 0.5; c_out])
            .collect();
        y.into_data().assert_eq(&TensorData::new(wanted, [1, 3, 3, c_out]), true);
    }
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

/// Value and every gradient of `convolution` with the fused operations `around`, weighted by random factors.
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
            // Enough channels for Winograd, with its kernel sizes.
            (5, 8, 8, 16, 32, 3, 1, 1),
            (2, 7, 5, 20, 17, 3, 1, 1),
            (3, 3, 4, 16, 16, 3, 1, 0),
            (1, 4, 5, 33, 16, 3, 1, 2),
            (1, 2, 131, 16, 16, 3, 1, 1),
            (2, 9, 7, 16, 17, 6, 3, 2),
            (2, 1, 5, 16, 16, 3, 1, 1),
            (2, 18, 21, 16, 16, 3, 1, 1),
            (5, 8, 8, 16, 33, 4, 2, 1),
            (20, 18, 20, 16, 16, 4, 2, 1),
            (2, 7, 5, 20, 17, 4, 2, 1),
            (1, 6, 4, 16, 16, 4, 2, 0),
            (2, 5, 6, 17, 16, 2, 1, 0),
            (3, 9, 6, 16, 18, 6, 2, 2),
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

/// Shapes for each algorithm, `[height, width, c_in, c_out]`, with kernel size and stride.
const WAYS: [([usize; 4], usize, usize); 3] =
    [([6, 6, 5, 7], 3, 1), ([6, 5, 16, 17], 3, 1), ([8, 6, 16, 16], 4, 2)];

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    for transposed in [false, true] {
        for ([height, width, c_in, c_out], size, stride) in WAYS {
            let weight =
                if transposed { [c_in, size, size, c_out] } else { [size, size, c_in, c_out] };
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let x = [40, height, width, c_in];
                pool.install(|| passes(convolution, transposed, x, weight, [true, true], stride, 1))
            };
            assert_eq!(run(1), run(3));
        }
    }
}

#[test]
fn an_image_does_not_depend_on_the_others_of_its_batch() {
    let device = Device::flex();
    for transposed in [false, true] {
        for ([height, width, c_in, c_out], size, stride) in WAYS {
            let x = random(0, [37, height, width, c_in], &device);
            let weight =
                if transposed { [c_in, size, size, c_out] } else { [size, size, c_in, c_out] };
            let run = |x| {
                let weight = random(1, weight, &device);
                convolution(x, weight, None, [stride, 1], transposed, Around::default())
            };
            let all = run(x.clone());
            for image in [0, 17, 36] {
                let alone = run(x.clone().slice_dim(0, image..image + 1));
                let among = all.clone().slice_dim(0, image..image + 1);
                assert_eq!(alone.into_data(), among.into_data());
            }
        }
    }
}

#[test]
fn fewer_multiplications_keep_the_error_below_a_millionth() {
    let device = Device::flex();
    for (size, stride) in [(3, 1), (4, 2)] {
        let x = random(0, [2, 8, 8, 64], &device);
        let weight = random(1, [size, size, 64, 32], &device);
        let y = conv2d(x.clone(), weight.clone(), None, stride, 1);
        let [_, rows, columns, _] = y.dims();
        let [x, weight, y] =
            [x, weight, y].map(|tensor| tensor.into_data().try_into_vec::<f32>().unwrap());
        let (mut error, mut all) = (0.0, 0.0);
        for (at, &y) in y.iter().enumerate() {
            let [c, column, row, image] =
                [at % 32, at / 32 % columns, at / 32 / columns % rows, at / 32 / columns / rows];
            let mut wanted = 0.0;
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let (v, u) = (row * stride + i, column * stride + j);
                if !(1..=8).contains(&v) || !(1..=8).contains(&u) {
                    continue;
                }
                for k in 0..64 {
                    let x = x[((image * 8 + v - 1) * 8 + u - 1) * 64 + k];
                    let w = weight[((i * size + j) * 64 + k) * 32 + c];
                    wanted += f64::from(x) * f64::from(w);
                }
            }
            error += (f64::from(y) - wanted).powi(2);
            all += wanted.powi(2);
        }
        let relative = (error / all).sqrt();
        assert!(relative < 1e-6, "a root-mean-square error of {relative:e}");
    }
}
