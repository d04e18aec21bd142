//! The normal distribution function in f32, without branches or tables, so that a loop over it vectorises. NaN
//! propagates.

use super::math::exp;

/// The normal distribution function Φ(x) = (1 + erf(x / √2)) / 2, with an absolute error below 2.5e-7 (and a relative
/// one below 2e-6 down to -11, below which it is 0), and e^(-x² / 2), a by-product.
///
/// Φ(-|x|) = e^(-x² / 2) P(t) with t = 1 / (1 + |x| / √8): the form of Abramowitz and Stegun 7.1.26, with a polynomial
/// of degree 9 fitted to the scaled complementary error function on [0, 14] by iteratively reweighted least squares;
/// its relative error is 4.5e-8 before rounding.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const COEFFICIENTS: [f32; 8] = [
        0.143_059_27,
        -0.245_198_18,
        0.140_861_64,
        -0.014_571_251,
        0.101_875_17,
        0.121_417_79,
        0.141_206_03,
        0.141_042_17,
    ];
    let size = x.abs();
    let t = 1.0 / (1.0 + size * 0.353_553_4);
    let mut sum = -0.029_692_628;
    for coefficient in COEFFICIENTS {
        sum = sum * t + coefficient;
    }
    // Beyond, both are negligible for any activation, and as subnormals they slow down each operation on them: GELU of
    // 2048 x 768 values of standard deviation 14 took 11 ms with them and 2 without.
    let bell = if size > 11.0 { 0.0 } else { exp(x * x * -0.5) };
    let tail = sum * t * bell;
    (if x > 0.0 { 1.0 - tail } else { tail }, bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ by a series of positive terms, in f64.
    fn exact(x: f64) -> f64 {
        let (mut term, mut sum) = (x.abs(), 0.0);
        for n in 1..500 {
            sum += term;
            term *= x * x / f64::from(2 * n + 1);
        }
        let half = sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        0.5 + half.copysign(x)
    }

    #[test]
    fn the_normal_distribution_is_within_its_bounds_and_its_tail_keeps_its_digits() {
        for step in -60_000..=60_000 {
            let x = step as f32 * 1e-4;
            let (value, bell) = normal(x);
            assert!((f64::from(value) - exact(f64::from(x))).abs() < 2.5e-7, "at {x}: {value}");
            let wanted = (-0.5 * f64::from(x) * f64::from(x)).exp();
            assert!((f64::from(bell) / wanted - 1.0).abs() < 2e-6, "at {x}: {bell}");
        }
        // scipy.stats.norm.cdf(-6)
        assert!((normal(-6.0).0 / 9.865_877e-10 - 1.0).abs() < 3e-6, "{}", normal(-6.0).0);
        assert_eq!(normal(f32::INFINITY).0, 1.0);
        assert_eq!(normal(-20.0), (0.0, 0.0));
        assert!(normal(f32::NAN).0.is_nan());
    }
}
