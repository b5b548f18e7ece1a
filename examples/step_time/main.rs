//! Times training steps and inference of the network in `creatures` on random images.
//!
//! The last line is one JSON object: the least and the median milliseconds of a training step and
//! of a prediction of one batch, the most memory the process ever had, and the algorithms that each
//! convolution takes, forward and for both gradients. `tests/peers/compare.py` runs it in turns with other libraries.
//!
//! ```text
//! cargo run --release --example step_time -- --height 100 --width 100 --channels 3 --classes 6 \
//!     --batch 32 --threads 2 --steps 20
//! ```

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use nn::prelude::*;
use serde_json::json;

/// Steps that are not counted: buffers find their places, the processor its clock.
const WARM_UP: usize = 3;

/// Times training steps and inference on random images.
#[derive(Parser)]
struct Sizes {
    #[arg(long, default_value_t = 100)]
    height: usize,
    #[arg(long, default_value_t = 100)]
    width: usize,
    #[arg(long, default_value_t = 3)]
    channels: usize,
    #[arg(long, default_value_t = 6)]
    classes: usize,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The highest vector instructions to use, `avx512`, `avx2` or `baseline`, instead of the
    /// machine's highest.
    #[arg(long, value_name = "LEVEL")]
    simd: Option<tensor::Level>,
    /// Training steps that are timed, and as many predictions.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Predict only: without gradients and Adam's memory in the process.
    #[arg(long)]
    inference_only: bool,
    /// Print what each operation of a training step costs.
    #[arg(long)]
    profile: bool,
    /// Write one training step for chrome://tracing or ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sizes = Sizes::parse();
    if let Some(level) = sizes.simd {
        tensor::Level::limit(level)?;
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(sizes.threads)
        .build_global()?;
    let mut model = examples::classifier(
        &[sizes.height, sizes.width, sizes.channels],
        sizes.classes,
        1,
    )?;
    let shape = [sizes.batch, sizes.height, sizes.width, sizes.channels];
    let x = Tensor::<f32>::uniform(shape, 0.0..1.0, &mut tensor::generator(7))?;
    let labels: Vec<i64> = (0..sizes.batch as i64)
        .map(|image| image % sizes.classes as i64)
        .collect();
    let y = to_categorical(Tensor::from(labels), sizes.classes)?;

    let mut found = json!({ "program": "Tapir", "threads": rayon::current_num_threads(), "simd": tensor::Level::best().name() });
    if !sizes.inference_only {
        let train = times(&sizes, || model.train_on_batch(&x, &y).map(drop))?;
        found["train_ms_min"] = train.least.into();
        found["train_ms_median"] = train.median.into();
    }
    if sizes.profile || sizes.trace.is_some() {
        let profile = model.profile(&x, &y, sizes.steps)?;
        println!("{profile}");
        if let Some(path) = &sizes.trace {
            profile.write_trace(path)?;
        }
    }
    let infer = times(&sizes, || model.predict(&x).map(drop))?;
    found["infer_ms_min"] = infer.least.into();
    found["infer_ms_median"] = infer.median.into();
    found["peak_rss_mib"] = peak_rss_mib().into();
    let (ran, spans) = autograd::trace(|| match sizes.inference_only {
        true => model.predict(&x).map(drop),
        false => model.train_on_batch(&x, &y).map(drop),
    });
    ran?;
    found["conv_algorithms"] = conv_algorithms(&spans);
    println!("{found}");
    Ok(())
}

struct Milliseconds {
    least: f64,
    median: f64,
}

fn times(sizes: &Sizes, mut step: impl FnMut() -> nn::Result<()>) -> nn::Result<Milliseconds> {
    for _ in 0..WARM_UP {
        step()?;
    }
    let mut times = Vec::with_capacity(sizes.steps);
    for _ in 0..sizes.steps.max(1) {
        let start = Instant::now();
        step()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let [low, high] = [(times.len() - 1) / 2, times.len() / 2];
    Ok(Milliseconds {
        least: times[0],
        median: (times[low] + times[high]) / 2.0,
    })
}

/// `{ layer: { direction: algorithm } }` of the convolutions among `spans`.
fn conv_algorithms(spans: &[autograd::Span]) -> serde_json::Value {
    let mut layers = json!({});
    for span in spans {
        if let Some(algorithm) = span.algorithm {
            let direction = match &*span.name {
                "conv2d_input_gradient" => "input_gradient",
                "conv2d_filter_gradient" => "filter_gradient",
                _ => "forward",
            };
            layers[&span.scope][direction] = algorithm.into();
        }
    }
    layers
}

/// The largest resident set so far, from `/proc`; 0 where there is none.
fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
