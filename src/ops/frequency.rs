//! The focal frequency loss (Jiang et al. 2021, "Focal Frequency Loss for Image Reconstruction and Synthesis"): the squared
//! differences between two spectra, each weighted by its own magnitude, so that training attends to what is reconstructed
//! worst. The discrete Fourier transform is a matrix product a side: images are small, and Burn has no FFT of images.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

/// Keeps the weights of equal spectra finite.
const TINY: f32 = 1e-30;

/// The loss with the exponent 1, weights by image and channel, and no patches: the defaults of the authors' package.
/// The weights have no gradient.
///
/// # Shapes
/// - `x`, `y`: `[batch, height, width, channels]`
/// - output: `[1]`
pub fn focal_frequency_loss(x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
    let power = power_spectrum(x - y);
    let magnitude = power.clone().detach().sqrt();
    let largest = magnitude.clone().max_dim(1).max_dim(2).clamp_min(TINY);
    (power * (magnitude / largest)).mean()
}

/// The squared magnitudes of the orthonormal two-dimensional transform.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, height, width, channels]`, frequencies in place of positions
fn power_spectrum(x: Tensor<4>) -> Tensor<4> {
    let device = x.device();
    let [batch, height, width, channels] = x.dims();
    let columns = x.reshape([batch, height, width * channels]);
    let parts = fourier(height, &device).matmul(columns); // real parts, then imaginary ones, [batch, 2 h, w c]
    let rows = parts.reshape([batch, 2 * height, width, channels]).swap_dims(1, 2);
    let rows = rows.reshape([batch, width, 2 * height * channels]);
    let parts = fourier(width, &device).matmul(rows);
    let part = |of_width: usize, of_height: usize| {
        parts
            .clone()
            .reshape([batch, 2, width, 2, height * channels])
            .narrow(1, of_width, 1)
            .narrow(3, of_height, 1)
            .reshape([batch, width, height, channels])
    };
    let real = part(0, 0) - part(1, 1);
    let imaginary = part(0, 1) + part(1, 0);
    (real.square() + imaginary.square()).swap_dims(1, 2)
}

/// Cosines above negated sines, over the root of `n`, `[1, 2 n, n]`.
fn fourier(n: usize, device: &Device) -> Tensor<3> {
    let scale = (n as f64).sqrt().recip();
    let angle = |at: usize| TAU * (at / n * (at % n) % n) as f64 / n as f64;
    let cosines = (0..n * n).map(|at| (angle(at).cos() * scale) as f32);
    let sines = (0..n * n).map(|at| (-angle(at).sin() * scale) as f32);
    Tensor::from_data(
        TensorData::new(cosines.chain(sines).collect::<Vec<f32>>(), [1, 2 * n, n]),
        device,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_has_its_power_at_its_frequency() {
        let device = Device::flex();
        // cos(2 pi column / 4) on 2x4 pixels: two frequencies of amplitude 1/2, power (1/2)^2 * 8 each.
        let wave = [1.0f32, 0.0, -1.0, 0.0].repeat(2);
        let x = Tensor::from_data(TensorData::new(wave, [1, 2, 4, 1]), &device);
        let power: Vec<f32> = power_spectrum(x).into_data().try_into_vec().unwrap();
        for (found, wanted) in power.iter().zip([0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]) {
            assert!((found - wanted).abs() < 1e-6, "{power:?}");
        }
    }

    #[test]
    fn equal_images_have_no_loss_and_a_finite_gradient() {
        let device = Device::flex().autodiff();
        let x = Tensor::<4>::ones([2, 4, 4, 3], &device).require_grad();
        let loss = focal_frequency_loss(x.clone(), x.clone().detach());
        assert_eq!(loss.clone().into_scalar::<f32>(), 0.0);
        let gradient: Vec<f32> =
            x.grad(&loss.backward()).unwrap().into_data().try_into_vec().unwrap();
        assert_eq!(gradient, vec![0.0; gradient.len()]);
    }
}
