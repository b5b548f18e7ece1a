//! What convolutions and their two gradients cost: `convolution_cost [--threads 1]
//! [--milliseconds 100] [--algorithm auto] [--simd avx512|avx2|baseline]`.
//!
//! For each line of the standard input, of the form that `tests/peers/convolution_shapes.txt`
//! explains, it prints a line with the name and, for each of the three passes, the algorithm, the
//! least and the median milliseconds. `tests/peers/convolution.py` runs it in turns with PyTorch.

use std::error::Error;
use std::io::stdin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tensor::{
    Conv2dOptions, ConvAlgorithm, ConvStatistics, Level, Padding, Tensor, conv_statistics,
};

struct Arguments {
    threads: usize,
    time: Duration,
    algorithm: ConvAlgorithm,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments {
        threads: 1,
        time: Duration::from_millis(100),
        algorithm: ConvAlgorithm::Auto,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--threads" => found.threads = value.parse()?,
            "--milliseconds" => found.time = Duration::from_millis(value.parse()?),
            "--simd" => Level::limit(value.parse()?)?,
            "--algorithm" => {
                found.algorithm = match value.as_str() {
                    "auto" => ConvAlgorithm::Auto,
                    "im2col" => ConvAlgorithm::Im2col,
                    "direct" => ConvAlgorithm::Direct,
                    "winograd" => ConvAlgorithm::Winograd,
                    "winograd_2x2" => ConvAlgorithm::Winograd2x2,
                    _ => return Err(format!("there is no algorithm {value}").into()),
                }
            }
            _ => return Err(format!("there is no argument {name}").into()),
        }
    }
    Ok(found)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads);
    pool.build_global()?;
    for line in stdin().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        match words.next() {
            Some(name) if !name.starts_with('#') => {
                let numbers = words.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
                println!("{name} {}", passes(&numbers, &arguments)?);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A pass with these filters.
type Pass<'a> = &'a dyn Fn(&Tensor<f32>) -> tensor::Result<Tensor<f32>>;

/// Measures the three passes of one shape.
fn passes(numbers: &[usize], arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let &[
        batch,
        height,
        width,
        inputs,
        outputs,
        kernel,
        stride,
        padding,
        groups,
    ] = numbers
    else {
        return Err(format!("a shape has 9 numbers, not {}", numbers.len()).into());
    };
    let options = Conv2dOptions::new()
        .stride([stride; 2])
        .padding(Padding::symmetric([padding; 2]))
        .groups(groups)
        .algorithm(arguments.algorithm);
    let mut random = tensor::generator(1);
    let mut normal = |shape: [usize; 4]| Tensor::<f32>::normal(shape, 0.0, 1.0, &mut random);
    let x = normal([batch, height, width, inputs])?;
    let mut w = normal([kernel, kernel, inputs / groups.max(1), outputs])?;
    let y = x.conv2d(&w, &options)?;
    let &[batch, height, width, channels] = &y.shape()[..] else {
        return Err("an output has 4 axes".into());
    };
    let dy = normal([batch, height, width, channels])?;
    let passes: [Pass; 3] = [
        &|w| x.conv2d(w, &options),
        &|w| dy.conv2d_input_gradient(w, x.shape(), &options),
        &|w| x.conv2d_filter_gradient(&dy, w.shape(), &options),
    ];
    let mut columns = Vec::new();
    for pass in passes {
        let before = conv_statistics();
        pass(&w)?;
        let algorithm = algorithm(&before, &conv_statistics());
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < 5 || start.elapsed() < arguments.time {
            // As in training, each convolution has filters of which nothing is kept.
            w.make_mut();
            let start = clock(arguments.threads);
            pass(&w)?;
            times.push((clock(arguments.threads) - start).as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        columns.push(format!(
            "{algorithm} {:.5} {:.5}",
            times[0],
            times[times.len() / 2]
        ));
    }
    Ok(columns.join(" "))
}

/// The time of this thread on a processor, if it does all the work: what other programs take does
/// not count. Otherwise the time of day.
fn clock(threads: usize) -> Duration {
    #[cfg(unix)]
    if threads == 1 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
        return seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs());
    }
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Which counter one convolution has moved.
fn algorithm(before: &ConvStatistics, after: &ConvStatistics) -> &'static str {
    let moved = |counter: fn(&ConvStatistics) -> u64| counter(after) > counter(before);
    match () {
        () if moved(|s| s.product) => "product",
        () if moved(|s| s.im2col) => "im2col",
        () if moved(|s| s.depthwise) => "depthwise",
        () if moved(|s| s.direct) => "direct",
        () if moved(|s| s.winograd) => "F(4×4)",
        () if moved(|s| s.winograd_2x2) => "F(2×2)",
        () => "none",
    }
}
