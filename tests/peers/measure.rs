//! What the peers written in Rust share: arguments, timing, and the JSON line at the end.

use clap::Parser;
use serde_json::json;
use std::time::Instant;

const WARM_UP: usize = 3;

/// Sizes of the network and of the run.
#[derive(Parser)]
pub struct Sizes {
    #[arg(long, default_value_t = 100)]
    pub height: usize,
    #[arg(long, default_value_t = 100)]
    pub width: usize,
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    #[arg(long, default_value_t = 6)]
    pub classes: usize,
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
}

impl Sizes {
    /// The length of the flattened features.
    pub fn features(&self) -> usize {
        let halved = |size: usize| (size - 2) / 2;
        64 * halved(halved(self.height)) * halved(halved(self.width))
    }

    /// Starts rayon's global pool with so many threads; call before anything uses it.
    pub fn limit_rayon(&self) -> Result<(), rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads);
        pool.build_global()
    }

    /// Milliseconds of each step, after some that are not counted.
    pub fn times<T, E>(&self, mut step: impl FnMut() -> Result<T, E>) -> Result<Vec<f64>, E> {
        for _ in 0..WARM_UP {
            step()?;
        }
        (0..self.steps)
            .map(|_| {
                let start = Instant::now();
                step()?;
                Ok(start.elapsed().as_secs_f64() * 1e3)
            })
            .collect()
    }
}

/// Prints the result as one line of JSON.
pub fn report(program: &str, train: &[f64], infer: &[f64]) {
    let [train, infer] = [train, infer].map(|times| {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        [
            sorted[0],
            (sorted[middle] + sorted[(sorted.len() - 1) / 2]) / 2.0,
        ]
    });
    println!(
        "{}",
        json!({
            "program": program,
            "train_ms_min": train[0], "train_ms_median": train[1],
            "infer_ms_min": infer[0], "infer_ms_median": infer[1],
            "peak_rss_mib": peak_rss_mib(),
        })
    );
}

/// The largest resident set so far, from `/proc`; 0 where there is none.
fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
