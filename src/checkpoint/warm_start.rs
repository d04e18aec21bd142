//! A model that starts from another's weights: what fits is taken over, what does not is named.

use std::collections::BTreeMap;

use burn::module::Module;

use super::run::model_file::ModelFile;
use super::tensors::named_tensor::NamedTensor;
use super::tensors::parameters;
use crate::error::{Error, Result};

/// Rows of a matrix that are taken over: to, from.
pub type Rows = Vec<(usize, usize)>;

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// Parameters that were.
    pub kept: u64,
    /// All of the model.
    pub all: u64,
    /// Names of the tensors that start anew, in part or as a whole.
    pub new: Vec<String>,
}

impl TakenOver {
    /// Whether the tensor `name` was taken over as a whole.
    pub fn has(&self, name: &str) -> bool {
        !self.new.iter().any(|new| new == name)
    }

    /// In words: from where, how much, and what starts anew.
    pub fn note(&self, from: &ModelFile) -> String {
        let share = 100.0 * self.kept as f64 / self.all.max(1) as f64;
        let new = match self.new.as_slice() {
            [] => "nothing starts anew".to_owned(),
            names if names.len() <= MOST_NAMED => format!("anew: {}", names.join(", ")),
            names => {
                let more = names.len() - MOST_NAMED;
                format!("anew: {} and {more} more", names[..MOST_NAMED].join(", "))
            }
        };
        format!("starts from {}: {share:.0} % of the weights, {new}", from.source().display())
    }
}

/// Tensors that a note lists.
const MOST_NAMED: usize = 6;

/// `module` with the tensors of `from` that have its names and shapes. For those of which `rows` names some, only these
/// rows are taken over, where the others fit.
///
/// # Errors
/// A file of which nothing fits, or that holds numbers that are not finite.
pub fn start_from<M: Module>(
    module: M,
    from: &ModelFile,
    rows: &dyn Fn(&str) -> Option<Rows>,
) -> Result<(M, TakenOver)> {
    let given: BTreeMap<&str, &NamedTensor> =
        from.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut taken = TakenOver { kept: 0, all: 0, new: Vec::new() };
    let mut tensors = parameters::named(&module)?;
    for own in &mut tensors {
        let n = own.data.len() as u64;
        taken.all += n;
        let kept = match (given.get(own.name.as_str()), rows(&own.name)) {
            (None, _) => 0,
            (Some(given), None) if given.shape == own.shape => {
                own.data.copy_from_slice(&given.data);
                n
            }
            (Some(_), None) => 0,
            (Some(given), Some(rows)) => copy_rows(own, given, &rows),
        };
        taken.kept += kept;
        if kept < n {
            taken.new.push(own.name.clone());
        }
    }
    if taken.kept == 0 {
        return Err(Error::file(
            from.source(),
            "fits no part of this model: name a model of the same preset and width",
        ));
    }
    Ok((parameters::load(module, tensors, from.source())?, taken))
}

/// Copies rows of a matrix; returns how many numbers. Rows beyond either matrix are left out.
fn copy_rows(to: &mut NamedTensor, from: &NamedTensor, rows: &[(usize, usize)]) -> u64 {
    let ([n_to, width], [n_from, same]) = (&to.shape[..], &from.shape[..]) else { return 0 };
    if width != same {
        return 0;
    }
    let (n_to, n_from, width) = (*n_to, *n_from, *width);
    let mut kept = 0;
    for &(to_row, from_row) in rows.iter().filter(|(to, from)| *to < n_to && *from < n_from) {
        to.data[to_row * width..][..width].copy_from_slice(&from.data[from_row * width..][..width]);
        kept += width as u64;
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::checkpoint::Kind;

    #[derive(Module, Debug)]
    struct Two {
        table: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    fn two(rows: usize) -> Two {
        let device = Device::flex();
        Two {
            table: Param::from_tensor(Tensor::zeros([rows, 2], &device)),
            bias: Param::from_tensor(Tensor::zeros([3], &device)),
        }
    }

    fn file(tensors: &[(&str, &[usize])]) -> ModelFile {
        let tensors = tensors.iter().map(|(name, shape)| {
            let n: usize = shape.iter().product();
            let values = (1..=n).map(|value| value as f32).collect();
            NamedTensor::new(*name, shape.to_vec(), values).unwrap()
        });
        ModelFile::new(Kind::Prior, &(), tensors.collect()).unwrap()
    }

    fn values(module: &Two) -> [Vec<f32>; 2] {
        let tensors = parameters::named(module).unwrap();
        [tensors[1].data.clone(), tensors[0].data.clone()]
    }

    #[test]
    fn what_fits_is_taken_over_and_the_rest_is_named() {
        let from = file(&[("table", &[2, 2]), ("bias", &[3]), ("more", &[5])]);
        let (module, taken) = start_from(two(2), &from, &|_| None).unwrap();
        assert_eq!(values(&module), [vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 2.0, 3.0]]);
        assert_eq!(taken, TakenOver { kept: 7, all: 7, new: Vec::new() });
        assert!(taken.note(&from).ends_with("100 % of the weights, nothing starts anew"));

        let (module, taken) = start_from(two(3), &from, &|_| None).unwrap();
        assert_eq!(values(&module)[0], [0.0; 6]);
        assert!(!taken.has("table") && taken.has("bias"));
        assert!(taken.note(&from).ends_with("33 % of the weights, anew: table"), "{taken:?}");
    }

    #[test]
    fn rows_are_taken_over_one_by_one() {
        let from = file(&[("table", &[2, 2]), ("bias", &[3])]);
        let rows = |name: &str| (name == "table").then(|| vec![(2, 0), (0, 1), (9, 0), (1, 9)]);
        let (module, taken) = start_from(two(3), &from, &rows).unwrap();
        assert_eq!(values(&module)[0], [3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!((taken.kept, taken.new), (7, vec!["table".to_owned()]));
    }

    #[test]
    fn a_file_of_which_nothing_fits_is_refused() {
        let from = file(&[("other", &[3])]);
        let error = start_from(two(2), &from, &|_| None).unwrap_err().to_string();
        assert!(error.contains("fits no part of this model"), "{error}");
    }
}
