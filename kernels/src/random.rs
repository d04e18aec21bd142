//! Random values for tests, the same in every run.

/// `n` standard normal values, independent of those of other `item`s.
pub(crate) fn normals(item: u64, n: usize) -> Vec<f32> {
    let mut state = item.wrapping_mul(0xd1b5_4a32_d192_ed03).wrapping_add(1);
    let mut uniform = || {
        // SplitMix64 (Steele et al. 2014), the upper half of its output.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (f64::from((bits >> 32) as u32) + 0.5) / 2f64.powi(32)
    };
    // Box and Muller (1958).
    let normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    std::iter::repeat_with(normal).take(n).map(|value| value as f32).collect()
}

#[test]
fn they_are_normal_and_differ_from_item_to_item() {
    let values = normals(3, 20_000);
    let mean = |of: fn(f64) -> f64| {
        values.iter().map(|&value| of(value.into())).sum::<f64>() / values.len() as f64
    };
    assert!(mean(|value| value).abs() < 0.02);
    assert!((mean(|value| value * value) - 1.0).abs() < 0.03);
    assert!((mean(|value| value.powi(4)) - 3.0).abs() < 0.2);
    assert_ne!(normals(4, 8), normals(5, 8));
}
