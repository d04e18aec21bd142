//! The loop over images and positions.

use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::sampling::{CodeModel, NextCode, SamplingConfig, Steps, device, host};

/// One image to sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request<C> {
    /// Its index: with the seed, the key of its randomness.
    pub index: u64,
    /// What it is asked to show.
    pub condition: C,
    /// The codes that are given, in raster order, `None` for one to sample; those at the end may be left out.
    pub given: Vec<Option<u16>>,
}

impl<C> Request<C> {
    /// The given codes, where they are the first of the sequence.
    fn leading(&self) -> Result<Vec<u16>> {
        let leading: Vec<u16> = self.given.iter().map_while(|code| *code).collect();
        match self.given[leading.len()..].iter().all(Option::is_none) {
            true => Ok(leading),
            false => Err(Error::invalid(format!(
                "cannot complete image {}: codes are given after others that are not, and this prior continues from \
                 the first ones (one of prior.kind masked fills in any)",
                self.index
            ))),
        }
    }
}

/// Samples the codes of each request, `n_codes` per image, including the given ones. `progress` is called with `(done,
/// total)` codes.
///
/// An error names what does not fit the model (a parameter, a condition, the prompts), or reports that the logits are not
/// finite.
pub fn generate<M: NextCode>(
    model: &mut M,
    requests: &[Request<M::Condition>],
    config: &SamplingConfig,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u16>>> {
    config.validate(model.codebook_size())?;
    check(model, requests, config)?;
    let Some(first) = requests.first() else {
        return Ok(Vec::new());
    };
    let given = first.leading()?.len();
    let n_codes = model.n_codes();
    let total = requests.len() * (n_codes - given);
    if total == 0 {
        return requests.iter().map(Request::leading).collect();
    }
    let mut images = Vec::with_capacity(requests.len());
    for wanted in requests.chunks(config.lanes) {
        let n = if model.has_independent_rows() { wanted.len() } else { config.lanes };
        let rows = padded(wanted, n);
        let done = images.len() * (n_codes - given);
        let mut told = |drawn: usize| progress(done + wanted.len() * drawn, total);
        let mut codes = sample_rows(model, &rows, config, seed, &mut told)?;
        codes.truncate(wanted.len());
        images.extend(codes);
    }
    Ok(images)
}

fn check<M: NextCode>(
    model: &M,
    requests: &[Request<M::Condition>],
    config: &SamplingConfig,
) -> Result<()> {
    check_conditions(model, requests, config)?;
    let expected = match requests.first() {
        Some(first) => first.leading()?.len(),
        None => return Ok(()),
    };
    for request in requests {
        let given = request.leading()?.len();
        if given != expected {
            return Err(Error::invalid(format!(
                "cannot complete image {}: {given} codes are given, allowed are as many as for the first \
                 image ({expected})",
                request.index
            )));
        }
    }
    Ok(())
}

/// Refuses conditions and given codes that the model does not know.
pub(super) fn check_conditions<M: CodeModel>(
    model: &M,
    requests: &[Request<M::Condition>],
    config: &SamplingConfig,
) -> Result<()> {
    let fail = |message: String| Err(Error::invalid(message));
    let (n_codes, codebook_size) = (model.n_codes(), model.codebook_size());
    for request in requests {
        model.check(&request.condition)?;
        let given = request.given.len();
        if given > n_codes {
            return fail(format!(
                "cannot complete image {}: {given} codes are given, allowed are at most {n_codes}",
                request.index
            ));
        }
        let mut codes = request.given.iter().flatten();
        if let Some(code) = codes.find(|&&code| usize::from(code) >= codebook_size) {
            return fail(format!(
                "cannot complete image {}: code {code} is given, the prior knows 0 to {}",
                request.index,
                codebook_size - 1
            ));
        }
    }
    let asks = |request: &Request<_>| model.without(&request.condition).is_some();
    if config.is_guided() && !requests.is_empty() && !requests.iter().any(asks) {
        return fail(format!(
            "guidance is {} but no class is given (choose a class, or leave guidance at 1)",
            config.guidance
        ));
    }
    Ok(())
}

/// Samples one batch of rows.
fn sample_rows<M: NextCode>(
    model: &mut M,
    rows: &[&Request<M::Condition>],
    config: &SamplingConfig,
    seed: u64,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let leading = rows.iter().map(|row| row.leading()).collect::<Result<Vec<_>>>()?;
    let mut given: Vec<usize> = leading.iter().flatten().map(|&code| usize::from(code)).collect();
    if config.is_guided() {
        given.extend_from_within(..);
    }
    let pass = Pass {
        conditions: conditions(model, rows, config),
        given_codes: given,
        uniforms: uniforms(rows, model.n_codes(), seed),
        rows: rows.len(),
        given: leading[0].len(),
        n_codes: model.n_codes(),
    };
    let codes = match model.steps() {
        Steps::Host(steps) => host::sample(steps, &pass, config, drawn)?,
        Steps::Device(steps) => device::sample(steps, &pass, config, drawn)?,
    };
    let whole = leading.into_iter().zip(codes);
    Ok(whole.map(|(given, codes)| [given, codes].concat()).collect())
}

/// `n` rows: the requests, at least one, and the last of them as often as it takes; what is drawn for these is discarded.
pub(super) fn padded<C>(requests: &[Request<C>], n: usize) -> Vec<&Request<C>> {
    let last = &requests[requests.len() - 1];
    requests.iter().chain(std::iter::repeat(last)).take(n).collect()
}

/// The conditions of the rows; under guidance, followed by the unconditional ones.
pub(super) fn conditions<M: CodeModel>(
    model: &M,
    rows: &[&Request<M::Condition>],
    config: &SamplingConfig,
) -> Vec<M::Condition> {
    let mut conditions: Vec<_> = rows.iter().map(|row| row.condition.clone()).collect();
    if config.is_guided() {
        let without = |row: &&Request<_>| {
            model.without(&row.condition).unwrap_or_else(|| row.condition.clone())
        };
        conditions.extend(rows.iter().map(without));
    }
    conditions
}

/// The start of every row of a batch, and the uniform numbers that its codes are drawn by.
pub(super) struct Pass<C> {
    /// One per row; under guidance, followed by the unconditional ones: `[rows or 2 * rows]`.
    pub(super) conditions: Vec<C>,
    /// The known codes: `[rows or 2 * rows, given]`.
    pub(super) given_codes: Vec<usize>,
    /// One per code, including the given ones, so that a code's number does not depend on how many are given: `[rows,
    /// n_codes]`.
    pub(super) uniforms: Vec<f32>,
    pub(super) rows: usize,
    pub(super) given: usize,
    pub(super) n_codes: usize,
}

fn uniforms<C>(rows: &[&Request<C>], n_codes: usize, seed: u64) -> Vec<f32> {
    let of_row = |row: &&Request<C>| {
        let mut rng = stream(seed, Purpose::Sample, 0, row.index);
        (0..n_codes).map(move |_| rng.uniform())
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
