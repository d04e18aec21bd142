//! Tests of the loop, with a model whose logits are known in closed form.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::sampling::{DeviceSteps, HostSteps};

/// Five codes, four positions, two classes. The logits depend on the first token and the last one.
struct Table {
    first: Vec<i32>,
    /// Rows of every call, for tests to inspect.
    calls: Vec<usize>,
    broken: bool,
    on_device: bool,
}

const CODES: usize = 5;

impl Table {
    fn new() -> Self {
        Self { first: Vec::new(), calls: Vec::new(), broken: false, on_device: false }
    }

    fn logits(&mut self, last: Vec<i32>) -> Vec<f32> {
        self.calls.push(last.len());
        let row = |(&first, &last): (&i32, &i32)| {
            let value = move |code: i32| ((first * 7 + last * 3 + code) % CODES as i32) as f32;
            (0..CODES as i32).map(value).collect::<Vec<f32>>()
        };
        let mut values: Vec<f32> = self.first.iter().zip(&last).flat_map(row).collect();
        if self.broken {
            values[1] = f32::NAN;
        }
        values
    }
}

type Class = Option<usize>;

impl CodeModel for Table {
    type Condition = Class;
    fn codebook_size(&self) -> usize {
        CODES
    }
    fn n_codes(&self) -> usize {
        4
    }
    fn check(&self, class: &Class) -> Result<()> {
        match class {
            Some(class) if *class >= 2 => Err(Error::invalid(format!("there is no class {class}"))),
            _ => Ok(()),
        }
    }
    fn without(&self, class: &Class) -> Option<Class> {
        class.map(|_| None)
    }
}

impl NextCode for Table {
    fn steps(&mut self) -> Steps<'_, Class> {
        if self.on_device { Steps::Device(self) } else { Steps::Host(self) }
    }
}

impl DeviceSteps<Class> for Table {
    fn device(&self) -> Device {
        Device::flex()
    }
    fn start(&mut self, classes: &[Class], given: &[usize]) -> Tensor<2> {
        on_device(HostSteps::start(self, classes, given))
    }
    fn next(&mut self, codes: Tensor<1, Int>) -> Tensor<2> {
        let codes: Vec<usize> = codes.into_data().iter::<i64>().map(|code| code as usize).collect();
        on_device(HostSteps::next(self, &codes))
    }
}

fn on_device(logits: Vec<f32>) -> Tensor<2> {
    let rows = logits.len() / CODES;
    Tensor::from_data(TensorData::new(logits, [rows, CODES]), &Device::flex())
}

impl HostSteps<Class> for Table {
    fn start(&mut self, classes: &[Class], given: &[usize]) -> Vec<f32> {
        self.first = classes.iter().map(|class| (CODES + class.unwrap_or(2)) as i32).collect();
        let n = given.len() / classes.len();
        let last = match n {
            0 => self.first.clone(),
            _ => given.chunks(n).map(|codes| codes[n - 1] as i32).collect(),
        };
        self.logits(last)
    }
    fn next(&mut self, codes: &[usize]) -> Vec<f32> {
        self.logits(codes.iter().map(|&code| code as i32).collect())
    }
}

fn request(index: u64, condition: Class, prompt: &[u16]) -> Request<Class> {
    Request { index, condition, given: prompt.iter().copied().map(Some).collect() }
}

fn sample(
    requests: &[Request<Class>],
    config: &SamplingConfig,
    seed: u64,
) -> Result<Vec<Vec<u16>>> {
    generate(&mut Table::new(), requests, config, seed, &mut |_, _| ())
}

fn images(count: u64) -> Vec<Request<Class>> {
    (0..count).map(|index| request(index, Some(index as usize % 2), &[])).collect()
}

#[test]
fn an_image_depends_on_the_seed_and_its_number_only() {
    let config = SamplingConfig::default();
    let many = sample(&images(40), &config, 1).unwrap();
    assert_eq!(sample(&images(3), &config, 1).unwrap(), many[..3]);
    assert_ne!(sample(&images(40), &config, 2).unwrap(), many);
    for lanes in [1, 3, 64] {
        let config = SamplingConfig { lanes, ..config.clone() };
        assert_eq!(sample(&images(40), &config, 1).unwrap(), many);
    }
}

#[test]
fn every_pass_has_the_same_rows_whatever_is_asked_for() {
    for (guidance, rows) in [(1.0, 16), (3.0, 32)] {
        let config = SamplingConfig { guidance, ..SamplingConfig::default() };
        let mut model = Table::new();
        generate(&mut model, &images(17), &config, 0, &mut |_, _| ()).unwrap();
        assert_eq!(model.calls, [rows; 8]);
    }
}

#[test]
fn temperature_zero_takes_the_most_probable_code() {
    let config = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
    // Logits of code c: (7·first + 3·last + c) mod 5, highest where that is 4. Class 0 is token 5:
    // c = 4 - 50 mod 5 = 4; then 4 - (35 + 12) mod 5 = 2; 4 - (35 + 6) mod 5 = 3; 4 - (35 + 9) mod 5 = 0.
    assert_eq!(sample(&[request(0, Some(0), &[])], &config, 9).unwrap(), [[4, 2, 3, 0]]);
}

#[test]
fn guidance_of_1_is_the_class_alone_and_of_0_none() {
    let at = |guidance: f64, class| {
        let config = SamplingConfig { guidance, ..SamplingConfig::default() };
        let requests: Vec<_> = (0..20).map(|index| request(index, class, &[])).collect();
        sample(&requests, &config, 4)
    };
    // Just off 1 the doubled batch runs; its codes equal those of the single one.
    assert_eq!(at(1.0 + 1e-9, Some(1)).unwrap(), at(1.0, Some(1)).unwrap());
    assert_eq!(at(0.0, Some(1)).unwrap(), at(1.0, None).unwrap());
    assert_ne!(at(1.0, Some(1)).unwrap(), at(1.0, None).unwrap());
}

#[test]
fn guidance_moves_logits_away_from_the_unconditional_ones() {
    let config = SamplingConfig { guidance: 3.0, ..SamplingConfig::default() };
    let logits = Tensor::from_floats([[1.0, 2.0], [0.5, 3.0]], &Device::flex());
    let expected = TensorData::from([[2.0f32, 0.0]]);
    device::guide(logits, config.guidance).into_data().assert_eq(&expected, true);
    let mut logits = vec![1.0, 2.0, 0.5, 3.0];
    host::guide(&mut logits, 3.0);
    assert_eq!(logits, [2.0, 0.0]);
}

#[test]
fn given_codes_are_kept_and_their_random_numbers_with_them() {
    let config = SamplingConfig::default();
    let whole = sample(&images(6), &config, 3).unwrap();
    let mut requests = images(6);
    for (request, codes) in requests.iter_mut().zip(&whole) {
        request.given = codes[..2].iter().copied().map(Some).collect();
    }
    assert_eq!(sample(&requests, &config, 3).unwrap(), whole);
    let full = [request(0, None, &[1, 2, 3, 4])];
    assert_eq!(sample(&full, &config, 3).unwrap(), [[1, 2, 3, 4]]);
}

#[test]
fn choosing_on_the_device_gives_the_codes_of_the_host() {
    for guidance in [1.0, 2.0] {
        let config = SamplingConfig { top_k: Some(3), guidance, ..SamplingConfig::default() };
        let run = |on_device| {
            let mut model = Table { on_device, ..Table::new() };
            generate(&mut model, &images(16), &config, 1, &mut |_, _| ()).unwrap()
        };
        assert_eq!(run(true), run(false));
    }
}

#[test]
fn progress_ends_at_the_number_of_codes_wanted() {
    let mut told = Vec::new();
    let config = SamplingConfig { lanes: 2, ..SamplingConfig::default() };
    let requests: Vec<_> = (0..3).map(|index| request(index, None, &[1, 1])).collect();
    generate(&mut Table::new(), &requests, &config, 0, &mut |done, total| told.push((done, total)))
        .unwrap();
    assert_eq!(told, [(2, 6), (4, 6), (5, 6), (6, 6)]);
}

#[test]
fn requests_that_do_not_fit_the_model_are_refused() {
    let plain = SamplingConfig::default();
    let guided = SamplingConfig { guidance: 2.0, ..SamplingConfig::default() };
    let cases = [
        (vec![request(0, Some(2), &[])], &plain, "there is no class 2"),
        (vec![request(4, None, &[5])], &plain, "cannot complete image 4: code 5 is given"),
        (vec![request(1, None, &[0; 5])], &plain, "cannot complete image 1: 5 codes are given"),
        (
            vec![request(0, None, &[0]), request(1, None, &[])],
            &plain,
            "cannot complete image 1: 0 codes are given, allowed are as many as for the first image (1)",
        ),
        (vec![request(0, None, &[])], &guided, "guidance is 2 but no class is given"),
    ];
    for (requests, config, expected) in cases {
        let message = sample(&requests, config, 0).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(sample(&[], &plain, 0).unwrap(), Vec::<Vec<u16>>::new());
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    let mut model = Table { broken: true, ..Table::new() };
    let error = generate(&mut model, &images(1), &SamplingConfig::default(), 0, &mut |_, _| ());
    assert!(error.unwrap_err().to_string().contains("logits are not finite"));
}
