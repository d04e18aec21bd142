//! The loop over images and positions.

use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::sampling::{NextCode, SamplingConfig, Steps, device, host};

/// One image to sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Its number: with the seed, the key of its randomness.
    pub index: u64,
    /// Its class; `None` for none in particular.
    pub class: Option<usize>,
    /// Codes that are given, from the first on; as many in every request of one call.
    pub prompt: Vec<u16>,
}

/// Samples the codes of each request, `n_codes` an image, the given ones included. `progress` is told how
/// many codes of how many are drawn: `(done, total)`.
///
/// An error names what does not fit the model: a setting, a class, the prompts; or says that the model's
/// logits are not finite.
pub fn generate(
    model: &mut impl NextCode,
    requests: &[Request],
    config: &SamplingConfig,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<u16>>> {
    config.validate(model.codebook_size())?;
    check(model, requests, config)?;
    let Some(first) = requests.first() else {
        return Ok(Vec::new());
    };
    let given = first.prompt.len();
    let n_codes = model.n_codes();
    let total = requests.len() * (n_codes - given);
    if total == 0 {
        return Ok(requests.iter().map(|request| request.prompt.clone()).collect());
    }
    let mut images = Vec::with_capacity(requests.len());
    for wanted in requests.chunks(config.lanes) {
        // Rows beyond the wanted ones repeat the last request and are thrown away.
        let n = if model.has_independent_rows() { wanted.len() } else { config.lanes };
        let rows: Vec<&Request> =
            wanted.iter().chain(std::iter::repeat(&wanted[wanted.len() - 1])).take(n).collect();
        let done = images.len() * (n_codes - given);
        let mut told = |drawn: usize| progress(done + wanted.len() * drawn, total);
        let mut codes = sample_rows(model, &rows, config, seed, &mut told)?;
        codes.truncate(wanted.len());
        images.extend(codes);
    }
    Ok(images)
}

fn check(model: &impl NextCode, requests: &[Request], config: &SamplingConfig) -> Result<()> {
    let fail = |message: String| Err(Error::invalid(message));
    let (n_classes, n_codes, codebook_size) =
        (model.n_classes(), model.n_codes(), model.codebook_size());
    for request in requests {
        if let Some(class) = request.class
            && class >= n_classes
        {
            return fail(format!(
                "cannot sample class {class}: the prior knows {n_classes} classes"
            ));
        }
        let (given, expected) = (request.prompt.len(), requests[0].prompt.len());
        if given > n_codes || given != expected {
            return fail(format!(
                "cannot complete image {}: {given} codes are given, allowed are as many as for the first \
                 image ({expected}) and at most {n_codes}",
                request.index
            ));
        }
        if let Some(code) = request.prompt.iter().find(|&&code| usize::from(code) >= codebook_size)
        {
            return fail(format!(
                "cannot complete image {}: code {code} is given, the prior knows 0 to {}",
                request.index,
                codebook_size - 1
            ));
        }
    }
    if config.is_guided() && !requests.is_empty() && requests.iter().all(|r| r.class.is_none()) {
        return fail(format!(
            "guidance is {} but no class is asked for (choose a class, or leave guidance at 1)",
            config.guidance
        ));
    }
    Ok(())
}

/// Samples one pass of rows.
fn sample_rows(
    model: &mut impl NextCode,
    rows: &[&Request],
    config: &SamplingConfig,
    seed: u64,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let pass = Pass {
        tokens: start_tokens(model, rows, config),
        uniforms: uniforms(rows, model.n_codes(), seed),
        rows: rows.len(),
        given: rows[0].prompt.len(),
        n_codes: model.n_codes(),
    };
    let codes = match model.steps() {
        Steps::Host(steps) => host::sample(steps, &pass, config, drawn)?,
        Steps::Device(steps) => device::sample(steps, &pass, config, drawn)?,
    };
    let whole = rows.iter().zip(codes);
    Ok(whole.map(|(row, codes)| [row.prompt.clone(), codes].concat()).collect())
}

/// What the rows of a pass begin with, and the uniform numbers that decide about their codes.
pub(super) struct Pass {
    /// Class token and given codes of every row; under guidance, followed by the rows without their class:
    /// `[rows or 2 * rows, 1 + given]`.
    pub(super) tokens: Vec<usize>,
    /// One a code, the given ones included, so that a code's number does not depend on how many are: `[rows, n_codes]`.
    pub(super) uniforms: Vec<f32>,
    pub(super) rows: usize,
    pub(super) given: usize,
    pub(super) n_codes: usize,
}

fn start_tokens(model: &impl NextCode, rows: &[&Request], config: &SamplingConfig) -> Vec<usize> {
    let tokens_of = |class: Option<usize>, prompt: &[u16]| {
        let codes = prompt.iter().map(|&code| usize::from(code));
        [model.class_token(class)].into_iter().chain(codes).collect::<Vec<_>>()
    };
    let mut tokens: Vec<usize> =
        rows.iter().flat_map(|row| tokens_of(row.class, &row.prompt)).collect();
    if config.is_guided() {
        tokens.extend(rows.iter().flat_map(|row| tokens_of(None, &row.prompt)));
    }
    tokens
}

fn uniforms(rows: &[&Request], n_codes: usize, seed: u64) -> Vec<f32> {
    let of_row = |row: &&Request| {
        let mut rng = stream(seed, Purpose::Sample, 0, row.index);
        (0..n_codes).map(move |_| rng.uniform())
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
