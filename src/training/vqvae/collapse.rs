//! Advice for a collapsed codebook. It recommends what the recipe does not do already.

use crate::recipe::{Codebook, VqvaeSection};
use crate::tokenizer::QuantizerKind;

/// `restart_after` to recommend, where codes die faster than they are restarted.
const SOON: usize = 100;
/// A published code dimension for l2-normalised codes (Yu et al. 2021, ViT-VQGAN: 4 to 32).
const FEW_DIMENSIONS: usize = 8;

/// Which codebook has collapsed, and how far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collapse {
    pub(super) step: u64,
    pub(super) perplexity: f64,
    /// Number of codes.
    pub(super) codes: usize,
    /// The level of the codebook, from 1, where there are several.
    pub(super) level: Option<usize>,
}

/// The warning about a collapsed codebook, with what to change in `section`.
pub(super) fn collapse_advice(section: &VqvaeSection, collapse: Collapse) -> String {
    let Collapse { step, perplexity, codes, level } = collapse;
    let mut advice = match section.codebook {
        Codebook::Ema | Codebook::Gradient => of_codes(section),
        Codebook::Simvq => vec!["raise vqvae.commitment".to_owned()],
        Codebook::None => Vec::new(),
    };
    if section.quantizer == QuantizerKind::Vq {
        advice.extend(of_directions(section));
    }
    if level.is_some_and(|level| level > 1) {
        advice.push(format!("lower vqvae.depth (it is {})", section.depth));
    }
    advice.push(format!("lower vqvae.learning_rate (it is {})", section.learning_rate));
    advice.push(format!("lower vqvae.codebook_size (it is {})", section.codebook_size));
    let what = match (section.quantizer, level) {
        (QuantizerKind::Fsq, _) => "few of the fsq quantizer's codes are in use".to_owned(),
        (_, Some(level)) => format!("the codebook of level {level} has collapsed"),
        (_, None) => "the codebook has collapsed".to_owned(),
    };
    format!(
        "{what}: perplexity {perplexity:.1} of {codes} codes at step {step}; {}",
        advice.join(", or ")
    )
}

/// For codes that are learned one by one.
fn of_codes(section: &VqvaeSection) -> Vec<String> {
    let mut advice = Vec::new();
    if !section.kmeans_init {
        advice.push("set vqvae.kmeans_init to true".to_owned());
    }
    if section.restart_after == 0 || section.restart_after > SOON {
        advice.push(format!("set vqvae.restart_after to {SOON}"));
    }
    if !section.kmeans_init && section.restart_after == 0 {
        advice.push("set vqvae.codebook to simvq".to_owned());
    }
    advice
}

/// For codes that may be compared by direction.
fn of_directions(section: &VqvaeSection) -> Option<String> {
    match (section.normalize_codes, section.code_dim > FEW_DIMENSIONS) {
        (true, false) => None,
        (true, true) => Some(format!("try a vqvae.code_dim of {FEW_DIMENSIONS}")),
        (false, true) => {
            Some(format!("try vqvae.normalize_codes with a vqvae.code_dim of {FEW_DIMENSIONS}"))
        }
        (false, false) => Some("try vqvae.normalize_codes".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIRST: Collapse = Collapse { step: 7, perplexity: 2.25, codes: 512, level: None };

    #[test]
    fn what_is_set_already_is_not_recommended() {
        let all_set = VqvaeSection {
            kmeans_init: true,
            restart_after: 20,
            normalize_codes: true,
            code_dim: 8,
            ..VqvaeSection::default()
        };
        let advice = collapse_advice(&all_set, FIRST);
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
        let advice = collapse_advice(&none, FIRST);
        for wanted in [
            "kmeans_init to true",
            "restart_after to 100",
            "codebook to simvq",
            "normalize_codes with a vqvae.code_dim of 8",
        ] {
            assert!(advice.contains(wanted), "{advice}");
        }
    }

    #[test]
    fn no_kind_is_told_to_set_what_it_does_not_have() {
        for (given, level, wanted, unwanted) in [
            (
                json!({"quantizer": "fsq"}),
                None,
                "few of the fsq quantizer's codes are in use: perplexity",
                &["kmeans_init", "restart_after", "normalize_codes", "depth"][..],
            ),
            (
                json!({"quantizer": "residual", "restart_after": 0}),
                Some(3),
                "the codebook of level 3 has collapsed: perplexity",
                &["normalize_codes"],
            ),
            (
                json!({"codebook": "simvq"}),
                None,
                "raise vqvae.commitment, or try vqvae.normalize_codes",
                &["kmeans_init", "restart_after", "depth"],
            ),
        ] {
            let section: VqvaeSection = serde_json::from_value(given).unwrap();
            section.validate(&Default::default()).unwrap();
            let advice = collapse_advice(&section, Collapse { level, ..FIRST });
            assert!(advice.contains(wanted), "{advice}");
            for key in unwanted {
                assert!(!advice.contains(key), "{advice}");
            }
        }
    }
}
