//! What is logged of the levels of a quantizer: how often each code was chosen, and the perplexity of each level.

use burn::tensor::Tensor;

/// The lowest of some values, and its index.
pub(super) fn lowest(values: &[f64]) -> Option<(usize, f64)> {
    values.iter().copied().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// The perplexity of each level under a name of its own, where there are several.
pub(super) fn by_level(perplexities: &[f64]) -> impl Iterator<Item = (&'static str, f64)> {
    const NAMES: [&str; 8] = [
        "perplexity_1",
        "perplexity_2",
        "perplexity_3",
        "perplexity_4",
        "perplexity_5",
        "perplexity_6",
        "perplexity_7",
        "perplexity_8",
    ];
    let names: &[&str] = if perplexities.len() > 1 { &NAMES } else { &[] };
    names.iter().copied().zip(perplexities.to_vec())
}

/// How often each code was chosen. Synchronises with the device.
pub(super) fn read_counts(counts: &Tensor<1>) -> Vec<u64> {
    counts.to_data_as::<f32>().iter::<f32>().map(|count| count as u64).collect() // sync
}
