//! The loop over images and positions.

use burn::tensor::{Device, Int, Tensor, TensorData, TensorReadError};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::runs_on_host;
use crate::rng::{Purpose, stream};
use crate::sampling::{NextCode, SamplingConfig, device, host};

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
    let on_host = runs_on_host(&model.device());
    let mut images = Vec::with_capacity(requests.len());
    for wanted in requests.chunks(config.lanes) {
        // Rows beyond the wanted ones repeat the last request and are thrown away.
        let n = if model.has_independent_rows() { wanted.len() } else { config.lanes };
        let rows: Vec<&Request> =
            wanted.iter().chain(std::iter::repeat(&wanted[wanted.len() - 1])).take(n).collect();
        let done = images.len() * (n_codes - given);
        let mut told = |drawn: usize| progress(done + wanted.len() * drawn, total);
        let mut codes = sample_rows(model, &rows, config, seed, on_host, &mut told)?;
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
    on_host: bool,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let device = model.device();
    let n_codes = model.n_codes();
    let given = rows[0].prompt.len();
    let mut logits = model.start(start_tokens(model, rows, config, &device));
    let mut choice = Choice::new(rows, n_codes, seed, &device, on_host);
    for position in given..n_codes {
        let codes = choice.draw(guide(logits, config), config, position)?;
        drawn(position + 1 - given);
        if position + 1 == n_codes {
            break;
        }
        let codes =
            if config.is_guided() { Tensor::cat(vec![codes.clone(), codes], 0) } else { codes };
        logits = model.next(codes);
    }
    choice.finish(rows)
}

/// Class token and given codes of every row; under guidance, followed by the rows without their class.
///
/// # Shapes
/// - output: `[rows or 2 * rows, 1 + given]`
fn start_tokens(
    model: &impl NextCode,
    rows: &[&Request],
    config: &SamplingConfig,
    device: &Device,
) -> Tensor<2, Int> {
    let tokens_of = |class: Option<usize>, prompt: &[u16]| {
        let codes: Vec<i32> = prompt.iter().map(|&code| i32::from(code)).collect();
        [vec![model.class_token(class) as i32], codes].concat()
    };
    let mut tokens: Vec<i32> =
        rows.iter().flat_map(|row| tokens_of(row.class, &row.prompt)).collect();
    if config.is_guided() {
        tokens.extend(rows.iter().flat_map(|row| tokens_of(None, &row.prompt)));
    }
    let length = 1 + rows[0].prompt.len();
    let batch = tokens.len() / length;
    Tensor::from_data(TensorData::new(tokens, [batch, length]), device)
}

/// # Shapes
/// - logits: `[rows, codebook_size]`, under guidance `[2 * rows, codebook_size]`, unconditional ones last
/// - output: `[rows, codebook_size]`
fn guide(logits: Tensor<2>, config: &SamplingConfig) -> Tensor<2> {
    if !config.is_guided() {
        return logits;
    }
    let [both, codebook_size] = logits.dims();
    let rows = both / 2;
    let conditional = logits.clone().slice([0..rows, 0..codebook_size]);
    let unconditional = logits.slice([rows..both, 0..codebook_size]);
    unconditional.clone() + (conditional - unconditional).mul_scalar(config.guidance)
}

/// The uniform numbers of a pass, and the codes chosen with them so far.
enum Choice {
    Host {
        uniforms: Vec<Vec<f32>>,
        codes: Vec<Vec<u16>>,
        device: Device,
    },
    /// `uniforms` is `[rows, n_codes]`; each of `codes` is `[rows]`.
    Device {
        uniforms: Tensor<2>,
        codes: Vec<Tensor<1, Int>>,
    },
}

impl Choice {
    fn new(rows: &[&Request], n_codes: usize, seed: u64, device: &Device, on_host: bool) -> Self {
        // One a code, the given ones included, so that a code's number does not depend on how many are.
        let uniforms: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| {
                let mut rng = stream(seed, Purpose::Sample, 0, row.index);
                (0..n_codes).map(|_| rng.uniform()).collect()
            })
            .collect();
        if on_host {
            let codes = vec![Vec::with_capacity(n_codes); rows.len()];
            return Self::Host { uniforms, codes, device: device.clone() };
        }
        let uniforms = TensorData::new(uniforms.concat(), [rows.len(), n_codes]);
        Self::Device { uniforms: Tensor::from_data(uniforms, device), codes: Vec::new() }
    }

    /// # Shapes
    /// - logits: `[rows, codebook_size]`
    /// - output: `[rows]`
    fn draw(
        &mut self,
        logits: Tensor<2>,
        config: &SamplingConfig,
        position: usize,
    ) -> Result<Tensor<1, Int>> {
        let [rows, codebook_size] = logits.dims();
        match self {
            Self::Host { uniforms, codes, device } => {
                let logits: Vec<f32> = logits.try_into_vec_as().map_err(unreadable)?;
                let drawn: Option<Vec<usize>> = logits
                    .par_chunks(codebook_size)
                    .zip(uniforms)
                    .map(|(row, uniforms)| host::choose(row, config, uniforms[position]))
                    .collect();
                let drawn = drawn.ok_or_else(not_finite)?;
                for (codes, &code) in codes.iter_mut().zip(&drawn) {
                    codes.push(code as u16);
                }
                let drawn: Vec<i32> = drawn.into_iter().map(|code| code as i32).collect();
                Ok(Tensor::from_data(TensorData::new(drawn, [rows]), &*device))
            }
            Self::Device { uniforms, codes } => {
                let uniform = uniforms.clone().slice([0..rows, position..position + 1]);
                let drawn = device::choose(logits, config, uniform);
                codes.push(drawn.clone());
                Ok(drawn)
            }
        }
    }

    /// The whole sequence of every row.
    fn finish(self, rows: &[&Request]) -> Result<Vec<Vec<u16>>> {
        let drawn = match self {
            Self::Host { codes, .. } => codes,
            Self::Device { codes, .. } => {
                let drawn = codes.len();
                let codes = Tensor::stack::<2>(codes, 1); // [rows, drawn]
                let codes: Vec<i32> = codes.try_into_vec_as().map_err(unreadable)?; // sync
                codes
                    .chunks(drawn)
                    .map(|row| row.iter().map(|&code| code as u16).collect())
                    .collect()
            }
        };
        Ok(rows
            .iter()
            .zip(drawn)
            .map(|(row, drawn)| [row.prompt.clone(), drawn].concat())
            .collect())
    }
}

fn unreadable(error: TensorReadError) -> Error {
    Error::invalid(format!("cannot sample: the device did not hand over its result: {error}"))
}

fn not_finite() -> Error {
    Error::invalid(
        "cannot sample: the prior's logits are not finite (its weights are damaged or its training \
         diverged; train it again with a lower learning rate)",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
