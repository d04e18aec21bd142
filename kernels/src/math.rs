//! Arithmetic over slices that the compiler vectorises: an inlined exponential, sums and maxima in sixteen lanes.
//!
//! The operations and their order are the same for every instruction set, and no fused multiply-add is used, so results
//! do not depend on it.

/// Lanes of partial results in a reduction: a vector of AVX-512. They are part of the definition of a sum, whatever the
/// instruction set.
pub(super) const LANES: usize = 16;

/// e^x to within 2 units in the last place; x above 88 counts as 88, and below -87 the result is 0. NaN propagates.
///
/// The polynomial is that of `expf` in the Cephes library (Moshier).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer, which the addition leaves in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    /// ln 2 in two parts, the first short enough for an exact product with that integer.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Comparisons written so that NaN takes neither branch.
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let rest = x - n * LN_2[0] - n * LN_2[1];
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let value = (sum * (rest * rest) + rest + 1.0) * power;
    if x < -87.0 { 0.0 } else { value }
}

/// The largest value; negative infinity for an empty slice.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    // By halves, as `sum_lanes`: one lane after the other would be a dependency chain of 16.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    rest.iter().fold(lanes[0], |most, &value| larger(most, value))
}

/// The largest `a - b`; negative infinity for empty slices, which must have equal lengths.
#[inline(always)]
pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    // Two vectors of maxima: one would wait for its own last comparison.
    let (mut first, mut second) = ([f32::NEG_INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((a, a_last), (b, b_last)) = (a.as_chunks::<2>(), b.as_chunks::<2>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            first[lane] = larger(first[lane], a[0][lane] - b[0][lane]);
            second[lane] = larger(second[lane], a[1][lane] - b[1][lane]);
        }
    }
    for (a, b) in a_last.iter().zip(b_last) {
        for lane in 0..LANES {
            first[lane] = larger(first[lane], a[lane] - b[lane]);
        }
    }
    for lane in 0..LANES {
        first[lane] = larger(first[lane], second[lane]);
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a - b);
    first.into_iter().chain(rest).fold(f32::NEG_INFINITY, larger)
}

/// The first place where `a - b` is `wanted`.
#[inline(always)]
pub(super) fn place_of_difference(a: &[f32], b: &[f32], wanted: f32) -> Option<usize> {
    let ((blocks, _), (others, _)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    // Loops and no iterator's own methods, which would not be inlined, and so not compiled for the caller's
    // instructions.
    let mut before = 0;
    for (block, other) in blocks.iter().zip(others) {
        let mut found = false;
        for lane in 0..LANES {
            found |= block[lane] - other[lane] == wanted;
        }
        if found {
            break;
        }
        before += LANES;
    }
    for (place, (a, b)) in a.iter().zip(b).enumerate().skip(before) {
        if a - b == wanted {
            return Some(place);
        }
    }
    None
}

/// Sum of `term` over the values, in an order that depends on their count alone.
#[inline(always)]
pub(super) fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        // Not `block.map`: it is not inlined, and so not compiled for the caller's instruction set.
        let mut terms = [0.0; LANES];
        for lane in 0..LANES {
            terms[lane] = term(block[lane]);
        }
        for (lane, term) in lanes.iter_mut().zip(terms) {
            *lane += term;
        }
    }
    let mut total = sum_lanes(lanes);
    for &value in rest {
        total += term(value);
    }
    total
}

/// [`sum`] over pairs from two slices of equal length.
#[inline(always)]
pub(super) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        let mut terms = [0.0; LANES];
        for lane in 0..LANES {
            terms[lane] = term(a[lane], b[lane]);
        }
        for (lane, term) in lanes.iter_mut().zip(terms) {
            *lane += term;
        }
    }
    let mut total = sum_lanes(lanes);
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        total += term(a, b);
    }
    total
}

#[inline(always)]
fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_a_few_units_in_the_last_place() {
        for step in 0..=1_750_000 {
            let x = -87.0 + step as f32 * 1e-4;
            let (actual, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((actual / wanted - 1.0).abs() < 2.4e-7, "exp({x}) = {actual}, not {wanted}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([f32::NEG_INFINITY, -1000.0].map(exp), [0.0; 2]);
        assert_eq!([f32::INFINITY, 1000.0].map(exp), [exp(88.0); 2]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_cover_every_value_of_any_length() {
        for len in [0, 1, 15, 16, 17, 50] {
            let values: Vec<f32> = (0..len).map(|v| (v * 7 % 50) as f32).collect();
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&values), most);
            let zeros = vec![0.0; len];
            assert_eq!(largest_difference(&values, &zeros), most);
            let halves: Vec<f32> = values.iter().map(|value| value / 2.0).collect();
            assert_eq!(largest_difference(&values, &halves), most / 2.0);
            for wanted in [most, most / 2.0, 3.0, 1000.0] {
                let place = values.iter().position(|&value| value == wanted);
                assert_eq!(place_of_difference(&values, &zeros, wanted), place);
            }
            assert_eq!(sum(&values, |value| 2.0 * value), 2.0 * values.iter().sum::<f32>());
            let squares: f32 = values.iter().map(|v| v * v).sum();
            assert_eq!(sum_pairs(&values, &values, |a, b| a * b), squares);
        }
    }
}
