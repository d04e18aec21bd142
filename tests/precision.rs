//! bf16 GEMMs in whole operations; in a process of its own, since the precision is process-wide.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};
use vqgen::ops::conv::{conv_transpose2d, conv2d};
use vqgen::ops::{
    CausalMask, Heads, Precision, causal_attention, linear, linear_gelu, set_precision,
};
use vqgen::rng::{Purpose, stream};

/// Tests that set the precision take turns.
fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random<const D: usize>(item: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut rng = stream(5, Purpose::Weights, 0, item);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Value and gradients of an operation of two operands, weighted by random factors, with one precision set before the
/// forward pass and the other after it.
fn passes<const D: usize>(
    operation: impl Fn(Tensor<D>, Tensor<D>) -> Tensor<D>,
    [x, weight]: [[usize; D]; 2],
    [forward, backward]: [Precision; 2],
) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let x = random(0, x, &device).require_grad();
    let weight = random(1, weight, &device).require_grad();
    set_precision(forward).unwrap();
    let y = operation(x.clone(), weight.clone());
    set_precision(backward).unwrap();
    let gradients = (y.clone() * random(2, y.dims(), &device)).sum().backward();
    [y.inner(), x.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap()]
        .map(|tensor| tensor.into_data().try_into_vec().unwrap())
        .to_vec()
}

fn all_passes(precisions: [Precision; 2]) -> Vec<(&'static str, Vec<Vec<f32>>)> {
    let of_linear = |x, weight| linear(x, weight, None);
    let of_gelu = |x, weight| linear_gelu(x, weight, None);
    let by = |stride| move |x, weight| conv2d(x, weight, None, stride, 1);
    let spread = |x, weight| conv_transpose2d(x, weight, None, 2, 1);
    let attend = |x, weight| {
        let mask = CausalMask::new(48, &Device::flex());
        let heads = Heads { n: 2, normalise: false, rotary: None };
        linear(causal_attention(x, heads, &mask, None), weight, None)
    };
    vec![
        ("linear", passes(of_linear, [[96, 64], [64, 48]], precisions)),
        ("linear in parts", passes(of_linear, [[600, 70], [70, 41]], precisions)),
        ("linear and GELU", passes(of_gelu, [[96, 64], [64, 48]], precisions)),
        ("3x3", passes(by(1), [[4, 8, 8, 64], [3, 3, 64, 32]], precisions)),
        ("4x4 at a step of 2", passes(by(2), [[4, 8, 8, 32], [4, 4, 32, 64]], precisions)),
        ("transposed", passes(spread, [[4, 4, 4, 64], [64, 4, 4, 32]], precisions)),
        ("few channels", passes(by(1), [[4, 8, 8, 4], [3, 3, 4, 8]], precisions)),
        ("attention", passes(attend, [[96, 96], [32, 20]], precisions)),
    ]
}

#[test]
fn products_of_bf16_are_right_to_its_digits() {
    let _turn = take_turn();
    if set_precision(Precision::Bf16).is_err() {
        return; // this processor has none
    }
    let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|one| all_passes([one, one]));
    for ((name, rounded), (_, exact)) in rounded.into_iter().zip(exact) {
        for (index, (rounded, exact)) in rounded.iter().zip(&exact).enumerate() {
            let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
                values.map(|value| f64::from(value).powi(2)).sum()
            };
            let error = square(&mut rounded.iter().zip(exact).map(|(a, b)| a - b));
            let relative = (error / square(&mut exact.iter().copied())).sqrt();
            // 8 bits: a rounded GEMM is off by .0024 (root mean square), with Winograd twice that.
            assert!((1e-4..8e-3).contains(&relative), "{name}, {index}: {relative}");
        }
    }
}

#[test]
fn a_backward_pass_has_the_precision_of_its_forward_pass() {
    let _turn = take_turn();
    if set_precision(Precision::Bf16).is_err() {
        return; // this processor has none
    }
    for [forward, backward] in
        [[Precision::Bf16, Precision::F32], [Precision::F32, Precision::Bf16]]
    {
        let wanted = all_passes([forward, forward]);
        let changed = all_passes([forward, backward]);
        for ((name, changed), (_, wanted)) in changed.into_iter().zip(wanted) {
            assert!(changed == wanted, "{name}, forward in {forward:?}");
        }
    }
}
