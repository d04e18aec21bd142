//! Arithmetic over slices that the compiler turns into vector instructions: an exponential without a call,
//! sums and maxima in sixteen lanes, and the choice of instruction set when the program runs.
//!
//! Every value is computed by the same additions and multiplications in the same order whatever the
//! instruction set; nothing here asks for a fused multiply-add, so the results do not depend on it either.

/// Partial results kept side by side by the reductions: a vector of AVX-512, and part of the definition of
/// a sum.
const LANES: usize = 16;

/// Defines a function that is compiled three times, for AVX-512, for AVX2 and for the baseline, and runs as
/// the widest the processor has. For loops over slices: the choice costs a few loads a call. What it calls
/// must be `#[inline(always)]` to be compiled with it.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                use crate::ops::cpu::instructions::Instructions;
                let instructions = Instructions::in_use();
                if instructions >= Instructions::Avx512 {
                    // SAFETY: the processor has the features the function is compiled for.
                    #[allow(unsafe_code)]
                    return unsafe { avx512($($arg),*) };
                }
                if instructions >= Instructions::Avx2 {
                    // SAFETY: as above.
                    #[allow(unsafe_code)]
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use vectorised;

/// e^x for x up to 88, within 2e-7 of it relatively; 0 below -87. The polynomial is that of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding it leaves a number rounded to an integer, held in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    // ln 2 in two parts, the first short enough for an exact product with that integer.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let halvings = shifted - ROUND;
    let r = x - halvings * LN_2_HIGH - halvings * LN_2_LOW;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series * r + coefficient;
    }
    let value = series * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    // Written so that not-a-number stays what it is.
    if x < -87.0 { 0.0 } else { value * power }
}

/// The largest value; negative infinity of none.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    let mut most = f32::NEG_INFINITY;
    for &value in lanes.iter().chain(rest) {
        most = larger(most, value);
    }
    most
}

/// Sum of `term` over the values, in an order that depends on their number alone.
#[inline(always)]
pub(super) fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        // Not `block.map`: it is not compiled into the caller, and so not for its instruction set.
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

/// [`sum`] over pairs of two slices of one length.
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
        for step in 0..=1_740_000 {
            let x = -87.0 + step as f32 * 1e-4;
            let (actual, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((actual / wanted - 1.0).abs() < 2e-7, "exp({x}) = {actual}, not {wanted}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_cover_every_value_of_any_length() {
        for len in [0, 1, 15, 16, 17, 50] {
            let values: Vec<f32> = (0..len).map(|v| (v * 7 % 50) as f32).collect();
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&values), most);
            assert_eq!(sum(&values, |value| 2.0 * value), 2.0 * values.iter().sum::<f32>());
            let squares: f32 = values.iter().map(|v| v * v).sum();
            assert_eq!(sum_pairs(&values, &values, |a, b| a * b), squares);
        }
    }
}
