//! The AdamW update and moving averages of weights, in place and in one pass over each parameter.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::elementwise::{BLOCK, map, map_with};
use super::fresh::copied;
use super::slices::{Values, tensor};
use super::wide::wide;

/// Hyperparameters and bias corrections of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay: the factor applied to a parameter before the update, 1 - learning rate * weight decay,
    /// or 1.
    pub kept: f64,
    /// 1 - beta1^steps.
    pub correction1: f64,
    /// 1 - beta2^steps.
    pub correction2: f64,
}

/// A parameter and its moments, which an update changes: in place where no other tensor shares the buffer.
#[derive(Debug, Clone)]
pub struct Moving {
    /// The parameter, flat, without autodiff.
    pub value: Tensor<1>,
    /// First moment: the running mean of the gradient.
    pub mean: Tensor<1>,
    /// Second moment: the running mean of the squared gradient.
    pub square: Tensor<1>,
}

/// One AdamW update of a parameter (Loshchilov and Hutter 2019); all tensors have the same size.
pub fn adamw(moving: Moving, gradient: Tensor<1>, step: AdamWStep) -> Moving {
    let Moving { value, mean, square } = moving;
    let (value, mean, square) = Dispatch::vqgen_adamw(
        value.into_dispatch(),
        gradient.into_dispatch(),
        mean.into_dispatch(),
        square.into_dispatch(),
        step,
    );
    Moving {
        value: Tensor::from_dispatch(value),
        mean: Tensor::from_dispatch(mean),
        square: Tensor::from_dispatch(square),
    }
}

/// The sum of squares, `[1]`.
pub fn square_sum(x: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::vqgen_square_sum(x.into_dispatch()))
}

/// `x` times the single element of `factor`.
///
/// # Shapes
/// - factor: `[1]`
pub fn scaled_by(x: Tensor<1>, factor: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::vqgen_scaled_by(x.into_dispatch(), factor.into_dispatch()))
}

/// `start * (1 - weight) + end * weight`, in place where no other tensor shares the buffer of `start`.
///
/// # Shapes
/// - start, end: the same
pub fn lerp(start: Tensor<1>, end: Tensor<1>, weight: f64) -> Tensor<1> {
    let (start, end) = (start.into_dispatch(), end.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_lerp(start, end, weight))
}

#[backend_extension(Flex)]
pub(super) trait AdamWOps: Backend {
    /// See [`adamw`].
    fn vqgen_adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`square_sum`].
    fn vqgen_square_sum(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`scaled_by`].
    fn vqgen_scaled_by(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`lerp`].
    fn vqgen_lerp(
        start: FloatTensor<Self>,
        end: FloatTensor<Self>,
        weight: f64,
    ) -> FloatTensor<Self>;
}

impl AdamWOps for Flex {
    fn vqgen_adamw(
        value: FlexTensor,
        gradient: FlexTensor,
        mean: FlexTensor,
        square: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let gradient = Values::of(gradient);
        let [mut value, mut mean, mut square] = [value, mean, square].map(owned);
        if let (Some(value), Some(mean), Some(square)) =
            (value.slice_mut(), mean.slice_mut(), square.slice_mut())
        {
            update(value, mean, square, gradient.slice(), step);
        }
        (value.into_tensor(), mean.into_tensor(), square.into_tensor())
    }

    fn vqgen_square_sum(x: FlexTensor) -> FlexTensor {
        let x = Values::of(x);
        let blocks = x.slice().par_chunks(BLOCK).map(|block| wide!(block_square_sum(block)));
        let sums: Vec<f32> = blocks.collect();
        let sum: f64 = sums.into_iter().map(f64::from).sum();
        tensor(vec![sum as f32], [1])
    }

    fn vqgen_scaled_by(x: FlexTensor, factor: FlexTensor) -> FlexTensor {
        let (x, factor) = (Values::of(x), Values::of(factor).slice()[0]);
        if factor == 1.0 { x.into_tensor() } else { map(x, |x| x * factor) }
    }

    fn vqgen_lerp(start: FlexTensor, end: FlexTensor, weight: f64) -> FlexTensor {
        let [of_start, of_end] = [1.0 - weight, weight].map(|factor| factor as f32);
        map_with(Values::of(start), &Values::of(end), |start, end| start * of_start + end * of_end)
    }
}

/// A tensor whose buffer is not shared: `tensor` itself or a copy.
fn owned(tensor: FlexTensor) -> Values {
    let mut values = Values::of(tensor);
    if values.slice_mut().is_some() {
        return values;
    }
    Values::of(super::slices::tensor(copied(values.slice()), values.shape()))
}

fn update(
    value: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    gradient: &[f32],
    step: AdamWStep,
) {
    let len = gradient.len();
    assert_eq!([value.len(), mean.len(), square.len()], [len; 3], "sizes of a parameter's state");
    let [beta1, beta2] = [step.beta1, step.beta2].map(|beta| beta as f32);
    let [fresh1, fresh2] = [step.beta1, step.beta2].map(|beta| (1.0 - beta) as f32);
    let root_factor = (1.0 / step.correction2.sqrt()) as f32;
    let (epsilon, kept) = (step.epsilon as f32, step.kept as f32);
    let rate = (step.learning_rate / step.correction1) as f32;
    let moments = mean.par_chunks_mut(BLOCK).zip(square.par_chunks_mut(BLOCK));
    let values = value.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK));
    values.zip(moments).for_each(|((value, gradient), (mean, square))| {
        wide!({
            let moments = mean.iter_mut().zip(square);
            let places = value.iter_mut().zip(gradient).zip(moments);
            places.for_each(|((value, &gradient), (mean, square))| {
                *mean = *mean * beta1 + gradient * fresh1;
                *square = *square * beta2 + gradient * gradient * fresh2;
                let root = square.sqrt() * root_factor;
                *value = *value * kept - *mean / (root + epsilon) * rate;
            });
        });
    });
}

/// Summed in a fixed number of interleaved lanes, which fill a vector.
#[inline(always)]
fn block_square_sum(block: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0; LANES];
    let (groups, rest) = block.as_chunks::<LANES>();
    for group in groups {
        sums.iter_mut().zip(group).for_each(|(sum, &value)| *sum += value * value);
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &value)| *sum += value * value);
    sums.iter().sum()
}
