//! Bilinear resizing as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` does it, without
//! smoothing when it shrinks.

use burn::tensor::{Device, Tensor, TensorData};

/// # Shapes
/// - `images`: `[batch, height, width, channels]`
/// - output: `[batch, size, size, channels]`
pub(super) fn resized(images: Tensor<4>, size: usize) -> Tensor<4> {
    let [batch, height, width, channels] = images.dims();
    let device = images.device();
    let rows = weights(height, size, &device); // [1, size, height]
    let columns = weights(width, size, &device);
    let h = rows.matmul(images.reshape([batch, height, width * channels]));
    let h = columns.matmul(h.reshape([batch * size, width, channels]));
    h.reshape([batch, size, size, channels])
}

/// The weight of each of `n` places in each of `size`, `[1, size, n]`.
fn weights(n: usize, size: usize, device: &Device) -> Tensor<3> {
    let mut weights = vec![0f32; size * n];
    let scale = n as f32 / size as f32;
    for (i, row) in weights.chunks_exact_mut(n).enumerate() {
        let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(n - 1);
        let share = at - first as f32;
        row[first] += 1.0 - share;
        row[(first + 1).min(n - 1)] += share;
    }
    Tensor::from_data(TensorData::new(weights, [1, size, n]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    #[test]
    fn resizing_mixes_the_two_nearest_places() {
        let device = Device::flex();
        let x = Tensor::<4>::from_floats([[[[0.0], [4.0]], [[8.0], [12.0]]]], &device);
        // torch: F.interpolate(torch.tensor([[[[0., 4.], [8., 12.]]]]), size=(3, 3), mode="bilinear")
        let wanted = [0.0, 2.0, 4.0, 4.0, 6.0, 8.0, 8.0, 10.0, 12.0f32];
        let wanted = TensorData::new(wanted.to_vec(), [1, 3, 3, 1]);
        resized(x.clone(), 3)
            .into_data()
            .assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
        let wanted = TensorData::new(vec![6.0f32], [1, 1, 1, 1]);
        resized(x, 1).into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
    }
}
