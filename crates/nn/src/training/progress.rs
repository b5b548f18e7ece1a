//! One line an epoch, alive on a terminal.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::history::EpochRecord;
use crate::model::Scores;

/// How training shows its progress on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// A bar that moves, if standard output is a terminal, else one line an epoch.
    #[default]
    Auto,
    /// Nothing.
    Silent,
    /// One line when an epoch ends.
    Lines,
}

/// The display of one epoch.
pub(super) struct Progress {
    prefix: String,
    batches: usize,
    samples: usize,
    unit: &'static str,
    start: Instant,
    display: Display,
}

enum Display {
    Silent,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// `epoch` counts from 0; `unit` is what a sample is called.
    pub(super) fn new(
        verbosity: Verbosity,
        epoch: usize,
        epochs: usize,
        batches: usize,
        samples: usize,
        unit: &'static str,
    ) -> Self {
        let prefix = format!("Epoch {}/{epochs}", epoch + 1);
        let display = match verbosity {
            Verbosity::Silent => Display::Silent,
            Verbosity::Auto if std::io::stdout().is_terminal() => Display::Bar(bar(batches)),
            Verbosity::Auto | Verbosity::Lines => Display::Lines,
        };
        if let Display::Bar(bar) = &display {
            bar.set_prefix(prefix.clone());
        }
        Progress {
            prefix,
            batches,
            samples,
            unit,
            start: Instant::now(),
            display,
        }
    }

    /// `done` batches of `samples` samples in all are through; `scores` are those so far.
    pub(super) fn advance(&self, done: usize, samples: usize, scores: impl Fn() -> Scores) {
        let Display::Bar(bar) = &self.display else {
            return;
        };
        let seconds = self.start.elapsed().as_secs_f64();
        let left = (self.batches - done) as f64 * seconds / done as f64;
        bar.set_position(done as u64);
        bar.set_message(format!(
            "{}  {}  ETA {}",
            scores(),
            rate(samples, self.unit, seconds),
            clock(left)
        ));
    }

    /// The epoch is through, with this record.
    pub(super) fn finish(&self, record: &EpochRecord, training_seconds: f64) {
        let values = record.values.iter();
        let values: String = values
            .map(|(name, value)| format!("  {name} {value:.4}"))
            .collect();
        let line = format!(
            "{}  {}/{}{values}  {}  {}",
            self.prefix,
            self.batches,
            self.batches,
            rate(self.samples, self.unit, training_seconds),
            clock(record.duration.as_secs_f64())
        );
        match &self.display {
            Display::Silent => {}
            Display::Lines => println!("{line}"),
            Display::Bar(bar) => {
                bar.finish_and_clear();
                println!("{line}");
            }
        }
    }
}

fn bar(batches: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(batches as u64), ProgressDrawTarget::stdout());
    // A template that does not parse leaves indicatif's own style, which shows the same progress.
    if let Ok(style) = ProgressStyle::with_template("{prefix}  {bar:20}  {pos}/{len}  {msg}") {
        bar.set_style(style.progress_chars("██░"));
    }
    bar
}

/// `3.1 k images/s`.
fn rate(samples: usize, unit: &str, seconds: f64) -> String {
    let rate = samples as f64 / seconds.max(1e-9);
    if rate >= 1e6 {
        format!("{:.1} M {unit}/s", rate / 1e6)
    } else if rate >= 1e3 {
        format!("{:.1} k {unit}/s", rate / 1e3)
    } else {
        format!("{rate:.0} {unit}/s")
    }
}

/// `1:02:03`, or `2:03`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_short() {
        assert_eq!(rate(5, "samples", 1.0), "5 samples/s");
        assert_eq!(rate(31_000, "images", 10.0), "3.1 k images/s");
        assert_eq!(rate(31_000_000, "images", 10.0), "3.1 M images/s");
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(83.0), "1:23");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
