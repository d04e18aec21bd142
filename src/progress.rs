//! Display of long work: a bar with ETA and the latest metrics on a terminal, otherwise one plain line per log
//! interval, and only warnings when quiet. All of it goes to stderr; results are the commands' business.

mod reading;

mod text;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use reading::Reading;
pub(crate) use text::printable;
use text::{duration, number};

use crate::training::event::{Event, Preflight};

/// Redraws per second: responsive, but negligible even over a slow connection.
const REDRAWS_A_SECOND: u8 = 10;

/// Draws [`Event`]s.
pub struct Progress {
    view: View,
    stage: &'static str,
    steps: usize,
    /// Time and step at which the work began, for the ETA of plain lines.
    begun: (Instant, usize),
}

enum View {
    /// A terminal. No bar before the work begins.
    Bar(Option<ProgressBar>),
    /// A file or a pipe.
    Lines(Box<dyn Write + Send>),
    /// Warnings only.
    Quiet(Box<dyn Write + Send>),
}

impl Progress {
    /// Draws on stderr, as a bar or as lines.
    pub fn stderr(quiet: bool) -> Self {
        if quiet {
            Self::with_view(View::Quiet(Box::new(io::stderr())))
        } else if io::stderr().is_terminal() {
            Self::with_view(View::Bar(None))
        } else {
            Self::with_view(View::Lines(Box::new(io::stderr())))
        }
    }

    /// Writes plain lines, or only warnings when `quiet`, to `out`.
    pub fn lines(out: impl Write + Send + 'static, quiet: bool) -> Self {
        let out = Box::new(out);
        Self::with_view(if quiet { View::Quiet(out) } else { View::Lines(out) })
    }

    fn with_view(view: View) -> Self {
        Self { view, stage: "", steps: 0, begun: (Instant::now(), 0) }
    }

    /// Draws one event.
    pub fn handle(&mut self, event: &Event) {
        match event {
            Event::Started { stage, name, step, steps, training } => {
                self.start(stage, name, *step, *steps, training.as_ref());
            }
            Event::Paced { seconds } => {
                self.tell(&format!("about {} to go", duration(*seconds)));
            }
            Event::Stepped { step } => {
                if let View::Bar(Some(bar)) = &self.view {
                    bar.set_position(*step as u64);
                }
            }
            Event::Logged { step, steps, values } => self.log(*step, *steps, values),
            Event::Validated { step, values, best } => {
                let mark = if *best { "  best so far" } else { "" };
                let line = format!("validation at step {step}{}{mark}", listed(values));
                self.tell(&line);
            }
            // Pictures go to files, which the command writes.
            Event::Preview { .. } => {}
            Event::Note(message) => self.tell(message),
            Event::Warning(message) => self.warn(message),
            Event::Saved { path, step } => self.saved(path, *step),
            Event::Finished { step, seconds } => {
                if let View::Bar(bar) = &mut self.view
                    && let Some(bar) = bar.take()
                {
                    bar.finish_and_clear();
                }
                self.tell(&format!("finished at step {step} in {}", duration(*seconds)));
            }
        }
    }

    fn start(
        &mut self,
        stage: &'static str,
        name: &str,
        step: usize,
        steps: usize,
        training: Option<&Preflight>,
    ) {
        self.stage = stage;
        self.steps = steps;
        self.begun = (Instant::now(), step);
        let mut line = name.to_owned();
        if let Some(Preflight { parameters, memory, .. }) = training {
            let (parameters, memory) = (HumanCount(*parameters as u64), DecimalBytes(*memory));
            let _ = write!(line, ": {parameters} weights, about {memory} of memory");
        }
        if step > 0 {
            let _ = write!(line, ", resuming after step {step} of {steps}");
        } else {
            let _ = write!(line, ", {steps} steps");
        }
        if let Some(Preflight { steps_per_epoch, .. }) = training {
            let _ = write!(line, ", {} an epoch", number(steps_per_epoch.ceil()));
        }
        self.tell(&line);
        if let View::Bar(bar) = &mut self.view {
            *bar = Some(new_bar(stage, step, steps));
        }
    }

    fn log(&mut self, step: usize, steps: usize, values: &[(&'static str, f64)]) {
        self.steps = steps;
        let eta = self.eta(step);
        if let View::Bar(Some(bar)) = &self.view {
            bar.set_position(step as u64);
            // The bar has one line, which is truncated: the loss and the speed come first.
            let (speed, rest): (Vec<_>, Vec<_>) =
                values.iter().partition(|(name, _)| name.contains("_per_s"));
            let split = rest.len().min(1);
            let ordered = [&rest[..split], &speed, &rest[split..]].concat();
            bar.set_message(listed(&ordered));
            return;
        }
        let line = format!("step {step}/{steps}{}{eta}", listed(values));
        self.tell(&line);
    }

    fn saved(&mut self, path: &Path, step: usize) {
        // On a terminal the bar shows the progress; a line for every checkpoint would scroll the metrics away.
        if !matches!(self.view, View::Bar(Some(_))) {
            self.tell(&format!("saved {} (step {step})", path.display()));
        }
    }

    /// A line of news, prefixed with the stage; nothing when quiet.
    fn tell(&mut self, line: &str) {
        let line = if self.stage.is_empty() {
            line.to_owned()
        } else {
            format!("{:<6} {line}", self.stage)
        };
        match &mut self.view {
            View::Quiet(_) => {}
            view => view.print(&line),
        }
    }

    /// A warning, shown in every view.
    pub fn warn(&mut self, message: &str) {
        self.view.print(&format!("warning: {message}"));
    }

    fn eta(&self, step: usize) -> String {
        let (began, first) = self.begun;
        let done = step.saturating_sub(first);
        let left = self.steps.saturating_sub(step);
        if done == 0 || left == 0 {
            return String::new();
        }
        let seconds = began.elapsed().as_secs_f64() / done as f64 * left as f64;
        format!("  eta {}", duration(seconds))
    }
}

impl Drop for Progress {
    /// Failed work removes its bar, so that the error starts on its own line.
    fn drop(&mut self) {
        if let View::Bar(Some(bar)) = &self.view {
            bar.finish_and_clear();
        }
    }
}

impl View {
    fn print(&mut self, line: &str) {
        let line = printable(line);
        match self {
            // `suspend` removes the bar while the line is written; `println` drops lines off a terminal.
            Self::Bar(Some(bar)) => bar.suspend(|| {
                let _ = writeln!(io::stderr(), "{line}");
            }),
            Self::Bar(None) => {
                let _ = writeln!(io::stderr(), "{line}");
            }
            // A closed stderr must not stop training that runs for hours.
            Self::Lines(out) | Self::Quiet(out) => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

fn new_bar(stage: &'static str, step: usize, steps: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND);
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    let template = "{prefix:<6} {bar:24} {pos}/{len}  eta {eta}{wide_msg}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_prefix(stage);
    bar.set_position(step as u64);
    // Steps before a resume say nothing about the current speed.
    bar.reset_eta();
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// `  loss 0.08123  images/s 740`.
fn listed(values: &[(&'static str, f64)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        let name = name.replace("_per_second", "/s").replace("_per_s", "/s").replace('_', " ");
        let _ = write!(text, "  {name} {}", number(*value));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(quiet: bool, events: &[Event]) -> String {
        let written = Written::default();
        let mut progress = Progress::lines(written.clone(), quiet);
        for event in events {
            progress.handle(event);
        }
        written.text()
    }

    fn training() -> Vec<Event> {
        vec![
            Event::Started {
                stage: "vqvae",
                name: "quickstart".to_owned(),
                step: 0,
                steps: 100,
                training: Some(Preflight {
                    parameters: 1_234_567,
                    memory: 3_456_000_000,
                    steps_per_epoch: 53.2,
                }),
            },
            Event::Stepped { step: 1 },
            Event::Paced { seconds: 95.0 },
            Event::Logged {
                step: 50,
                steps: 100,
                values: vec![("loss", 0.081234), ("images_per_s", 740.4)],
            },
            Event::Validated { step: 100, values: vec![("mse", 0.5)], best: true },
            Event::Warning("the codebook collapses".to_owned()),
            Event::Saved { path: "run/vqvae.safetensors".into(), step: 100 },
            Event::Finished { step: 100, seconds: 190.0 },
        ]
    }

    #[test]
    fn a_pipe_gets_one_line_an_event_and_none_a_step() {
        let text = drawn(false, &training());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "vqvae  quickstart: 1,234,567 weights, about 3.46 GB of memory, 100 steps, 54 an epoch"
        );
        assert_eq!(lines[1], "vqvae  about 2 minutes to go");
        let lines = &lines[1..];
        assert!(lines[1].starts_with("vqvae  step 50/100  loss 0.08123  images/s 740.4  eta "));
        assert_eq!(lines[2], "vqvae  validation at step 100  mse 0.5000  best so far");
        assert_eq!(lines[3], "warning: the codebook collapses");
        assert_eq!(lines[4], "vqvae  saved run/vqvae.safetensors (step 100)");
        assert_eq!(lines[5], "vqvae  finished at step 100 in 3 minutes");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn quiet_leaves_the_warnings() {
        assert_eq!(drawn(true, &training()), "warning: the codebook collapses\n");
    }
}
