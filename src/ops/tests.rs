//! Properties of every operation that has a kernel.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use burn::tensor::{Device, Tensor, TensorData};

use super::conv::{conv_transpose2d, conv2d};
use super::norm::{EPSILON, group_norm, group_norm_silu, layer_norm};
use super::{linear, linear_gelu};
use crate::rng::{Purpose, stream};

/// Runs the tests that compare kernels with compositions again with every narrower set of instructions.
#[test]
fn the_operations_pass_their_tests_with_every_set_of_instructions() {
    const LIMIT: &str = "VQGEN_INSTRUCTIONS";
    if std::env::var(LIMIT).is_ok() {
        return;
    }
    let sets: Vec<&str> = vqgen_kernels::instruction_sets().collect();
    for set in &sets[..sets.len() - 1] {
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("ops::")
            .env(LIMIT, set)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{set}: {text}");
        assert!(text.contains("the_cpu_kernels_agree") && text.contains("0 failed"), "{text}");
    }
}

/// Random values, with gradient tracking if `tracked`.
fn random<const D: usize>(item: u64, shape: [usize; D], tracked: bool) -> Tensor<D> {
    let mut rng = stream(7, Purpose::Weights, 0, item);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    let data = TensorData::new(values, shape);
    let tensor = Tensor::from_data(data, &Device::flex().autodiff());
    if tracked { tensor.require_grad() } else { tensor }
}

/// The gradients of `map` w.r.t. input, weights and bias, where these are tracked.
fn gradients<const X: usize, const W: usize>(
    map: impl Fn(Tensor<X>, Tensor<W>, Tensor<1>) -> Tensor<X>,
    x: [usize; X],
    weight: [usize; W],
    bias: usize,
    tracked: [bool; 3],
) -> [Option<TensorData>; 3] {
    let x = random(0, x, tracked[0]);
    let weight = random(1, weight, tracked[1]);
    let bias = random(2, [bias], tracked[2]);
    let y = map(x.clone(), weight.clone(), bias.clone());
    let factors = random(3, y.dims(), false);
    let gradients = (y * factors).sum().backward();
    [
        x.grad(&gradients).map(Tensor::into_data),
        weight.grad(&gradients).map(Tensor::into_data),
        bias.grad(&gradients).map(Tensor::into_data),
    ]
}

#[test]
fn a_frozen_operand_gets_no_gradient_and_the_others_get_theirs() {
    type Case<'a> = (&'a str, &'a dyn Fn([bool; 3]) -> [Option<TensorData>; 3]);
    let cases: [Case; 7] = [
        ("linear", &|tracked| {
            gradients(|x, w, b| linear(x, w, Some(b)), [300, 6], [6, 5], 5, tracked)
        }),
        ("linear with GELU", &|tracked| {
            gradients(|x, w, b| linear_gelu(x, w, Some(b)), [300, 6], [6, 5], 5, tracked)
        }),
        ("convolution", &|tracked| {
            let map = |x, w, b| conv2d(x, w, Some(b), 1, 1);
            gradients(map, [3, 6, 5, 16], [3, 3, 16, 17], 17, tracked)
        }),
        ("transposed convolution", &|tracked| {
            let map = |x, w, b| conv_transpose2d(x, w, Some(b), 2, 1);
            gradients(map, [3, 6, 5, 4], [4, 4, 4, 7], 7, tracked)
        }),
        ("layer norm", &|tracked| {
            gradients(|x, w, b| layer_norm(x, w, b, EPSILON), [70, 6], [6], 6, tracked)
        }),
        ("group norm", &|tracked| {
            let map = |x, w, b| group_norm(x, 2, w, b, EPSILON);
            gradients(map, [3, 2, 2, 6], [6], 6, tracked)
        }),
        ("group norm with SiLU", &|tracked| {
            let map = |x, w, b| group_norm_silu(x, 2, w, b, EPSILON);
            gradients(map, [3, 2, 2, 6], [6], 6, tracked)
        }),
    ];
    for (name, gradients) in cases {
        let all = gradients([true; 3]);
        for choice in 1..8 {
            let tracked = [1, 2, 4].map(|bit| choice & bit != 0);
            for ((found, wanted), tracked) in gradients(tracked).iter().zip(&all).zip(tracked) {
                assert_eq!(found.as_ref(), wanted.as_ref().filter(|_| tracked), "{name}, {choice}");
            }
        }
    }
}
