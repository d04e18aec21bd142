//! Convolution and transposed convolution over channels-last images as patches times weights, a few rows of
//! patches at a time.
//!
//! Both are one pair of maps. A convolution multiplies the patches of the large image by the weights; a
//! transposed one multiplies the small image by the weights and adds the patches up. Each is the other's
//! gradient by its input.

use std::slice::ChunksExact;

use rayon::prelude::*;

use super::fresh::{Pieces, in_blocks, in_blocks_with, set_in_blocks};
use super::product::{Left, Matrix, MatrixMut, Right, add_product, multiply, product_in};
use super::scratch::with_scratch;
use super::sums::sum_of;
use super::wide::wide;
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
    let weight = Right::shared(Matrix::new(weight, patch_len, c_out));
    let batch = large.len() / geometry.image_len();
    let rows_at_once = geometry.rows_at_once();
    let image_len = geometry.image_len();
    let out_len = geometry.n_patches() * c_out;
    set_in_blocks(batch * out_len, out_len, |index, out| {
        let image = &large[index * image_len..(index + 1) * image_len];
        let mut pieces = Pieces::of(out);
        for first in (0..geometry.rows).step_by(rows_at_once) {
            let rows = first..(first + rows_at_once).min(geometry.rows);
            let n = rows.len() * columns;
            with_patches(geometry, image, rows, |patches| {
                let patches = Left::new(Matrix::new(patches, n, patch_len));
                pieces.set_next(n * c_out, |out| {
                    let out = product_in(out, &patches, &weight);
                    if let Some(bias) = bias {
                        add_to_rows(out, bias);
                    }
                    out
                });
            });
        }
        pieces.finish()
    })
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
    let transposed = Right::shared(Matrix::new(weight, patch_len, c_out).transposed());
    let (image_len, out_len) = (geometry.image_len(), geometry.n_patches() * c_out);
    let rows_at_once = geometry.rows_at_once();
    in_parts(large, gradient, image_len, out_len, wants_input.then_some(image_len), |mut part| {
        let mut weights = Vec::new();
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
                    add_product(
                        &mut weights,
                        &Left::new(patches.transposed()),
                        &Right::new(gradient),
                    );
                });
                if let Some(input) = part.input.as_deref_mut() {
                    let image = &mut input[index * image_len..(index + 1) * image_len];
                    if geometry.is_image() {
                        let from = first * geometry.columns * patch_len;
                        let out = &mut image[from..from + n * patch_len];
                        let out = MatrixMut::new(out, n, patch_len);
                        multiply(out, &Left::new(gradient), &transposed, false);
                        continue;
                    }
                    with_scratch(n * patch_len, |patches| {
                        let out = MatrixMut::new(patches, n, patch_len);
                        multiply(out, &Left::new(gradient), &transposed, false);
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
    let weight = Right::shared(Matrix::new(weight, c_in, patch_len));
    let batch = small.len() / (geometry.n_patches() * c_in);
    let rows_at_once = geometry.rows_at_once();
    let small_len = geometry.n_patches() * c_in;
    in_blocks(batch * geometry.image_len(), geometry.image_len(), |index, out| {
        let image = &small[index * small_len..][..small_len];
        if let Some(bias) = bias {
            out.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
        }
        let blocks = image.chunks(rows_at_once * columns * c_in);
        for (first, block) in (0..geometry.rows).step_by(rows_at_once).zip(blocks) {
            let n = block.len() / c_in;
            with_scratch(n * patch_len, |patches| {
                let block = Left::new(Matrix::new(block, n, c_in));
                multiply(MatrixMut::new(patches, n, patch_len), &block, &weight, false);
                geometry.scatter(patches, first..first + n / columns, out);
            });
        }
    })
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
    let transposed = Right::shared(Matrix::new(weight, c_in, patch_len).transposed());
    let small_len = geometry.n_patches() * c_in;
    let rows_at_once = geometry.rows_at_once();
    let input_len = wants_input.then_some(small_len);
    in_parts(small, gradient, small_len, geometry.image_len(), input_len, |mut part| {
        let mut weights = Vec::new();
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
                    add_product(&mut weights, &Left::new(block.transposed()), &Right::new(patches));
                    if let Some(input) = part.input.as_deref_mut() {
                        let from = index * small_len + from;
                        let out = &mut input[from..from + n * c_in];
                        let out = MatrixMut::new(out, n, c_in);
                        multiply(out, &Left::new(patches), &transposed, false);
                    }
                });
            }
        }
        (weights, biases)
    })
}

/// The images of one part of a batch.
struct Part<'a, 'b> {
    images: ChunksExact<'a, f32>,
    gradients: ChunksExact<'a, f32>,
    /// Where the gradient by these images goes: zeros.
    input: Option<&'b mut [f32]>,
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
    let part = |index: usize, input: Option<&mut [f32]>| {
        let images = images.chunks(per_part * image_len).nth(index).unwrap_or_default();
        let gradients = gradients.chunks(per_part * gradient_len).nth(index).unwrap_or_default();
        let images = images.chunks_exact(image_len);
        work(Part { images, gradients: gradients.chunks_exact(gradient_len), input })
    };
    let (input, sums): (_, Vec<_>) = match input_len {
        Some(len) => {
            let work = |index, input: &mut [f32]| part(index, Some(input));
            let (input, sums) = in_blocks_with(batch * len, per_part * len, work);
            (Some(input), sums)
        }
        None => {
            let parts = (0..batch.div_ceil(per_part)).into_par_iter();
            (None, parts.map(|index| part(index, None)).collect())
        }
    };
    let (weights, biases): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    let len = |sums: &[Vec<f32>]| sums.first().map_or(0, Vec::len);
    let (weight_len, bias_len) = (len(&weights), len(&biases));
    ConvGradients { input, weight: sum_of(weights, weight_len), bias: sum_of(biases, bias_len) }
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
    wide(|| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    });
}

fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    Matrix::new(rows, rows.len() / sums.len(), sums.len()).sum_rows(sums);
}
