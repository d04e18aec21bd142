//! Tests of attention over whole sequences and over a cache.

use super::*;
use burn::tensor::{Distribution, Tolerance};

use crate::rng::{Purpose, stream};

/// Heads without rotary embeddings and norms.
fn plain(n: usize) -> Heads<'static> {
    Heads { n, normalise: false, rotary: None }
}

#[test]
fn two_positions_of_one_head_give_the_hand_worked_value() {
    let device = Device::flex();
    // A head of 1 dimension, so the scale is 1. Position 1 attends only to itself: its value, 10. Position 2 has
    // scores 1·0 = 0 and 1·ln 3: weights 1/4 and 3/4 of the values 10 and 20.
    let qkv = Tensor::from_floats([[5.0, 0.0, 10.0], [1.0, 1.0986123, 20.0]], &device);
    let y = causal_attention(qkv, plain(1), &CausalMask::new(2, &device), None);
    let expected = TensorData::from([[10.0], [17.5]]);
    y.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
}

#[test]
fn scores_are_divided_by_the_root_of_the_head_dimension() {
    let device = Device::flex();
    // A head of 4: q·k = 4 · (1 · ln 3 / 2) = 2 ln 3, divided by 2.
    let key = 1.0986123 / 2.0;
    let row = |key: f32, value: f32| [1.0, 1.0, 1.0, 1.0, key, key, key, key, value, 0.0, 0.0, 0.0];
    let qkv = Tensor::from_floats([row(0.0, 10.0), row(key, 20.0)], &device);
    let y = causal_attention(qkv, plain(1), &CausalMask::new(2, &device), None);
    let last: f32 = y.slice([1..2, 0..1]).into_scalar();
    assert!((last - 17.5).abs() < 1e-5, "{last}");
}

#[test]
fn a_later_position_changes_no_earlier_output() {
    let device = Device::flex();
    let (batch, sequence, heads, width) = (2, 5, 2, 8);
    let qkv = Tensor::<2>::random([batch * sequence, 3 * width], Distribution::Default, &device);
    let run = |qkv: Tensor<2>| {
        let mask = CausalMask::new(sequence, &device);
        causal_attention(qkv, plain(heads), &mask, None).reshape([batch, sequence, width])
    };
    let changed = qkv.clone().slice_fill([3..4, 0..3 * width], 9.0);
    let (before, after) = (run(qkv), run(changed));
    let earlier = [0..1, 0..3, 0..width];
    before
        .clone()
        .slice(earlier.clone())
        .into_data()
        .assert_eq(&after.clone().slice(earlier).into_data(), true);
    let later: f32 = (before - after).slice([0..1, 3..5, 0..width]).abs().sum().into_scalar();
    assert!(later > 0.1);
}

#[test]
fn gradients_match_finite_differences() {
    let device = Device::flex().autodiff();
    let (sequence, width) = (3, 4);
    let values: Vec<f32> = (0..sequence * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
    let tables = RotaryTables::new(1, 3, 4, &device);
    let heads = Heads { n: 1, normalise: true, rotary: Some(&tables) };
    let loss = |values: &[f32]| {
        let data = TensorData::new(values.to_vec(), [sequence, 3 * width]);
        let qkv = Tensor::<2>::from_data(data, &device).require_grad();
        let mask = CausalMask::new(sequence, &device);
        let y = causal_attention(qkv.clone(), heads, &mask, None);
        let weights = Tensor::<1>::from_floats([1.0, -2.0, 0.5, 3.0], &device).unsqueeze::<2>();
        ((y * weights).sum(), qkv)
    };
    let (value, qkv) = loss(&values);
    let grad: Vec<f32> = qkv.grad(&value.backward()).unwrap().into_data().try_into_vec().unwrap();
    for (index, analytic) in grad.into_iter().enumerate() {
        let at = |by: f32| -> f32 {
            let mut moved = values.clone();
            moved[index] += by;
            loss(&moved).0.into_scalar()
        };
        let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((numeric - analytic).abs() < 5e-3, "{index}: {numeric} and {analytic}");
    }
}

#[test]
fn cached_attention_gives_each_position_of_the_full_one() {
    let device = Device::flex();
    let (batch, sequence, heads, width) = (2, 6, 2, 16);
    let qkv = Tensor::<2>::random([batch * sequence, 3 * width], Distribution::Default, &device);
    let tables = RotaryTables::new(2, 3, width / heads, &device);
    for (rotary, normalise) in [(None, false), (Some(&tables), false), (Some(&tables), true)] {
        let mask = CausalMask::new(sequence, &device);
        let treated = Heads { n: heads, normalise, rotary };
        let full = causal_attention(qkv.clone(), treated, &mask, None);
        let full = full.reshape([batch, sequence, width]);
        let rows = qkv.clone().reshape([batch, sequence, 3 * width]);
        let mut cache = KeyValues::new(batch, heads, sequence, width / heads, &device);
        for position in 0..sequence {
            let at = position..position + 1;
            let row = rows.clone().slice([0..batch, at.clone()]).reshape([batch, 3 * width]);
            cache = cache.append(row.clone(), position, 1, treated);
            let one = cached_attention(row, &cache, position, treated);
            let expected = full.clone().slice([0..batch, at]).reshape([batch, width]);
            one.into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
        }
    }
}

#[test]
fn dropout_acts_on_the_weights_and_repeats_with_its_seed() {
    let device = Device::flex();
    let qkv = Tensor::<2>::random([8, 24], Distribution::Default, &device);
    let run = |dropped| {
        let mask = CausalMask::new(4, &device);
        causal_attention(qkv.clone(), plain(2), &mask, dropped).into_data()
    };
    let half = |seed| Some(Dropout { probability: 0.5, seed });
    run(half(1)).assert_eq(&run(half(1)), true);
    assert_ne!(run(half(1)), run(half(2)));
    assert_ne!(run(half(1)), run(None));
}

type Shape = (usize, usize, usize, usize);

/// Output and gradient of `attention` on random rows, weighted by random factors.
fn passes(
    (batch, sequence, heads, head_dim): Shape,
    attention: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> [TensorData; 2] {
    let device = Device::flex().autodiff();
    let width = heads * head_dim;
    let random = |item, columns| {
        let mut rng = stream(5, Purpose::Weights, 0, item);
        let values = (0..batch * sequence * columns).map(|_| rng.normal()).collect();
        let data = TensorData::new::<f32, _>(values, [batch * sequence, columns]);
        Tensor::<2>::from_data(data, &device)
    };
    let qkv = random(0, 3 * width).require_grad();
    let y = attention(qkv.clone());
    let gradients = (y.clone() * random(1, width)).sum().backward();
    [y.into_data(), qkv.grad(&gradients).unwrap().into_data()]
}

fn assert_close(actual: [TensorData; 2], wanted: [TensorData; 2]) {
    for (actual, wanted) in actual.iter().zip(&wanted) {
        actual.assert_approx_eq::<f32>(wanted, Tolerance::rel_abs(1e-4, 1e-5));
    }
}

const SHAPES: [Shape; 6] =
    [(1, 1, 1, 1), (3, 5, 2, 3), (2, 64, 3, 16), (1, 65, 2, 8), (2, 150, 1, 20), (5, 17, 4, 4)];

#[test]
fn the_cpu_kernel_agrees_with_the_composition_in_value_and_gradient() {
    let device = Device::flex();
    for shape in SHAPES {
        let (_, sequence, heads, head_dim) = shape;
        let tables = (head_dim % 4 == 0).then(|| RotaryTables::new(1, sequence, head_dim, &device));
        let rotary = tables.as_ref();
        let cases = [
            (None, false, 0),
            (rotary, false, 0),
            (rotary, true, 0),
            (None, true, sequence / 2),
            (None, false, sequence),
        ];
        for (rotary, normalise, prefix) in cases {
            let heads = Heads { n: heads, normalise, rotary };
            let mask = CausalMask::with_prefix(prefix, sequence, &device);
            let actual = passes(shape, |qkv| causal_attention(qkv, heads, &mask, None));
            let wanted =
                passes(shape, |qkv| plain_causal_attention(qkv, heads, &mask, |weights| weights));
            assert_close(actual, wanted);
        }
    }
}

#[test]
fn the_cpu_kernel_agrees_with_the_composition_under_its_own_dropout_mask() {
    let device = Device::flex();
    let dropped = Some(Dropout { probability: 0.3, seed: 11 });
    for shape in SHAPES {
        let (batch, sequence, heads, _) = shape;
        let mask = CausalMask::new(sequence, &device);
        // Zero queries weigh all visible keys alike, and values equal to the identity matrix reveal the weights: 1
        // / (number of keys) times the factor of the mask.
        let unit = |index: usize| {
            let columns = 3 * heads * sequence;
            let (row, column) = (index / columns % sequence, index % columns);
            f32::from(u8::from(column >= 2 * heads * sequence && column % sequence == row))
        };
        let rows = [batch * sequence, 3 * heads * sequence];
        let values: Vec<f32> = (0..rows[0] * rows[1]).map(unit).collect();
        let shown = Tensor::from_data(TensorData::new(values, rows), &device);
        let counts = Tensor::<1, burn::tensor::Int>::arange(1..sequence as i64 + 1, &device);
        let factors = causal_attention(shown, plain(heads), &mask, dropped)
            .reshape([batch, sequence, heads, sequence])
            .swap_dims(1, 2) // [batch, heads, query, key]
            * counts.float().reshape([1, 1, sequence, 1]);
        let actual = passes(shape, |qkv| causal_attention(qkv, plain(heads), &mask, dropped));
        let wanted = passes(shape, |qkv| {
            plain_causal_attention(qkv, plain(heads), &mask, |weights| weights * factors)
        });
        assert_close(actual, wanted);
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let dropped = Some(Dropout { probability: 0.3, seed: 11 });
    let mask = CausalMask::new(70, &Device::flex());
    let heads = Heads { normalise: true, ..plain(2) };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let attention = |qkv| causal_attention(qkv, heads, &mask, dropped);
        pool.install(|| passes((7, 70, 2, 12), attention))
    };
    assert_eq!(run(1), run(3));
}
