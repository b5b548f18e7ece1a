//! Where the time of a training step goes, layer by layer.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use autograd::{Span, SpanKind, trace};
use serde_json::{Value, json};
use tensor::{Float, Machine, Tensor};

use super::{Model, Running};
use crate::error::Result;
use crate::files::write_atomically;
use crate::samples::{Inputs, TargetArrays, Targets};

/// Steps before those that are watched: buffers find their places.
const WARM_UP: usize = 2;

/// Sections of a step that are no layers.
const STAGES: [&str; 3] = ["loss", "metrics", "optimizer"];

/// What the operations of a training step cost; see [`Model::profile`]. Printing it gives a
/// table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// One row for each operation of each layer and pass, in the order in which they ran.
    pub rows: Vec<ProfileRow>,
    /// Milliseconds of the step: the median of those watched.
    pub step_milliseconds: f64,
    /// Samples in the step.
    pub samples: usize,
    /// The best that this machine can do.
    pub machine: Machine,
    spans: Vec<Span>,
}

/// One operation in a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfileRow {
    /// The layer, or `"loss"`, `"optimizer"`, `"metrics"`.
    pub layer: String,
    /// The operation.
    pub operation: String,
    /// Whether it ran for a derivative.
    pub backward: bool,
    /// Milliseconds, without those of operations inside it: the median of the steps watched.
    pub milliseconds: f64,
    /// Floating-point operations, by the direct method.
    pub flops: u64,
    /// Bytes of inputs and outputs.
    pub bytes: u64,
    /// How the operation was computed, if it has several ways; those of a convolution are named by
    /// [`ConvAlgorithm::name`](tensor::ConvAlgorithm::name).
    pub algorithm: Option<&'static str>,
}

impl ProfileRow {
    /// Billions of floating-point operations of the direct method a second. Fast algorithms do
    /// fewer, so this can be more than the machine's peak.
    pub fn gigaflops(&self) -> f64 {
        self.flops as f64 / self.milliseconds.max(1e-6) / 1e6
    }

    /// Billions of bytes of inputs and outputs a second.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.milliseconds.max(1e-6) / 1e6
    }
}

impl<T: Float> Model<T> {
    /// Watches `steps` training steps on the batch `x`, `y`, and measures the machine. Weights and
    /// the optimizer's memory are afterwards what they were before.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(&[3]));
    /// model.compile(MeanSquaredError::new(), Adam::default(), None::<Accuracy>)?;
    /// let x = Tensor::<f32>::ones([8, 3])?;
    /// let y = Tensor::<f32>::ones([8, 4])?;
    /// let profile = model.profile(&x, &y, 3)?;
    /// println!("{profile}");
    /// assert!(profile.rows.iter().any(|row| row.layer == "dense" && row.backward));
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Model::train_on_batch`].
    pub fn profile(
        &mut self,
        x: impl Into<Inputs>,
        y: impl Into<TargetArrays>,
        steps: usize,
    ) -> Result<Profile> {
        let (x, y) = (x.into(), y.into());
        self.require_compiled("profile")?;
        if !self.graph.knows_inputs() {
            self.build_for_inputs(&x.sample_shapes())?;
        }
        let targets = self.checked_targets("profile", &x.shapes(), &y)?;
        let fresh = self.fresh;
        let weights = self.weights();
        let state = self.compiled().map(|compiled| compiled.state().clone());
        let (samples, inputs) = (x.len(), x.to_tensors("profile")?);
        let traces = self.on_pool_mut(samples, |model| {
            model.watched_steps(&inputs, &targets, steps.max(1))
        });
        self.set_weights(weights)?;
        self.fresh = fresh;
        if let (Some(compiled), Some(state)) = (self.compiled_mut(), state) {
            compiled.set_state(state);
        }
        Ok(Profile::new(traces?, x.len()))
    }

    fn watched_steps(
        &mut self,
        x: &[Tensor<T>],
        targets: &[Targets<T>],
        steps: usize,
    ) -> Result<Vec<Vec<Span>>> {
        for _ in 0..WARM_UP {
            self.step(x, targets, &mut Running::default())?;
        }
        let mut traces = Vec::with_capacity(steps);
        for _ in 0..steps {
            let step = || self.step(x, targets, &mut Running::default());
            let (result, spans) = trace(step);
            result?;
            traces.push(spans);
        }
        Ok(traces)
    }
}

impl Profile {
    /// All `traces` are of the same operations in the same order.
    fn new(traces: Vec<Vec<Span>>, samples: usize) -> Self {
        let mut totals: Vec<f64> = traces.iter().map(|spans| whole(spans)).collect();
        let last = traces.last().cloned().unwrap_or_default();
        let mut rows: Vec<ProfileRow> = Vec::new();
        let mut times: Vec<Vec<f64>> = Vec::new();
        let mut within_backward = None;
        for (place, span) in last.iter().enumerate() {
            if within_backward.is_some_and(|depth| span.depth <= depth) {
                within_backward = None;
            }
            if span.kind == SpanKind::Backward && within_backward.is_none() {
                within_backward = Some(span.depth);
            }
            let backward = within_backward.is_some();
            let own = traces.iter().map(|spans| {
                let own = spans.get(place).map_or(Duration::ZERO, |span| span.own);
                own.as_secs_f64() * 1e3
            });
            // A layer's own section is what surrounds its operations.
            let is_layer = span.kind == SpanKind::Section && !STAGES.contains(&&*span.name);
            let operation = if is_layer { "(around)" } else { &span.name };
            let same = |row: &ProfileRow| {
                row.layer == span.scope && row.operation == operation && row.backward == backward
            };
            if let Some(row) = rows.iter().position(same) {
                let sums = times[row].iter_mut().zip(own);
                sums.for_each(|(sum, own)| *sum += own);
                rows[row].flops += span.flops;
                rows[row].bytes += span.bytes;
                continue;
            }
            times.push(own.collect());
            rows.push(ProfileRow {
                layer: span.scope.clone(),
                operation: operation.to_string(),
                backward,
                milliseconds: 0.0,
                flops: span.flops,
                bytes: span.bytes,
                algorithm: span.algorithm,
            });
        }
        for (row, times) in rows.iter_mut().zip(&mut times) {
            row.milliseconds = median(times);
        }
        Profile {
            rows,
            step_milliseconds: median(&mut totals),
            samples,
            machine: Machine::measure(),
            spans: last,
        }
    }

    /// Writes the last step that was watched in the
    /// [trace event format](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU),
    /// which `chrome://tracing` and <https://ui.perfetto.dev> open.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let events: Vec<Value> = self.spans.iter().map(event).collect();
        let text = json!({ "traceEvents": events, "displayTimeUnit": "ms" }).to_string();
        Ok(write_atomically(path, |file| {
            file.write_all(text.as_bytes())
        })?)
    }
}

fn event(span: &Span) -> Value {
    let microseconds = |duration: Duration| duration.as_secs_f64() * 1e6;
    let category = match span.kind {
        SpanKind::Backward => "backward",
        SpanKind::Section => "layer",
        _ => "operation",
    };
    json!({
        "name": span.name,
        "cat": category,
        "ph": "X",
        "ts": microseconds(span.start),
        "dur": microseconds(span.duration),
        "pid": 1,
        "tid": 1,
        "args": {
            "layer": span.scope,
            "flops": span.flops,
            "bytes": span.bytes,
            "algorithm": span.algorithm,
        },
    })
}

/// Milliseconds from the first beginning to the last end.
fn whole(spans: &[Span]) -> f64 {
    let end = spans.iter().map(|span| span.start + span.duration).max();
    end.unwrap_or_default().as_secs_f64() * 1e3
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
    }
}

/// Rows that take less of the step than this are not printed.
const SMALLEST_SHARE: f64 = 0.002;

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            threads,
            vectors,
            gigaflops,
            gigabytes_per_second,
            ..
        } = self.machine;
        writeln!(
            f,
            "A step of {} samples: {:.2} ms · {threads} threads · {vectors} · at best {gigaflops:.0} GFLOP/s and {gigabytes_per_second:.0} GB/s",
            self.samples, self.step_milliseconds
        )?;
        writeln!(
            f,
            "{:<16} {:<9} {:<27} {:>9} {:>6} {:>9} {:>8} {:>7}  Algorithm",
            "Layer", "Pass", "Operation", "ms", "share", "GFLOP/s", "of peak", "GB/s"
        )?;
        let mut rest = 0.0;
        for row in &self.rows {
            let share = row.milliseconds / self.step_milliseconds.max(1e-9);
            if share < SMALLEST_SHARE {
                rest += row.milliseconds;
                continue;
            }
            let line = format!(
                "{:<16} {:<9} {:<27} {:>9.3} {:>5.1}% {:>9.1} {:>7.0}% {:>7.1}  {}",
                row.layer,
                if row.backward { "backward" } else { "forward" },
                row.operation,
                row.milliseconds,
                share * 100.0,
                row.gigaflops(),
                row.gigaflops() / gigaflops * 100.0,
                row.gigabytes_per_second(),
                row.algorithm.unwrap_or_default(),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(f, "{:<54} {rest:>9.3}", "all others together")
    }
}
