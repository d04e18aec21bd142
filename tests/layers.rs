//! Enforces the table of layers: which module of the crate may use which, and which crate is named where. It reads
//! every file under `src` and `kernels/src` as tokens, so that comments and strings do not count and macros do. Test
//! modules may use what they like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "layers/paths.rs"]
mod paths;

use std::path::Path;

use paths::{Found, collect, is_inside, names};
use proc_macro2::TokenStream;

/// The architectures of models, which the recipe may build, and choices of their training.
const CONFIGS: [&str; 13] = [
    "tokenizer::GradientEstimator",
    "tokenizer::QuantizerKind",
    "tokenizer::TokenizerConfig",
    "tokenizer::TokenizerPreset",
    "prior::LONGEST_CAPTION",
    "prior::PriorActivation",
    "prior::PriorConfig",
    "prior::PriorKind",
    "prior::PriorNorm",
    "prior::Positions",
    "sampling::GuidanceSchedule",
    "discriminator::AdversarialLoss",
    "features::Lpips",
];

const LAYER_0: [&str; 6] = ["ops", "tokenizer", "features", "discriminator", "prior", "sampling"];
const LAYER_1: [&str; 5] = ["keys", "data", "vocabulary", "device", "recipe"];
/// In order: each may use those before it.
const LAYER_2: [&str; 8] = [
    "codec",
    "generation",
    "checkpoint",
    "import",
    "perceptual",
    "evaluation",
    "training",
    "bench",
];
const LAYER_3: [&str; 2] = ["commands", "progress"];
/// Any module may use these.
const EVERYWHERE: [&str; 2] = ["error", "rng"];

/// What `module` may use besides itself and [`EVERYWHERE`]; `None` for a module missing from the table.
fn may_use(module: &str) -> Option<Vec<&'static str>> {
    Some(match module {
        "error" | "rng" | "ops" | "vocabulary" | "device" | "keys" => vec![],
        "tokenizer" | "features" | "discriminator" | "prior" | "sampling" => vec!["ops"],
        "data" => [&CONFIGS[..], &["keys"]].concat(),
        "recipe" => [&CONFIGS[..], &["keys", "data"]].concat(),
        "codec" => vec!["tokenizer", "data"],
        // The one place where a prior and the sampler meet.
        "generation" => vec!["prior", "sampling"],
        "checkpoint" | "import" | "perceptual" | "evaluation" | "training" | "bench" => {
            let before = LAYER_2.iter().take_while(|other| **other != module).copied();
            [&LAYER_0[..], &LAYER_1[..]].concat().into_iter().chain(before).collect()
        }
        "commands" | "progress" => {
            [&LAYER_0[..], &LAYER_1[..], &LAYER_2[..], &LAYER_3[..]].concat()
        }
        "cli" => vec!["commands"],
        "main" => vec!["cli", "commands"],
        _ => return None,
    })
}

/// The modules that compute on tensors.
const COMPUTES: &[&str] = &[
    "ops",
    "tokenizer",
    "features",
    "discriminator",
    "prior",
    "sampling",
    "device",
    "codec",
    "generation",
    "checkpoint",
    "import",
    "perceptual",
    "evaluation",
    "training",
    "bench",
];

/// Paths outside the crate and the only modules that may name them.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("clap", &["cli", "main", "commands"]),
    ("csv", &["data"]),
    ("indicatif", &["progress"]),
    ("tokenizers", &["vocabulary"]),
    // The bench creates the image files whose reading it measures.
    ("image", &["data", "bench::files"]),
    ("png", &["data"]),
    // What computes on tensors; `commands` and `data` only move values and bytes.
    ("burn", COMPUTES),
    ("vqgen_kernels", &["ops"]),
    ("burn::backend", &["device"]),
    ("burn_wgpu", &["device"]),
    ("burn::tensor::wgpu", &["device"]),
    ("cubecl_environment", &["device"]),
    ("std::fs", &["data", "recipe", "device", "checkpoint", "training", "evaluation", "commands"]),
];

/// Violations in a source file whose module is `module` (`["data", "pixels"]`).
fn violations(module: &[&str], text: &str) -> Vec<String> {
    let top = module[0];
    let Some(allowed) = may_use(top) else {
        return vec![format!("the module {top} is not in the table of tests/layers.rs")];
    };
    let tokens: TokenStream = text.parse().expect("source files are Rust");
    let mut found = Found::default();
    let module: Vec<String> = module.iter().map(ToString::to_string).collect();
    collect(tokens, &module, &mut found);

    let mut wrong = Vec::new();
    for path in &found.inside {
        let used = path[0].as_str();
        // Items of the crate root itself are modules only; anything else is a macro of the crate.
        let is_module = may_use(used).is_some();
        let is_allowed = allowed.iter().any(|allowed| is_inside(path, allowed));
        if is_module && used != top && !EVERYWHERE.contains(&used) && !is_allowed {
            wrong.push(format!("{top} uses crate::{}", path.join("::")));
        }
    }
    for path in &found.outside {
        let path = path.join("::");
        for (crate_path, only_in) in OUTSIDE {
            let named = path == *crate_path || path.starts_with(&format!("{crate_path}::"));
            let inside = |allowed: &&str| is_inside(&module, allowed);
            if named && !only_in.iter().any(inside) {
                wrong.push(format!("{top} names {path}, which is for {}", only_in.join(", ")));
            }
        }
    }
    if top != "device" {
        let chosen = found.device_calls.iter();
        wrong.extend(chosen.map(|call| format!("{top} chooses a backend: Device::{call}")));
    }
    if found.prints && !["commands", "progress", "cli", "main"].contains(&top) {
        wrong.push(format!("{top} writes to stdout or stderr"));
    }
    wrong
}

/// Violations in a source file of the kernels, which extend a backend and know only tensors.
fn violations_in_kernels(text: &str) -> Vec<String> {
    let tokens: TokenStream = text.parse().expect("source files are Rust");
    let mut wrong = Vec::new();
    if names(tokens.clone(), "vqgen") {
        wrong.push("the kernels name vqgen".to_owned());
    }
    let mut found = Found::default();
    collect(tokens, &[], &mut found);
    for path in &found.outside {
        let path = path.join("::");
        let named = |name: &str| path == name || path.starts_with(&format!("{name}::"));
        let theirs = |name: &str| ["burn", "burn::backend"].contains(&name);
        if OUTSIDE.iter().any(|(name, _)| !theirs(name) && named(name)) {
            wrong.push(format!("the kernels name {path}"));
        }
    }
    let chosen = found.device_calls.iter();
    wrong.extend(chosen.map(|call| format!("the kernels choose a backend: Device::{call}")));
    if found.prints {
        wrong.push("the kernels write to stdout or stderr".to_owned());
    }
    wrong
}

/// Every source file of a folder with its module, without `lib.rs`, which only declares modules, and without test
/// modules.
fn sources(folder: &str) -> Vec<(Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut sources = Vec::new();
    for entry in walkdir::WalkDir::new(&root) {
        let entry = entry.unwrap();
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let relative = path.strip_prefix(&root).unwrap().with_extension("");
        let module: Vec<String> =
            relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        // A test module in a file or folder of its own is test code like one between braces.
        if module != ["lib"] && module.iter().all(|part| part != "tests") {
            sources.push((module, std::fs::read_to_string(path).unwrap()));
        }
    }
    sources
}

#[test]
fn no_module_uses_what_the_table_of_layers_forbids() {
    let sources = sources("src");
    assert!(sources.len() > 10, "only {} source files were found", sources.len());
    let mut wrong = Vec::new();
    for (module, text) in &sources {
        let parts: Vec<&str> = module.iter().map(String::as_str).collect();
        let found = violations(&parts, text);
        wrong.extend(found.into_iter().map(|one| format!("src/{}.rs: {one}", module.join("/"))));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_kernels_know_nothing_of_the_rest() {
    let sources = sources("kernels/src");
    assert!(sources.len() > 10, "only {} source files were found", sources.len());
    let mut wrong = Vec::new();
    for (module, text) in &sources {
        let found = violations_in_kernels(text);
        let file = format!("kernels/src/{}.rs", module.join("/"));
        wrong.extend(found.into_iter().map(|one| format!("{file}: {one}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for text in [
        "use vqgen::error::Error;",
        "mod tests { use vqgen::rng::stream; }",
        "fn f() { std::fs::read(path); }",
        "fn f() { let d = Device::flex(); }",
        "fn f() { println!(); }",
    ] {
        assert_eq!(violations_in_kernels(text).len(), 1, "{text}");
    }
    for text in [
        "//! Of vqgen.\nuse burn::backend::flex::Flex; fn f() { Dispatch::vqgen_linear(x); }",
        "fn f(d: Device) -> bool { d == Device::flex() }",
        "mod tests { fn f() { Device::flex(); } }",
    ] {
        assert_eq!(violations_in_kernels(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_forbidden_use_is_found_in_every_form() {
    let cases: [(&[&str], &str); 20] = [
        (&["ops", "linear"], "use crate::tokenizer::Tokenizer;"),
        (&["ops"], "use crate::{error::Error, prior::Prior};"),
        (&["ops", "linear"], "use super::super::data::Dataset;"),
        (&["ops"], "fn f() { crate::recipe::Recipe::load(); }"),
        (&["ops"], "mod inner { use super::super::training::x; }"),
        (&["tokenizer"], "use crate::prior::PriorConfig;"),
        (&["data"], "use crate::tokenizer::Encoder;"),
        (&["data"], "use crate::recipe::Recipe;"),
        (&["recipe"], "use crate::prior::{PriorConfig, Prior};"),
        (&["training"], "fn f() { format!(\"{}\", crate::progress::line()); }"),
        (&["cli"], "use crate::recipe::Recipe;"),
        (&["training"], "#[derive(clap::Args)] struct S;"),
        (&["commands", "sample"], "use indicatif::ProgressBar;"),
        (&["training"], "fn f() { let d = Device::flex(); }"),
        (&["checkpoint"], "use burn::backend::flex::Flex;"),
        (&["ops", "linear"], "use burn::backend::flex::Flex;"),
        (&["tokenizer"], "use vqgen_kernels::max;"),
        (&["prior", "decoder"], "fn f() { vqgen_kernels::values(x); }"),
        (&["training"], "fn f() { let mut out = std::io::stderr(); }"),
        (&["brand_new"], "fn f() {}"),
    ];
    for (module, text) in cases {
        assert_eq!(violations(module, text).len(), 1, "{module:?}: {text}");
    }
}

#[test]
fn an_allowed_use_is_not_held_against_a_file() {
    let cases: [(&[&str], &str); 11] = [
        (&["ops"], "fn f(d: Device) -> bool { d == Device::flex() }"),
        (&["ops", "conv"], "use vqgen_kernels::{self as kernels, Window};"),
        (&["ops", "linear"], "use crate::error::{Error, Result}; use super::norm::layer_norm;"),
        (&["tokenizer", "encoder"], "use crate::ops::Conv2d; use super::config::TokenizerConfig;"),
        (&["recipe", "prior"], "use crate::prior::{Positions, PriorConfig};"),
        (&["ops"], "//! See [`crate::training`].\nconst X: &str = \"crate::training\";"),
        (&["ops"], "mod tests { use crate::device::open; fn f() { Device::flex(); } }"),
        (&["device", "gpu"], "fn f() { Device::wgpu_options(); burn::backend::x(); }"),
        (&["data", "decode"], "use image::ImageReader; fn f(image: Image) {}"),
        (&["commands", "run"], "use crate::training::x; use clap::Args; fn f() { io::stdout(); }"),
        (&["prior", "config"], "mod inner { use super::super::config; use self::x::y; }"),
    ];
    for (module, text) in cases {
        assert_eq!(violations(module, text), Vec::<String>::new(), "{module:?}: {text}");
    }
}
