//! The hot operations individually on the CPU device, at the shapes of `vqgen bench`: `cargo bench`, or `cargo bench --
//! linear` for some. Each is forward and backward as in a training step, unless its name says otherwise; times are
//! wall-clock over all threads. Compare builds only on the same machine.

use burn::tensor::{Device, Distribution, Int, Tensor};
use divan::Bencher;
use divan::counter::ItemsCount;
use vqgen::ops::conv::{conv_transpose2d, conv2d};
use vqgen::ops::nearest::nearest_code;
use vqgen::ops::norm::{EPSILON, group_norm_silu};
use vqgen::ops::{
    AdamWStep, CausalMask, Heads, Moving, adamw_step, causal_attention, gelu, layer_norm, linear,
    linear_gelu, token_losses,
};

fn main() {
    divan::main();
}

fn tracking() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Forward and backward of `run`, counted as `flops` floating-point operations of direct convolutions and GEMMs, of
/// which Winograd performs about half.
fn both_ways<const D: usize>(bencher: Bencher, flops: usize, run: impl Fn() -> Tensor<D>) {
    let step = || run().sum().backward();
    if flops == 0 {
        bencher.bench_local(step);
    } else {
        bencher.counter(ItemsCount::new(flops)).bench_local(step);
    }
}

/// 2,048 rows: 32 sequences of 64 codes.
const ROWS: usize = 2048;

#[divan::bench(args = [[256, 768], [256, 256], [1024, 256], [384, 1536], [192, 768]])]
fn linear_map(bencher: Bencher, [width_in, width_out]: [usize; 2]) {
    let device = tracking();
    let x = random([ROWS, width_in], &device).require_grad();
    let weight = random([width_in, width_out], &device).require_grad();
    let bias = random([width_out], &device).require_grad();
    let flops = 6 * ROWS * width_in * width_out;
    both_ways(bencher, flops, || linear(x.clone(), weight.clone(), Some(bias.clone())));
}

#[divan::bench]
fn linear_map_then_gelu(bencher: Bencher) {
    let device = tracking();
    let x = random([ROWS, 256], &device).require_grad();
    let weight = random([256, 1024], &device).require_grad();
    let bias = random([1024], &device).require_grad();
    let flops = 6 * ROWS * 256 * 1024;
    both_ways(bencher, flops, || linear_gelu(x.clone(), weight.clone(), Some(bias.clone())));
}

/// Batch, height and width, channels in, channels out, kernel, stride.
#[divan::bench(args = [
    [64, 32, 3, 64, 4, 2],
    [64, 16, 64, 128, 4, 2],
    [64, 8, 128, 128, 3, 1],
    [64, 8, 128, 32, 3, 1],
    [64, 8, 32, 128, 1, 1],
    [16, 64, 128, 128, 3, 1],
])]
fn convolution(bencher: Bencher, [batch, size, c_in, c_out, kernel, stride]: [usize; 6]) {
    let device = tracking();
    let x = random([batch, size, size, c_in], &device).require_grad();
    let weight = random([kernel, kernel, c_in, c_out], &device).require_grad();
    let bias = random([c_out], &device).require_grad();
    let padding = (kernel - 1) / 2;
    let outputs = batch * (size / stride) * (size / stride);
    let flops = 6 * outputs * kernel * kernel * c_in * c_out;
    both_ways(bencher, flops, || {
        conv2d(x.clone(), weight.clone(), Some(bias.clone()), stride, padding)
    });
}

/// Batch, height and width, channels in, channels out.
#[divan::bench(args = [[64, 8, 128, 64], [64, 16, 64, 3]])]
fn transposed_convolution(bencher: Bencher, [batch, size, c_in, c_out]: [usize; 4]) {
    let device = tracking();
    let x = random([batch, size, size, c_in], &device).require_grad();
    let weight = random([c_in, 4, 4, c_out], &device).require_grad();
    let bias = random([c_out], &device).require_grad();
    let flops = 6 * batch * size * size * 16 * c_in * c_out;
    both_ways(bencher, flops, || {
        conv_transpose2d(x.clone(), weight.clone(), Some(bias.clone()), 2, 1)
    });
}

/// Sequences, codes, heads, head dimension.
#[divan::bench(args = [[32, 64, 8, 32], [8, 256, 6, 64], [32, 64, 8, 24], [32, 64, 8, 40]])]
fn attention(bencher: Bencher, [sequences, codes, heads, head_dim]: [usize; 4]) {
    let device = tracking();
    let width = heads * head_dim;
    let qkv = random([sequences * codes, 3 * width], &device).require_grad();
    let mask = CausalMask::new(codes, &device);
    let heads = Heads { n: heads, normalise: false, rotary: None };
    let flops = 6 * sequences * codes * codes * width;
    both_ways(bencher, flops, || causal_attention(qkv.clone(), heads, &mask, None));
}

#[divan::bench]
fn norm_of_rows(bencher: Bencher) {
    let device = tracking();
    let x = random([ROWS, 256], &device).require_grad();
    let gain = random([256], &device).require_grad();
    let bias = random([256], &device).require_grad();
    both_ways(bencher, 0, || layer_norm(x.clone(), gain.clone(), bias.clone(), EPSILON));
}

#[divan::bench]
fn norm_of_groups_then_silu(bencher: Bencher) {
    let device = tracking();
    let x = random([16, 64, 64, 128], &device).require_grad();
    let gain = random([128], &device).require_grad();
    let bias = random([128], &device).require_grad();
    both_ways(bencher, 0, || group_norm_silu(x.clone(), 32, gain.clone(), bias.clone(), EPSILON));
}

#[divan::bench]
fn activation(bencher: Bencher) {
    let x = random([ROWS, 1024], &tracking()).require_grad();
    both_ways(bencher, 0, || gelu(x.clone()));
}

#[divan::bench]
fn loss_of_codes(bencher: Bencher) {
    let device = tracking();
    let logits = random([ROWS, 512], &device).require_grad();
    let targets = Tensor::<1, Int>::arange(0..ROWS as i64, &device).remainder_scalar(512);
    both_ways(bencher, 0, || token_losses(logits.clone(), targets.clone()).mean());
}

#[divan::bench]
fn nearest_code_forward(bencher: Bencher) {
    let device = Device::flex();
    let (latents, codebook) = (random([4096, 64], &device), random([512, 64], &device));
    bencher
        .counter(ItemsCount::new(2 * 4096 * 512 * 64_usize))
        .bench_local(|| nearest_code(latents.clone(), codebook.clone()));
}

#[divan::bench]
fn optimizer_step(bencher: Bencher) {
    let device = Device::flex();
    let size = 1 << 20;
    let gradient = random([size], &device);
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        learning_rate: 1e-3,
        kept: 1.0 - 1e-4,
        correction1: 0.1,
        correction2: 0.05,
    };
    let moving = || Moving {
        value: random([size], &device),
        mean: Tensor::zeros([size], &device),
        square: Tensor::zeros([size], &device),
    };
    bencher
        .with_inputs(moving)
        .bench_local_values(|moving| adamw_step(moving, gradient.clone(), step));
}
