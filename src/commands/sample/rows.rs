//! What the rows of a grid of samples show: classes, captions, or captions of classes.

use std::path::Path;

use super::super::classes::chosen_classes;
use super::super::stages::LoadedPrior;
use super::Args;
use super::note::NoteRow;
use crate::data::{cleaned_caption, read_captions};
use crate::prior::Condition;

/// What one row shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) condition: Condition,
    /// What was asked for, in words.
    pub(super) prompt: Option<String>,
}

/// The rows of a grid, which repeat when they run out.
#[derive(Debug)]
pub(super) struct Rows {
    /// At least one.
    rows: Vec<Row>,
    columns: usize,
    /// Prompts of which not all tokens count.
    pub(super) cut: Vec<String>,
}

impl Rows {
    /// The classes and prompts that were asked for: without any, every class in turn; with both, each prompt of each
    /// class.
    ///
    /// # Errors
    /// A class or a prompt that `prior` does not know, or a file without prompts.
    pub(super) fn new(args: &Args, prior: &LoadedPrior, columns: usize) -> anyhow::Result<Self> {
        let prompts = prompts(args)?;
        if let Some(note) = &args.repeated
            && args.class.is_empty()
            && prompts.is_empty()
        {
            return Self::of_note(&note.rows, prior, columns);
        }
        if prompts.is_empty() {
            let classes = chosen_classes(&args.class, &prior.classes)?;
            let rows = classes.into_iter().map(|class| Row::of_class(Some(class))).collect();
            return Ok(Self::of_rows(rows, columns));
        }
        let classes: Vec<Option<usize>> = match args.class.is_empty() {
            true => vec![None],
            false => chosen_classes(&args.class, &prior.classes)?.into_iter().map(Some).collect(),
        };
        let mut rows = Vec::new();
        for prompt in &prompts {
            for &class in &classes {
                rows.push(Row::new(class, Some(prompt), prior)?);
            }
        }
        let length = prior.model.config().caption_length;
        let is_cut = |row: &&Row| row.condition.caption.len() > length;
        let mut cut: Vec<String> =
            rows.iter().filter(is_cut).filter_map(|row| row.prompt.clone()).collect();
        cut.dedup();
        Ok(Self { cut, ..Self::of_rows(rows, columns) })
    }

    /// Those of a picture.
    fn of_note(rows: &[NoteRow], prior: &LoadedPrior, columns: usize) -> anyhow::Result<Self> {
        let row = |NoteRow { class, prompt }: &NoteRow| {
            let class = match class {
                None => None,
                Some(class) => {
                    chosen_classes(std::slice::from_ref(class), &prior.classes)?.first().copied()
                }
            };
            Row::new(class, prompt.as_deref(), prior)
        };
        Ok(Self::of_rows(rows.iter().map(row).collect::<anyhow::Result<_>>()?, columns))
    }

    /// For the description of the picture.
    pub(super) fn note(&self, classes: &[String]) -> Vec<NoteRow> {
        let row = |Row { condition, prompt }: &Row| NoteRow {
            class: condition.class.map(|class| classes[class].clone()),
            prompt: prompt.clone(),
        };
        self.rows.iter().map(row).collect()
    }

    fn of_rows(mut rows: Vec<Row>, columns: usize) -> Self {
        if rows.is_empty() {
            rows.push(Row::of_class(None));
        }
        Self { rows, columns, cut: Vec::new() }
    }

    /// Images that fill each row once.
    pub(super) fn images(&self) -> usize {
        self.rows.len() * self.columns
    }

    /// What image `index` shows. It depends only on the index and the columns.
    pub(super) fn of_image(&self, index: usize) -> &Row {
        &self.rows[index / self.columns % self.rows.len()]
    }

    /// Whether any row shows a prompt.
    pub(super) fn has_prompts(&self) -> bool {
        self.rows.iter().any(|row| row.prompt.is_some())
    }

    /// The prompts, each once, in order.
    pub(super) fn prompts(&self) -> Vec<&str> {
        let mut prompts: Vec<&str> =
            self.rows.iter().filter_map(|row| row.prompt.as_deref()).collect();
        prompts.dedup();
        prompts
    }
}

impl Row {
    fn new(
        class: Option<usize>,
        prompt: Option<&str>,
        prior: &LoadedPrior,
    ) -> anyhow::Result<Self> {
        let Some(prompt) = prompt else { return Ok(Self::of_class(class)) };
        let Some(vocabulary) = &prior.vocabulary else {
            anyhow::bail!(
                "cannot sample a prompt: this prior was trained without captions (train it on images with captions, \
                 see data.captions; --class samples a class)"
            );
        };
        let condition = Condition { class, caption: vocabulary.tokens(prompt)? };
        Ok(Self { condition, prompt: Some(prompt.to_owned()) })
    }

    fn of_class(class: Option<usize>) -> Self {
        Self { condition: Condition::of_class(class), prompt: None }
    }
}

/// The prompts of the flags and then of the file.
fn prompts(args: &Args) -> anyhow::Result<Vec<String>> {
    let mut prompts = Vec::new();
    for prompt in &args.prompt {
        let Some(cleaned) = cleaned_caption(prompt) else {
            anyhow::bail!("--prompt is empty (say what to draw, or leave it out)");
        };
        prompts.push(cleaned);
    }
    if let Some(path) = &args.prompt_file {
        prompts.extend(of_file(path)?);
    }
    Ok(prompts)
}

fn of_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let prompts = read_captions(path)?;
    anyhow::ensure!(!prompts.is_empty(), "{} holds no prompt (write one a line)", path.display());
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_an_image_does_not_depend_on_how_many_there_are() {
        let rows = (0..3).map(|class| Row::of_class(Some(class))).collect();
        let rows = Rows::of_rows(rows, 2);
        let shown: Vec<_> = (0..8).map(|index| rows.of_image(index).condition.class).collect();
        assert_eq!(shown, [0, 0, 1, 1, 2, 2, 0, 0].map(Some));
        let none = Rows::of_rows(Vec::new(), 2);
        assert_eq!(none.of_image(5), &Row::of_class(None));
    }
}
