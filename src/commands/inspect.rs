//! `vqgen inspect`: what a file of vqgen says of itself, as JSON: what made a picture; configuration, origin and tensors of a
//! model, of codes or of a checkpoint; the course of a training.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};

use super::Session;
use super::sample::text_of_picture;
use crate::checkpoint::{Contents, MetricsLog};

/// A list in the metadata is shown up to this length; a vocabulary has thousands of entries.
const LONGEST_LIST: usize = 32;

/// The flags of `inspect`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// A picture that vqgen sampled, or a file of a run: a model, codes, a checkpoint, the metrics
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Prints what the file says.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<()> {
    let path = &args.file;
    let shown = if is_tensor_file(path) {
        serde_json::to_string_pretty(&of_tensor_file(Contents::of(path)?))?
    } else if path.extension().is_some_and(|extension| extension == "jsonl") {
        serde_json::to_string_pretty(&of_metrics(path)?)?
    } else {
        let text = text_of_picture(path)?;
        // Pretty, where it is JSON at all.
        serde_json::from_str::<Value>(&text)
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or(text)
    };
    session.result(shown)
}

/// Whether the file at `path` begins as safetensors do: the length of a header, then the header, a JSON object.
fn is_tensor_file(path: &Path) -> bool {
    // The path's metadata first: opening a pipe would block until there is a writer.
    let is_regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut start = Vec::new();
    let file = is_regular.then(|| File::open(path).ok()).flatten();
    file.is_some_and(|file| file.take(9).read_to_end(&mut start).is_ok())
        && start.get(8) == Some(&b'{')
}

fn of_tensor_file(contents: Contents) -> Value {
    let mut shown = Map::new();
    for (key, text) in contents.metadata {
        // Numbers, lists and objects are JSON; names and fingerprints, some of them all digits, are text.
        let parsed = serde_json::from_str(&text).ok().filter(|_| text.starts_with(['{', '[']));
        shown.insert(key, shortened(parsed.unwrap_or(Value::String(text))));
    }
    let values: usize =
        contents.tensors.iter().map(|(_, _, shape)| shape.iter().product::<usize>()).sum();
    let tensors: Map<String, Value> = (contents.tensors.into_iter())
        .map(|(name, kind, shape)| (name, json!(format!("{kind} {shape:?}"))))
        .collect();
    shown.insert("values".to_owned(), values.into());
    shown.insert("tensors".to_owned(), tensors.into());
    shown.into()
}

fn shortened(value: Value) -> Value {
    match value {
        Value::Array(list) if list.len() > LONGEST_LIST => {
            Value::String(format!("{} entries", list.len()))
        }
        other => other,
    }
}

/// Of each stage and split, how many lines there are, the last one, and the lowest value of each metric.
fn of_metrics(path: &Path) -> anyhow::Result<Value> {
    anyhow::ensure!(path.is_file(), "cannot read {}: it is not there", path.display());
    let mut stages: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for line in MetricsLog::read(path)? {
        let stage = stages.entry(line.stage).or_default();
        let split = stage.entry(line.split).or_insert_with(|| json!({"lines": 0, "lowest": {}}));
        split["lines"] = json!(split["lines"].as_u64().unwrap_or_default() + 1);
        for (name, value) in &line.values {
            let lowest = split["lowest"][name].as_f64();
            if let Some(value) = value.filter(|value| lowest.is_none_or(|lowest| *value < lowest)) {
                split["lowest"][name] = json!(value);
            }
        }
        split["last"] = json!({"step": line.step, "values": line.values});
    }
    Ok(json!(stages))
}
