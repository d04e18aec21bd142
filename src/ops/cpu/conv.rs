//! Convolution and transposed convolution over channels-last images as patches times weights, a few rows of
//! patches at a time.
//!
//! Both are one pair of maps. A convolution multiplies the patches of the large image by the weights; a
//! transposed one multiplies the small image by the weights and adds the patches up. Each is the other's
//! gradient by its input.

use std::slice::ChunksExact;

use rayon::prelude::*;

use super::matmul::{Matrix, matmul};
use super::scratch::with_scratch;
use super::window::Geometry;

/// Into how many parts the images of a batch are split for sums over the batch. A constant, so that the
/// order of the sums is; large enough for the cores of a workstation.
const PARTS: usize = 16;

/// Gradients of a convolution.
pub(super) struct ConvGradients {
    /// By the input; `None` where nobody asked.
    pub(super) input: Option<Vec<f32>>,
    /// By the weights.
    pub(super) weight: Vec<f32>,
    /// By the bias.
    pub(super) bias: Vec<f32>,
}

/// Patches of `large` times `weight` plus `bias`.
///
/// # Shapes
/// - `large`: `[batch, height, width, channels]` of `geometry`
/// - `weight`: `[patch_len, c_out]`
/// - output: `[batch, rows, columns, c_out]`
pub(super) fn gather_product(
    large: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    c_out: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let (patch_len, columns) = (geometry.patch_len(), geometry.columns);
    let weight = Matrix::new(weight, patch_len, c_out);
    let batch = large.len() / geometry.image_len();
    let mut out = vec![0.0; batch * geometry.n_patches() * c_out];
    let rows_at_once = geometry.rows_at_once();
    let images = large.par_chunks_exact(geometry.image_len());
    let outs = out.par_chunks_exact_mut(geometry.n_patches() * c_out);
    images.zip(outs).for_each(|(image, out)| {
        let blocks = out.chunks_mut(rows_at_once * columns * c_out);
        for (first, out) in (0..geometry.rows).step_by(rows_at_once).zip(blocks) {
            let n = out.len() / c_out;
            let rows = first..first + n / columns;
            with_patches(geometry, image, rows, |patches| {
                matmul(out, Matrix::new(patches, n, patch_len), weight, false);
            });
            if let Some(bias) = bias {
                add_to_rows(out, bias);
            }
        }
    });
    out
}

/// Gradients of [`gather_product`] for `gradient` of the shape of its output.
pub(super) fn gather_product_gradients(
    large: &[f32],
    weight: &[f32],
    gradient: &[f32],
    c_out: usize,
    geometry: &Geometry,
    wants_input: bool,
) -> ConvGradients {
    let patch_len = geometry.patch_len();
    let matrix = Matrix::new(weight, patch_len, c_out);
    let (image_len, out_len) = (geometry.image_len(), geometry.n_patches() * c_out);
    let rows_at_once = geometry.rows_at_once();
    in_parts(large, gradient, image_len, out_len, wants_input.then_some(image_len), |part| {
        let mut weights = vec![0.0; weight.len()];
        let mut biases = vec![0.0; c_out];
        for (index, (image, gradient)) in part.images.zip(part.gradients).enumerate() {
            sum_rows(gradient, &mut biases);
            for first in (0..geometry.rows).step_by(rows_at_once) {
                let rows = first..(first + rows_at_once).min(geometry.rows);
                let n = rows.len() * geometry.columns;
                let from = first * geometry.columns * c_out;
                let gradient = Matrix::new(&gradient[from..from + n * c_out], n, c_out);
                with_patches(geometry, image, rows.clone(), |patches| {
                    let patches = Matrix::new(patches, n, patch_len);
                    matmul(&mut weights, patches.transposed(), gradient, true);
                });
                if let Some(input) = part.input.as_deref_mut() {
                    let image = &mut input[index * image_len..(index + 1) * image_len];
                    if geometry.is_image() {
                        let from = first * geometry.columns * patch_len;
                        let out = &mut image[from..from + n * patch_len];
                        matmul(out, gradient, matrix.transposed(), false);
                        continue;
                    }
                    with_scratch(n * patch_len, |patches| {
                        matmul(patches, gradient, matrix.transposed(), false);
                        geometry.scatter(patches, rows, image);
                    });
                }
            }
        }
        (weights, biases)
    })
}

/// `small` times `weight`, added up as patches, plus `bias`.
///
/// # Shapes
/// - `small`: `[batch, rows, columns, c_in]`
/// - `weight`: `[c_in, patch_len]`
/// - output: `[batch, height, width, channels]` of `geometry`
pub(super) fn scatter_product(
    small: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    c_in: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let (patch_len, columns) = (geometry.patch_len(), geometry.columns);
    let weight = Matrix::new(weight, c_in, patch_len);
    let batch = small.len() / (geometry.n_patches() * c_in);
    let mut out = vec![0.0; batch * geometry.image_len()];
    let rows_at_once = geometry.rows_at_once();
    let images = small.par_chunks_exact(geometry.n_patches() * c_in);
    images.zip(out.par_chunks_exact_mut(geometry.image_len())).for_each(|(image, out)| {
        if let Some(bias) = bias {
            out.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
        }
        let blocks = image.chunks(rows_at_once * columns * c_in);
        for (first, block) in (0..geometry.rows).step_by(rows_at_once).zip(blocks) {
            let n = block.len() / c_in;
            with_scratch(n * patch_len, |patches| {
                matmul(patches, Matrix::new(block, n, c_in), weight, false);
                geometry.scatter(patches, first..first + n / columns, out);
            });
        }
    });
    out
}

/// Gradients of [`scatter_product`] for `gradient` of the shape of its output.
pub(super) fn scatter_product_gradients(
    small: &[f32],
    weight: &[f32],
    gradient: &[f32],
    c_in: usize,
    geometry: &Geometry,
    wants_input: bool,
) -> ConvGradients {
    let patch_len = geometry.patch_len();
    let matrix = Matrix::new(weight, c_in, patch_len);
    let small_len = geometry.n_patches() * c_in;
    let rows_at_once = geometry.rows_at_once();
    let input_len = wants_input.then_some(small_len);
    in_parts(small, gradient, small_len, geometry.image_len(), input_len, |part| {
        let mut weights = vec![0.0; weight.len()];
        let mut biases = vec![0.0; geometry.channels];
        for (index, (image, gradient)) in part.images.zip(part.gradients).enumerate() {
            sum_rows(gradient, &mut biases);
            for first in (0..geometry.rows).step_by(rows_at_once) {
                let rows = first..(first + rows_at_once).min(geometry.rows);
                let n = rows.len() * geometry.columns;
                let from = first * geometry.columns * c_in;
                let block = Matrix::new(&image[from..from + n * c_in], n, c_in);
                with_patches(geometry, gradient, rows, |patches| {
                    let patches = Matrix::new(patches, n, patch_len);
                    matmul(&mut weights, block.transposed(), patches, true);
                    if let Some(input) = part.input.as_deref_mut() {
                        let from = index * small_len + from;
                        let out = &mut input[from..from + n * c_in];
                        matmul(out, patches, matrix.transposed(), false);
                    }
                });
            }
        }
        (weights, biases)
    })
}

/// The images of one part of a batch.
struct Part<'a, 'b, 'c> {
    images: ChunksExact<'a, f32>,
    gradients: ChunksExact<'a, f32>,
    /// Where the gradient by these images goes.
    input: &'b mut Option<&'c mut [f32]>,
}

/// Splits a batch into [`PARTS`], lets `work` give the sums of each, and adds them up in order.
fn in_parts(
    images: &[f32],
    gradients: &[f32],
    image_len: usize,
    gradient_len: usize,
    input_len: Option<usize>,
    work: impl Fn(Part) -> (Vec<f32>, Vec<f32>) + Sync,
) -> ConvGradients {
    let batch = images.len() / image_len;
    let per_part = batch.div_ceil(PARTS).max(1);
    let mut input = input_len.map(|len| vec![0.0; batch * len]);
    let mut inputs: Vec<Option<&mut [f32]>> = match (&mut input, input_len) {
        (Some(input), Some(len)) => input.chunks_mut(per_part * len).map(Some).collect(),
        _ => (0..batch.div_ceil(per_part)).map(|_| None).collect(),
    };
    let sums: Vec<(Vec<f32>, Vec<f32>)> = inputs
        .par_iter_mut()
        .zip(images.par_chunks(per_part * image_len))
        .zip(gradients.par_chunks(per_part * gradient_len))
        .map(|((input, images), gradients)| {
            let images = images.chunks_exact(image_len);
            let gradients = gradients.chunks_exact(gradient_len);
            work(Part { images, gradients, input })
        })
        .collect();
    let mut sums = sums.into_iter();
    let (mut weight, mut bias) = sums.next().unwrap_or_default();
    for (weights, biases) in sums {
        add_slices(&mut weight, &weights);
        add_slices(&mut bias, &biases);
    }
    ConvGradients { input, weight, bias }
}

/// The matrix of patches of `rows`: the image itself where that is the same.
fn with_patches(
    geometry: &Geometry,
    image: &[f32],
    rows: std::ops::Range<usize>,
    work: impl FnOnce(&[f32]),
) {
    if geometry.is_image() {
        let row_len = geometry.columns * geometry.channels;
        return work(&image[rows.start * row_len..rows.end * row_len]);
    }
    with_scratch(rows.len() * geometry.columns * geometry.patch_len(), |patches| {
        geometry.gather(image, rows, patches);
        work(patches);
    });
}

fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len()).for_each(|row| add_slices(row, bias));
}

fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    rows.chunks_exact(sums.len()).for_each(|row| add_slices(sums, row));
}

fn add_slices(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
