//! What two priors have in common: which rows of their tables stand for the same code, class or token.

use std::collections::HashMap;

use crate::checkpoint::{MERGES, ModelFile, Rows};
use crate::error::Result;
use crate::prior::PriorConfig;
use crate::vocabulary::Vocabulary;

/// Rows of one prior's tables and those of another that stand for the same: to, from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Of `token`: codes, classes of the same name, and the tokens for none.
    tokens: Rows,
    /// Of `caption.token`: tokens of the same bytes.
    captions: Option<Rows>,
    /// Of `caption.position`.
    positions: Rows,
}

impl Shared {
    /// What the prior of shape `config`, `vocabulary` and `classes` has in common with that of the file `from`.
    ///
    /// # Errors
    /// A file that is not that of a prior.
    pub(super) fn with(
        (config, vocabulary, classes): (&PriorConfig, Option<&Vocabulary>, &[String]),
        from: &ModelFile,
    ) -> Result<Self> {
        let other: PriorConfig = from.checked_config()?;
        let other_classes: Vec<String> = from.json("classes")?;
        let mut tokens: Rows = Vec::new();
        // Codes of a codebook of another size are other codes.
        if config.codebook_size == other.codebook_size {
            tokens.extend((0..config.codebook_size).map(|code| (code, code)));
        }
        let known: HashMap<&str, usize> =
            other_classes.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        for (at, name) in classes.iter().enumerate() {
            if let Some(same) = known.get(name.as_str()) {
                tokens.push((config.codebook_size + at, other.codebook_size + same));
            }
        }
        let none = |config: &PriorConfig| config.codebook_size + config.n_classes;
        tokens.push((none(config), none(&other)));
        if config.is_masked() && other.is_masked() {
            tokens.push((config.mask_token(), other.mask_token()));
        }
        let positions = 0..config.caption_length.min(other.caption_length);
        Ok(Self {
            tokens,
            captions: captions(config, vocabulary, &other, from)?,
            positions: positions.map(|at| (at, at)).collect(),
        })
    }

    /// The rows of the table `name` that are taken over; `None` for a tensor that is taken over as a whole or not at all.
    pub(super) fn rows(&self, name: &str) -> Option<Rows> {
        match name {
            "token.weight" => Some(self.tokens.clone()),
            "caption.token.weight" => self.captions.clone(),
            "caption.position" => Some(self.positions.clone()),
            _ => None,
        }
    }
}

/// The tokens that both vocabularies have, and the one after the end.
fn captions(
    config: &PriorConfig,
    vocabulary: Option<&Vocabulary>,
    other: &PriorConfig,
    from: &ModelFile,
) -> Result<Option<Rows>> {
    let (Some(vocabulary), true) = (vocabulary, other.has_captions()) else { return Ok(None) };
    let merges: Vec<String> = from.json(MERGES)?;
    let other_vocabulary = Vocabulary::of_merges(merges)
        .map_err(|reason| crate::error::Error::file(from.source(), reason))?;
    let known: HashMap<&str, usize> =
        other_vocabulary.names().iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let same = vocabulary.names().iter().enumerate();
    let mut rows: Rows =
        same.filter_map(|(at, name)| Some((at, *known.get(name.as_str())?))).collect();
    rows.push((config.caption_tokens, other.caption_tokens));
    Ok(Some(rows))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::Kind;
    use crate::prior::PriorKind;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn vocabulary(merges: &[&str]) -> Vocabulary {
        Vocabulary::of_merges(names(merges)).unwrap()
    }

    #[test]
    fn rows_of_the_same_code_class_and_token_belong_together() {
        let config = |classes, tokens, length| PriorConfig {
            codebook_size: 4,
            n_classes: classes,
            caption_tokens: tokens,
            caption_length: length,
            ..PriorConfig::default()
        };
        let from = ModelFile::new(Kind::Prior, &config(2, 258, 2), Vec::new())
            .unwrap()
            .with_json("classes", &names(&["cats", "dogs"]))
            .unwrap()
            .with_json(MERGES, &names(&["a b", "c d"]))
            .unwrap();
        let own = vocabulary(&["c d", "e f"]);
        let classes = names(&["birds", "dogs", "cats"]);
        let shared = Shared::with((&config(3, 258, 5), Some(&own), &classes), &from).unwrap();
        // Codes, dogs and cats at their places, no class.
        let tokens = vec![(0, 0), (1, 1), (2, 2), (3, 3), (5, 5), (6, 4), (7, 6)];
        assert_eq!(shared.rows("token.weight"), Some(tokens));
        assert_eq!(shared.rows("caption.position"), Some(vec![(0, 0), (1, 1)]));
        let captions = shared.rows("caption.token.weight").unwrap();
        // All bytes, `cd`, and the end.
        assert_eq!(captions[..2], [(0, 0), (1, 1)]);
        assert_eq!(captions[256..], [(256, 257), (258, 258)]);
        assert_eq!(shared.rows("head.weight"), None);

        // Another codebook has other codes.
        let other = PriorConfig { codebook_size: 5, ..config(0, 0, 0) };
        let shared = Shared::with((&other, None, &[]), &from).unwrap();
        assert_eq!(shared.rows("token.weight"), Some(vec![(5, 6)]));
        assert_eq!(shared.rows("caption.token.weight"), None);
    }

    #[test]
    fn masked_priors_share_the_token_of_an_unknown_code() {
        let config =
            PriorConfig { codebook_size: 4, kind: PriorKind::Masked, ..Default::default() };
        let from = ModelFile::new(Kind::Prior, &config, Vec::new()).unwrap();
        let from = from.with_json("classes", &Vec::<String>::new()).unwrap();
        let shared = Shared::with((&config, None, &[]), &from).unwrap();
        assert_eq!(shared.tokens[4..], [(4, 4), (5, 5)]);
    }
}
