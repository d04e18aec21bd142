//! `vqgen data`: what is in a folder of images before one trains on it, and the recipe that it would get.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};

use super::output::Output;
use super::{Context, GlobalArgs, Session};
use crate::data::{Copies, Dataset, Layout, Split, Survey, Tiles, View, grid};
use crate::recipe::Override;

/// Images of a contact sheet, and how many of them are in a row.
const SHOWN: usize = 64;
const COLUMNS: usize = 8;
/// Classes and copies that the table lists.
const MOST_LISTED: usize = 12;

/// The flags of `data`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// The images, as for --data [default: the embedded ones]
    #[arg(value_name = "PATH")]
    pub path: Option<String>,

    /// Also write a contact sheet: 64 images, spread over the classes, as a model would see them
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// One JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Reads the data set and says what is in it.
pub fn run(args: &Args, global: &GlobalArgs, session: Session) -> anyhow::Result<()> {
    let path = args.path.iter().map(|path| Override::of_flag("the path", "data.path", path));
    anyhow::ensure!(global.run.is_none(), "--run is not for `data`, which reads images and no run");
    let (context, recipe) = Context::for_new_run(global, &path.collect::<Vec<_>>(), session)?;
    let output = args.output.as_ref();
    let inputs = [PathBuf::from(&context.recipe.data.path)];
    let output = output.map(|path| Output::prepare(path, "data.png", &inputs)).transpose()?;
    let dataset = context.open_dataset()?;
    let mut line = summary(&dataset, &dataset.copies()?, &context);
    line.insert("recipe".to_owned(), recipe.into());
    if args.json {
        context.session.result(Value::from(line))?;
    } else {
        for (name, value) in &line {
            context.session.result(format_args!("{name:12} {}", in_words(value)))?;
        }
    }
    if let Some(output) = output {
        output.write(&sheet(&dataset)?, None)?;
        if let Some(path) = output.shown() {
            context.session.note(format_args!("wrote {path}"));
        }
    }
    Ok(())
}

/// What is there, by name.
fn summary(dataset: &Dataset, copies: &Copies, context: &Context) -> Map<String, Value> {
    let report = dataset.report();
    let splits = Split::ALL.map(|split| (split.name().to_owned(), Value::from(dataset.len(split))));
    let captions = |split: Split| {
        (0..dataset.len(split)).map(move |index| dataset.captions(split, index).len())
    };
    let all: Vec<usize> = Split::ALL.into_iter().flat_map(captions).collect();
    let skipped: Vec<Value> = report
        .skipped
        .iter()
        .map(|skip| json!({"path": skip.path, "reason": skip.reason}))
        .collect();
    let unread: Map<String, Value> = report
        .unread
        .counts()
        .into_iter()
        .map(|(extension, n)| (extension.to_owned(), n.into()))
        .collect();
    let data = &context.recipe.data;
    let side = Survey::of(data).map(|survey| survey.side);
    let mut line = Map::new();
    let mut set = |name: &str, value: Value| line.insert(name.to_owned(), value);
    set("path", data.path.clone().into());
    set("kind", report.source.into());
    set("images", report.read.into());
    set("splits", Value::Object(splits.into_iter().collect()));
    set("classes", Value::Object(class_counts(dataset)));
    set("side", side.into());
    set("captioned", all.iter().filter(|n| **n > 0).count().into());
    set("captions", all.iter().sum::<usize>().into());
    set("copies", pairs(&copies.same));
    set("alike", pairs(&copies.alike));
    set("skipped", skipped.into());
    set("unread", Value::Object(unread));
    set("image_size", data.image_size.into());
    set("channels", data.channels.into());
    line
}

fn class_counts(dataset: &Dataset) -> Map<String, Value> {
    let mut counts = vec![0usize; dataset.classes().len()];
    for split in Split::ALL {
        for index in 0..dataset.len(split) {
            if let Some(count) = counts.get_mut(usize::from(dataset.label(split, index))) {
                *count += 1;
            }
        }
    }
    dataset.classes().iter().cloned().zip(counts.into_iter().map(Value::from)).collect()
}

fn pairs(pairs: &[[String; 2]]) -> Value {
    pairs.iter().map(|pair| json!(pair)).collect::<Vec<_>>().into()
}

/// A value for the table: the first entries of a list, and how many there are.
fn in_words(value: &Value) -> String {
    let listed = |entries: Vec<String>| {
        let n = entries.len();
        let first: Vec<String> = entries.into_iter().take(MOST_LISTED).collect();
        match n {
            0 => "none".to_owned(),
            n if n > MOST_LISTED => format!("{n}: {}, …", first.join(", ")),
            n => format!("{n}: {}", first.join(", ")),
        }
    };
    match value {
        Value::Object(map) => {
            listed(map.iter().map(|(name, value)| format!("{name} {}", in_words(value))).collect())
        }
        Value::Array(values) => listed(values.iter().map(one_of_list).collect()),
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

/// A pair of copies, or a skipped file.
fn one_of_list(value: &Value) -> String {
    match value {
        Value::Array(pair) => pair.iter().map(in_words).collect::<Vec<_>>().join(" = "),
        Value::Object(skip) => skip.values().map(in_words).collect::<Vec<_>>().join(" "),
        other => in_words(other),
    }
}

/// Images spread over the training split.
fn sheet(dataset: &Dataset) -> anyhow::Result<crate::data::Picture> {
    let (n, size) = (dataset.len(Split::Train).min(SHOWN), dataset.image_size());
    let pixels = dataset.pixels(Split::Train, &dataset.spread(Split::Train, n), View::AS_IS)?;
    let tiles = Tiles { pixels: &pixels, height: size, width: size, channels: dataset.channels() };
    Ok(grid(&tiles, &Layout { columns: COLUMNS.min(n.max(1)), scale: 1, ..Layout::default() })?)
}
