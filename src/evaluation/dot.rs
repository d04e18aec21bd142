//! Sums of products in f64 over rows, in lanes that the compiler can vectorise. The order of summation is fixed.

const LANES: usize = 8;

/// The sum of the products of two slices of one length.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// As [`dot`], of f32 values.
pub(super) fn dot_f32(a: &[f32], b: &[f32]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_the_rest_are_summed() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        // 0^2 + ... + 18^2
        assert_eq!(dot_f32(&a, &a), 2109.0);
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        assert_eq!(dot(&a, &a), 2109.0);
    }
}
