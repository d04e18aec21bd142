//! Advice for a collapsed codebook. It recommends what the recipe does not do already.

use crate::recipe::VqvaeSection;

/// `restart_after` to recommend, where codes die faster than they are restarted.
const SOON: usize = 100;
/// A published code dimension for l2-normalised codes (Yu et al. 2021, ViT-VQGAN: 4 to 32).
const FEW_DIMENSIONS: usize = 8;

/// The warning about a collapsed codebook of `codes` codes, with what to change in `section`.
pub(super) fn collapse_advice(
    section: &VqvaeSection,
    step: u64,
    perplexity: f64,
    codes: usize,
) -> String {
    let mut advice = Vec::new();
    if !section.kmeans_init {
        advice.push("set vqvae.kmeans_init to true".to_owned());
    }
    if section.restart_after == 0 || section.restart_after > SOON {
        advice.push(format!("set vqvae.restart_after to {SOON}"));
    }
    match (section.normalize_codes, section.code_dim > FEW_DIMENSIONS) {
        (true, false) => {}
        (true, true) => advice.push(format!("try a vqvae.code_dim of {FEW_DIMENSIONS}")),
        (false, true) => advice
            .push(format!("try vqvae.normalize_codes with a vqvae.code_dim of {FEW_DIMENSIONS}")),
        (false, false) => advice.push("try vqvae.normalize_codes".to_owned()),
    }
    advice.push(format!("lower vqvae.learning_rate (it is {})", section.learning_rate));
    advice.push(format!("lower vqvae.codebook_size (it is {codes})"));
    format!(
        "the codebook has collapsed: perplexity {perplexity:.1} of {codes} codes at step {step}; {}",
        advice.join(", or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_already_is_not_recommended() {
        let all_set = VqvaeSection {
            kmeans_init: true,
            restart_after: 20,
            normalize_codes: true,
            code_dim: 8,
            ..VqvaeSection::default()
        };
        let advice = collapse_advice(&all_set, 7, 2.25, 512);
        assert!(
            advice.contains("perplexity 2.2 of 512 codes at step 7; lower vqvae.learning_rate"),
            "{advice}"
        );
        for key in ["kmeans_init", "restart_after", "normalize_codes", "code_dim"] {
            assert!(!advice.contains(key), "{advice}");
        }
        let none = VqvaeSection {
            kmeans_init: false,
            restart_after: 0,
            normalize_codes: false,
            code_dim: 64,
            ..all_set
        };
        let advice = collapse_advice(&none, 7, 2.25, 512);
        for wanted in [
            "kmeans_init to true",
            "restart_after to 100",
            "normalize_codes with a vqvae.code_dim of 8",
        ] {
            assert!(advice.contains(wanted), "{advice}");
        }
    }
}
