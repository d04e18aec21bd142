//! Norms by hand-worked values, finite differences, and the kernels against the compositions.

use super::*;
use burn::tensor::{Distribution, TensorData, Tolerance, activation};

use crate::rng::{Purpose, stream};

#[test]
fn a_layer_norm_of_1_2_3_is_its_hand_worked_value() {
    let device = Device::flex();
    let x = Tensor::from_floats([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]], &device);
    let gain = Tensor::from_floats([1.0, 2.0, 1.0], &device);
    let bias = Tensor::from_floats([0.0, 0.5, 1.0], &device);
    // Row 1: mean 2, variance 2/3, 1/sqrt(2/3 + 1e-5) = 1.224736. Row 2 has zero variance: the bias remains.
    let expected = TensorData::from([[-1.224736, 0.5, 2.224736], [0.0, 0.5, 1.0]]);
    layer_norm(x, gain, bias, EPSILON)
        .into_data()
        .assert_approx_eq::<f32>(&expected, Tolerance::absolute(2e-6));
}

#[test]
fn a_group_norm_takes_its_statistics_over_pixels_and_the_channels_of_a_group() {
    let device = Device::flex();
    // One image of 1x2 pixels and 4 channels in 2 groups: {1, 3, 5, 7} and {2, 2, 4, 4}.
    let x = Tensor::<1>::from_floats([1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 4.0, 4.0], &device);
    let gain = Tensor::from_floats([1.0, 1.0, 1.0, 10.0], &device);
    let bias = Tensor::from_floats([0.0, 1.0, 0.0, 0.0], &device);
    let y = group_norm(x.reshape([1, 1, 2, 4]), 2, gain, bias, EPSILON);
    // Group 1: mean 4, variance 5, scale 0.447213. Group 2: mean 3, variance 1, scale 0.999995.
    let expected = TensorData::new(
        vec![-1.341639f32, 0.552787, -0.999995, -9.99995, 0.447213, 2.341639, 0.999995, 9.99995],
        [1, 1, 2, 4],
    );
    y.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(5e-6));
}

#[test]
fn a_group_norm_of_one_pixel_and_one_group_is_a_layer_norm() {
    let device = Device::flex();
    let x = Tensor::<2>::random([5, 6], Distribution::Normal(3.0, 2.0), &device);
    let gain = Tensor::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &device);
    let bias = Tensor::from_floats([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &device);
    let rows = layer_norm(x.clone(), gain.clone(), bias.clone(), EPSILON);
    let images = group_norm(x.reshape([5, 1, 1, 6]), 1, gain, bias, EPSILON);
    images
        .reshape([5, 6])
        .into_data()
        .assert_approx_eq::<f32>(&rows.into_data(), Tolerance::absolute(2e-5));
}

#[test]
fn gradients_reach_input_gain_and_bias_and_do_not_move_the_mean() {
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::random([2, 3, 3, 4], Distribution::Default, &device).require_grad();
    let layer = GroupNorm::new(2, 4, &device);
    let weights = Tensor::random([2, 3, 3, 4], Distribution::Default, &device);
    let grads = (layer.forward(x.clone()) * weights).sum().backward();
    let gain: f32 = layer.weight.val().grad(&grads).unwrap().abs().sum().into_scalar();
    let bias: f32 = layer.bias.val().grad(&grads).unwrap().abs().sum().into_scalar();
    assert!(gain > 0.0 && bias > 0.0, "gain {gain}, bias {bias}");
    // Shifting all inputs of an image changes nothing, so the gradient sums to 0 over it.
    let x_grad = x.grad(&grads).unwrap();
    let sizes: f32 = x_grad.clone().abs().sum().into_scalar();
    let sum: f32 = x_grad.sum_dims(&[1, 2, 3]).abs().sum().into_scalar();
    assert!(sizes > 0.1 && sum < 1e-3 * sizes, "sum {sum} of {sizes}");
}

#[test]
fn gradients_of_a_layer_norm_match_finite_differences() {
    let device = Device::flex().autodiff();
    let points = [[0.3f32, -1.2, 2.0], [1.0, 0.1, -0.5]];
    let gain = Tensor::<1>::from_floats([1.0, 0.5, 2.0], &device);
    let pick = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.3, 1.0, 1.0]], &device);
    let loss = |x: Tensor<2>| {
        let y = layer_norm(x, gain.clone(), Tensor::zeros([3], &device), EPSILON);
        (y * pick.clone()).sum()
    };
    let x = Tensor::<2>::from_floats(points, &device).require_grad();
    let grad = x.grad(&loss(x.clone()).backward()).unwrap().to_data_as::<f32>();
    let grad = grad.as_slice::<f32>().unwrap();
    let step = 1e-2;
    for (index, &analytic) in grad.iter().enumerate() {
        let at = |by: f32| -> f32 {
            let mut moved = points;
            moved[index / 3][index % 3] += by;
            loss(Tensor::from_floats(moved, &device)).into_scalar()
        };
        let numeric = (at(step) - at(-step)) / (2.0 * step);
        assert!((numeric - analytic).abs() < 2e-3, "{index}: {numeric} and {analytic}");
    }
}

/// Value and gradients w.r.t. input, gain and bias of `norm` on random values, weighted by random factors.
fn passes<const D: usize>(
    shape: [usize; D],
    norm: impl Fn(Tensor<D>, Tensor<1>, Tensor<1>) -> Tensor<D>,
) -> [TensorData; 4] {
    let device = Device::flex().autodiff();
    let width = shape[D - 1];
    let random = |item, len: usize| -> Vec<f32> {
        let mut rng = stream(5, Purpose::Weights, 0, item);
        (0..len).map(|_| 0.7 + 2.0 * rng.normal()).collect()
    };
    let like_x = |item| {
        let data = TensorData::new(random(item, shape.iter().product()), shape);
        Tensor::<D>::from_data(data, &device)
    };
    let like_gain = |item| {
        let data = TensorData::new(random(item, width), [width]);
        Tensor::<1>::from_data(data, &device).require_grad()
    };
    let (x, gain, bias) = (like_x(0).require_grad(), like_gain(1), like_gain(2));
    let y = norm(x.clone(), gain.clone(), bias.clone());
    let gradients = (y.clone() * like_x(3)).sum().backward();
    let by_x = x.grad(&gradients).unwrap().into_data();
    let [gain, bias] = [gain, bias].map(|x| x.grad(&gradients).unwrap().into_data());
    [y.into_data(), by_x, gain, bias]
}

#[test]
fn the_layer_norm_kernel_agrees_with_the_composition_in_value_and_every_gradient() {
    for shape in [[1, 1], [3, 2], [5, 17], [64, 48], [65, 33], [200, 16]] {
        let actual = passes(shape, |x, gain, bias| layer_norm(x, gain, bias, EPSILON));
        let wanted = passes(shape, |x, gain, bias| plain_layer_norm(x, gain, bias, EPSILON));
        for (actual, wanted) in actual.iter().zip(&wanted) {
            actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(2e-4, 1e-4));
        }
    }
}

#[test]
fn the_rms_norm_kernel_agrees_with_the_composition_in_value_and_every_gradient() {
    for shape in [[1, 1], [3, 2], [5, 17], [64, 48], [65, 33], [200, 16]] {
        // Without a bias: adding it after the norm gives it the gradient that `passes` asks for.
        let with = |norm: fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>| {
            passes(shape, |x, gain, bias| norm(x, gain, EPSILON) + bias.unsqueeze())
        };
        for (actual, wanted) in with(rms_norm).iter().zip(&with(plain_rms_norm)) {
            actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(2e-4, 1e-4));
        }
    }
}

#[test]
fn an_rms_norm_divides_by_the_root_mean_square() {
    let device = Device::flex();
    // Of 1, 7 it is 5; the mean stays.
    let x = Tensor::<2>::from_floats([[1.0, 7.0]], &device);
    let gain = Tensor::<1>::from_floats([1.0, 2.0], &device);
    let expected = TensorData::from([[0.2f32, 2.8]]);
    rms_norm(x, gain, 0.0)
        .into_data()
        .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
}

#[test]
fn the_group_norm_kernel_agrees_with_the_composition_in_value_and_every_gradient() {
    for (shape, groups) in [
        ([1, 1, 2, 1], 1),
        ([2, 3, 5, 6], 2),
        ([3, 4, 4, 32], 32),
        ([2, 5, 3, 33], 3),
        ([5, 2, 2, 64], 1),
    ] {
        let actual = passes(shape, |x, gain, bias| group_norm(x, groups, gain, bias, EPSILON));
        let wanted =
            passes(shape, |x, gain, bias| plain_group_norm(x, groups, gain, bias, EPSILON));
        for (actual, wanted) in actual.iter().zip(&wanted) {
            actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(2e-4, 1e-4));
        }
        let actual = passes(shape, |x, gain, bias| group_norm_silu(x, groups, gain, bias, EPSILON));
        let wanted = passes(shape, |x, gain, bias| {
            activation::silu(plain_group_norm(x, groups, gain, bias, EPSILON))
        });
        for (actual, wanted) in actual.iter().zip(&wanted) {
            actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(2e-4, 1e-4));
        }
    }
}

#[test]
fn a_group_norm_does_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let norm = |x, gain, bias| group_norm(x, 2, gain, bias, EPSILON);
        pool.install(|| passes([30, 3, 4, 6], norm))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_layer_norm_does_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let norm = |x, gain, bias| layer_norm(x, gain, bias, EPSILON);
        pool.install(|| passes([500, 19], norm))
    };
    assert_eq!(run(1), run(3));
}
