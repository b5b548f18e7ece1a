//! Convolution layer by layer: `cargo bench -p tensor --bench conv [-- FILTER]`.
//!
//! The figure behind a time is the operations a second of a direct computation (a multiplication
//! and an addition for each product), whatever the algorithm does; so `Gitem/s` reads as GFLOP/s.

use divan::Bencher;
use divan::counter::ItemsCount;
use tensor::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding, Tensor};

fn main() {
    divan::main();
}

/// A layer: input, filters, options.
struct Layer {
    name: &'static str,
    input: [usize; 4],
    filters: [usize; 4],
    options: Conv2dOptions,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name)
    }
}

fn layers() -> Vec<Layer> {
    let valid = Conv2dOptions::new();
    let same = valid.padding(Padding::Same);
    let layer = |name, input, filters, options| Layer {
        name,
        input,
        filters,
        options,
    };
    vec![
        layer("3-32 at 100", [32, 100, 100, 3], [3, 3, 3, 32], same),
        layer("32-32 at 100", [32, 100, 100, 32], [3, 3, 32, 32], valid),
        layer("32-64 at 49", [32, 49, 49, 32], [3, 3, 32, 64], same),
        layer("64-64 at 49", [32, 49, 49, 64], [3, 3, 64, 64], valid),
        layer(
            "7x7 stride 2",
            [4, 224, 224, 3],
            [7, 7, 3, 64],
            same.stride([2, 2]),
        ),
        layer("1x1 256-64 at 28", [8, 28, 28, 256], [1, 1, 256, 64], valid),
        layer("512-512 at 7", [8, 7, 7, 512], [3, 3, 512, 512], same),
        layer(
            "depthwise 128 at 56",
            [8, 56, 56, 128],
            [3, 3, 1, 128],
            same.groups(128),
        ),
        layer("5x5 8-8 at 32", [32, 32, 32, 8], [5, 5, 8, 8], same),
    ]
}

fn uniform(shape: &[usize]) -> Tensor<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let len = shape.iter().product();
    Tensor::from_vec((0..len).map(|_| next()).collect(), shape).unwrap()
}

fn pools() -> [rayon::ThreadPool; 2] {
    [1, 2].map(|threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    })
}

/// One algorithm of the benchmarks below.
trait Algorithm {
    const ALGORITHM: ConvAlgorithm;
}
struct Auto;
struct Im2col;
struct Direct;
impl Algorithm for Auto {
    const ALGORITHM: ConvAlgorithm = ConvAlgorithm::Auto;
}
impl Algorithm for Im2col {
    const ALGORITHM: ConvAlgorithm = ConvAlgorithm::Im2col;
}
impl Algorithm for Direct {
    const ALGORITHM: ConvAlgorithm = ConvAlgorithm::Direct;
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod two_threads {
    use super::*;

    #[divan::bench(args = layers(), types = [Auto, Direct, Im2col])]
    fn forward<A: Algorithm>(bencher: Bencher, layer: &Layer) {
        run::<A>(bencher, layer, 1, |x, w, _, options| x.conv2d(w, options));
    }

    #[divan::bench(args = layers(), types = [Auto, Direct, Im2col])]
    fn input_gradient<A: Algorithm>(bencher: Bencher, layer: &Layer) {
        run::<A>(bencher, layer, 1, |x, w, dy, options| {
            dy.conv2d_input_gradient(w, x.shape(), options)
        });
    }

    #[divan::bench(args = layers(), types = [Auto, Direct, Im2col])]
    fn filter_gradient<A: Algorithm>(bencher: Bencher, layer: &Layer) {
        run::<A>(bencher, layer, 1, |x, w, dy, options| {
            x.conv2d_filter_gradient(dy, w.shape(), options)
        });
    }
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod one_thread {
    use super::*;

    #[divan::bench(args = layers(), types = [Auto, Direct, Im2col])]
    fn forward<A: Algorithm>(bencher: Bencher, layer: &Layer) {
        run::<A>(bencher, layer, 0, |x, w, _, options| x.conv2d(w, options));
    }
}

fn run<A: Algorithm>(
    bencher: Bencher,
    layer: &Layer,
    pool: usize,
    body: impl Fn(
        &Tensor<f32>,
        &Tensor<f32>,
        &Tensor<f32>,
        &Conv2dOptions,
    ) -> tensor::Result<Tensor<f32>>
    + Sync,
) {
    let options = layer.options.algorithm(A::ALGORITHM);
    let params = Conv2dParams::new(&layer.input, &layer.filters, &options).unwrap();
    let (x, w) = (uniform(&layer.input), uniform(&layer.filters));
    let dy = uniform(&params.output_shape());
    let pool = &pools()[pool];
    bencher
        .counter(ItemsCount::new(2 * params.multiplications()))
        .bench_local(|| pool.install(|| body(&x, &w, &dy, &options).unwrap()));
}
