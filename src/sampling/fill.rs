//! Filling in codes in parallel (Chang et al. 2022, "MaskGIT"): each pass draws all unknown codes and keeps those of
//! highest confidence, more in every pass, until all are known.

use rayon::prelude::*;

use super::generate::{check_conditions, conditions, padded};
use super::host::{choose, guide, not_finite};
use crate::error::Result;
use crate::rng::{Purpose, stream};
use crate::sampling::{CodeModel, Request, SamplingConfig};

/// How much chance there is in which codes are kept: the scale of Gumbel noise on the logarithm of their probabilities
/// in the first pass, which falls to 0 in the last.
const NOISE: f64 = 4.5;

/// A model that predicts every code from those that are known.
pub trait FillCodes: CodeModel {
    /// The logits of every code.
    ///
    /// # Shapes
    /// - conditions: `[rows]`
    /// - known: `[rows, n_codes]`
    /// - output: `[rows, n_codes, codebook_size]`
    ///
    /// # Errors
    /// A device that fails.
    fn logits(&mut self, conditions: &[Self::Condition], known: &[Option<u16>])
    -> Result<Vec<f32>>;
}

/// Samples the codes of each request in `config.passes` passes; the given ones stay. `progress` is called with `(done,
/// total)` codes.
///
/// # Errors
/// What does not fit the model, a device that fails, or logits that are not finite.
pub fn fill<M: FillCodes>(
    model: &mut M,
    requests: &[Request<M::Condition>],
    config: &SamplingConfig,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u16>>> {
    config.validate(model.codebook_size())?;
    check_conditions(model, requests, config)?;
    let n_codes = model.n_codes();
    let total = requests.len() * n_codes;
    let mut images = Vec::with_capacity(requests.len());
    for wanted in requests.chunks(config.lanes) {
        // Every forward pass has the same shape.
        let rows = padded(wanted, config.lanes);
        let done = images.len() * n_codes;
        let mut passed = |pass: usize| {
            progress(done + wanted.len() * n_codes * pass / config.passes, total);
        };
        let mut codes = fill_rows(model, &rows, config, seed, &mut passed)?;
        codes.truncate(wanted.len());
        images.extend(codes);
    }
    Ok(images)
}

/// One batch of rows; `passed` is called with the number of passes done.
fn fill_rows<M: FillCodes>(
    model: &mut M,
    rows: &[&Request<M::Condition>],
    config: &SamplingConfig,
    seed: u64,
    passed: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let (n_codes, codebook_size) = (model.n_codes(), model.codebook_size());
    let conditions = conditions(model, rows, config);
    let mut known: Vec<Option<u16>> = Vec::with_capacity(rows.len() * n_codes);
    for row in rows {
        known.extend(row.given.iter().copied().chain(std::iter::repeat(None)).take(n_codes));
    }
    let indices: Vec<u64> = rows.iter().map(|row| row.index).collect();
    let unknown: Vec<usize> =
        known.chunks(n_codes).map(|row| row.iter().filter(|code| code.is_none()).count()).collect();
    for pass in 0..config.passes {
        if known.iter().all(Option::is_some) {
            break;
        }
        let mut seen = known.clone();
        if config.is_guided() {
            seen.extend_from_within(..);
        }
        let mut logits = model.logits(&conditions, &seen)?;
        if config.is_guided() {
            guide(&mut logits, config.guidance_at(pass, config.passes) as f32);
        }
        let all = known
            .par_chunks_mut(n_codes)
            .zip(logits.par_chunks(n_codes * codebook_size))
            .zip(indices.par_iter().zip(&unknown));
        all.try_for_each(|((known, logits), (index, unknown))| {
            let mut rng = stream(seed, Purpose::Sample, pass as u64 + 1, *index);
            let left = still_unknown(*unknown, pass + 1, config.passes);
            let heat = 1.0 - (pass + 1) as f64 / config.passes as f64;
            // Of every position, known or not, so that the numbers of one do not depend on the others.
            let numbers: Vec<[f32; 2]> =
                (0..n_codes).map(|_| [rng.uniform(), rng.uniform()]).collect();
            reveal(known, logits, &numbers, config, (left, heat))
        })?;
        passed(pass + 1);
    }
    passed(config.passes);
    Ok(known
        .chunks(n_codes)
        .map(|row| row.iter().map(|code| code.unwrap_or(0)).collect())
        .collect())
}

/// How many of `n` codes are unknown after `pass` of `passes`: a quarter of a cosine, so that the first passes, which know
/// little, decide about few.
fn still_unknown(n: usize, pass: usize, passes: usize) -> usize {
    if pass >= passes {
        return 0;
    }
    let angle = std::f64::consts::FRAC_PI_2 * pass as f64 / passes as f64;
    ((n as f64 * angle.cos()) as usize).min(n.saturating_sub(pass))
}

/// Draws the unknown codes of a row and keeps those of highest confidence, until `left` are unknown.
///
/// # Errors
/// Logits that are not finite.
fn reveal(
    known: &mut [Option<u16>],
    logits: &[f32],
    numbers: &[[f32; 2]],
    config: &SamplingConfig,
    (left, heat): (usize, f64),
) -> Result<()> {
    let codebook_size = logits.len() / known.len();
    let mut drawn = Vec::new();
    for (place, _) in known.iter().enumerate().filter(|(_, code)| code.is_none()) {
        let logits = &logits[place * codebook_size..][..codebook_size];
        let [uniform, noise] = numbers[place];
        let chosen = choose(logits, config, uniform).ok_or_else(not_finite)?;
        // Gumbel noise; the number is below 1, and 0 is moved into the range of the logarithm.
        let gumbel = -(-f64::from(noise.max(f32::MIN_POSITIVE)).ln()).ln();
        let confidence = log_probability(logits, chosen) + NOISE * heat * gumbel;
        drawn.push((confidence, place, chosen as u16));
    }
    // The first of equals, as places are in order and the sort is stable.
    drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
    let kept = drawn.len().saturating_sub(left);
    for (_, place, code) in drawn.into_iter().take(kept) {
        known[place] = Some(code);
    }
    Ok(())
}

fn log_probability(logits: &[f32], code: usize) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, logit| max.max(*logit));
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    f64::from(logits[code] - max) - sum.ln()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Error;

    const CODES: usize = 4;
    const POSITIONS: usize = 9;

    /// The code of a position is certain, and is the position modulo the codes plus the class.
    struct Certain {
        /// Unknown codes of the first row in every call.
        calls: Vec<usize>,
        broken: bool,
    }

    impl CodeModel for Certain {
        type Condition = Option<usize>;
        fn codebook_size(&self) -> usize {
            CODES
        }
        fn n_codes(&self) -> usize {
            POSITIONS
        }
        fn check(&self, class: &Option<usize>) -> Result<()> {
            match class {
                Some(class) if *class > 1 => Err(Error::invalid(format!("no class {class}"))),
                _ => Ok(()),
            }
        }
        fn without(&self, class: &Option<usize>) -> Option<Option<usize>> {
            class.map(|_| None)
        }
    }

    impl FillCodes for Certain {
        fn logits(
            &mut self,
            conditions: &[Option<usize>],
            known: &[Option<u16>],
        ) -> Result<Vec<f32>> {
            self.calls.push(known[..POSITIONS].iter().filter(|code| code.is_none()).count());
            let row = |class: &Option<usize>| {
                let class = class.unwrap_or(0);
                (0..POSITIONS).flat_map(move |place| {
                    (0..CODES).map(
                        move |code| {
                            if code == (place + class) % CODES { 20.0 } else { 0.0 }
                        },
                    )
                })
            };
            let mut logits: Vec<f32> = conditions.iter().flat_map(row).collect();
            if self.broken {
                logits[1] = f32::NAN;
            }
            Ok(logits)
        }
    }

    fn model() -> Certain {
        Certain { calls: Vec::new(), broken: false }
    }

    fn request(index: u64, class: Option<usize>, given: &[Option<u16>]) -> Request<Option<usize>> {
        Request { index, condition: class, given: given.to_vec() }
    }

    fn config(passes: usize) -> SamplingConfig {
        SamplingConfig { passes, lanes: 2, ..SamplingConfig::default() }
    }

    #[test]
    fn every_code_is_drawn_in_as_many_passes_as_asked_for_and_few_in_the_first() {
        for (passes, expected) in [(1, &[9][..]), (3, &[9, 7, 4]), (4, &[9, 8, 6, 3])] {
            let mut model = model();
            let requests = [request(0, Some(1), &[])];
            let codes = fill(&mut model, &requests, &config(passes), 3, &mut |_, _| ()).unwrap();
            let wanted: Vec<u16> = (0..9).map(|place| (place + 1) % 4).collect();
            assert_eq!(codes, [wanted]);
            assert_eq!(model.calls, expected, "{passes}");
        }
        // With more passes than codes, each reveals one.
        let mut many = model();
        fill(&mut many, &[request(0, None, &[])], &config(50), 3, &mut |_, _| ()).unwrap();
        assert_eq!(many.calls, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn given_codes_stay_wherever_they_are_and_all_may_be_given() {
        let mut given = [None; 9];
        (given[0], given[5]) = (Some(3), Some(3));
        let whole: Vec<Option<u16>> = (0..9).map(|place| Some(place % 4)).collect();
        let requests = [request(0, None, &given), request(1, None, &whole)];
        let mut calls = Vec::new();
        let progress = &mut |done, total| calls.push((done, total));
        let codes = fill(&mut model(), &requests, &config(3), 3, progress).unwrap();
        assert_eq!(codes[0], [3, 1, 2, 3, 0, 3, 2, 3, 0]);
        assert_eq!(codes[1], [0, 1, 2, 3, 0, 1, 2, 3, 0]);
        assert_eq!(calls, [(6, 18), (12, 18), (18, 18), (18, 18)]);
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        let refused = |model: &mut Certain, request, config: &SamplingConfig| {
            fill(model, &[request], config, 0, &mut |_, _| ()).unwrap_err().to_string()
        };
        let plain = config(2);
        assert_eq!(refused(&mut model(), request(0, Some(2), &[]), &plain), "no class 2");
        let message = refused(&mut model(), request(0, None, &[None, Some(4)]), &plain);
        assert!(message.contains("code 4 is given, the prior knows 0 to 3"), "{message}");
        let message = refused(&mut model(), request(0, None, &[None; 10]), &plain);
        assert!(message.contains("10 codes are given"), "{message}");
        let guided = SamplingConfig { guidance: 2.0, ..plain.clone() };
        let message = refused(&mut model(), request(0, None, &[]), &guided);
        assert!(message.contains("guidance is 2"), "{message}");
        let mut broken = Certain { broken: true, ..model() };
        let message = refused(&mut broken, request(0, None, &[]), &plain);
        assert!(message.contains("not finite"), "{message}");
        assert!(refused(&mut model(), request(0, None, &[]), &config(0)).contains("passes is 0"));
    }
}
