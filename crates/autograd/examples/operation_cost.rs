//! What operations cost, forward alone and with the reverse pass: `operation_cost [--threads 1]
//! [--milliseconds 50] [--simd avx512|avx2|baseline]`.
//!
//! For each name on the standard input (see [`OPERATIONS`]) it prints a line with the name and the
//! least and the median milliseconds, forward alone and with gradients of all inputs.
//! `tests/peers/operations.py` runs it in turns with PyTorch.

use std::error::Error;
use std::hint::black_box;
use std::io::stdin;
use std::time::{Duration, Instant};

use autograd::{Result, Tape, Tensor, Var};
use tensor::{Level, Pad, Pool2dOptions};

/// A function of tracked values.
type Function = fn(&[Var<f32>]) -> Result<Var<f32>>;

/// Images `[batch, height, width, channels]`.
const IMAGES: &[usize] = &[8, 56, 56, 64];
const FEW_CHANNELS: &[usize] = &[32, 56, 56, 8];
const CHANNELS: &[usize] = &[64];
/// Vectors that a transformer mixes.
const TOKENS: &[usize] = &[2048, 384];
const FEATURES: &[usize] = &[384];
/// Attention of 16 heads.
const SCORES: &[usize] = &[16, 128, 128];
const HEADS: &[usize] = &[16, 128, 64];

/// Names, shapes of inputs, functions.
const OPERATIONS: &[(&str, &[&[usize]], Function)] = &[
    ("add", &[IMAGES, IMAGES], |v| v[0].add(&v[1])),
    ("add_relu", &[IMAGES, IMAGES], |v| {
        Ok(v[0].add(&v[1])?.relu())
    }),
    ("scale_channels", &[FEW_CHANNELS, &[8]], |v| v[0].mul(&v[1])),
    ("scale_images", &[IMAGES, &[8, 1, 1, 64]], |v| {
        v[0].mul(&v[1])
    }),
    ("batch_norm", &[IMAGES, CHANNELS, CHANNELS], |v| {
        v[0].batch_norm(&v[1], &v[2], 1e-5)
    }),
    ("batch_norm_relu", &[IMAGES, CHANNELS, CHANNELS], |v| {
        Ok(v[0].batch_norm(&v[1], &v[2], 1e-5)?.relu())
    }),
    ("group_norm", &[IMAGES, CHANNELS, CHANNELS], |v| {
        v[0].group_norm(8, &v[1], &v[2], 1e-5)
    }),
    ("layer_norm", &[TOKENS, FEATURES, FEATURES], |v| {
        v[0].layer_norm(&v[1], &v[2], 1e-5)
    }),
    ("relu", &[TOKENS], |v| Ok(v[0].relu())),
    ("sigmoid", &[TOKENS], |v| Ok(v[0].sigmoid())),
    ("tanh", &[TOKENS], |v| Ok(v[0].tanh())),
    ("silu", &[TOKENS], |v| Ok(v[0].silu())),
    ("gelu", &[TOKENS], |v| Ok(v[0].gelu())),
    ("gelu_tanh", &[TOKENS], |v| Ok(v[0].gelu_tanh())),
    ("hardswish", &[TOKENS], |v| Ok(v[0].hardswish())),
    ("softplus", &[TOKENS], |v| Ok(v[0].softplus())),
    ("elu", &[TOKENS], |v| Ok(v[0].elu(1.0))),
    ("exp", &[TOKENS], |v| Ok(v[0].exp())),
    ("sin", &[TOKENS], |v| Ok(v[0].sin())),
    ("clamp", &[TOKENS], |v| v[0].clamp(-0.5, 0.5)),
    ("softmax", &[SCORES], |v| v[0].softmax(-1)),
    ("log_softmax", &[SCORES], |v| v[0].log_softmax(-1)),
    ("logsumexp", &[SCORES], |v| v[0].logsumexp(-1)),
    ("sum_rows", &[TOKENS], |v| v[0].sum(-1)),
    ("sum_columns", &[TOKENS], |v| v[0].sum(0)),
    ("max_rows", &[TOKENS], |v| v[0].max(-1)),
    ("variance", &[TOKENS], |v| v[0].var(-1, 1)),
    ("mean_squared", &[TOKENS, TOKENS], |v| {
        v[0].sub(&v[1])?.square().mean(..)
    }),
    ("attention", &[HEADS, HEADS, HEADS], |v| {
        let scores = v[0].matmul(&v[1].swap_axes(1, 2)?)? * 0.125;
        scores.softmax(-1)?.matmul(&v[2])
    }),
    ("max_pool", &[IMAGES], |v| v[0].max_pool2d(&pooling())),
    ("avg_pool", &[IMAGES], |v| v[0].avg_pool2d(&pooling())),
    ("global_avg_pool", &[IMAGES], |v| v[0].global_avg_pool2d()),
    ("resize_nearest", &[&[4, 56, 56, 32]], |v| {
        v[0].resize_nearest([112, 112])
    }),
    ("resize_bilinear", &[&[4, 56, 56, 32]], |v| {
        v[0].resize_bilinear([112, 112], false)
    }),
    ("pad", &[FEW_CHANNELS], |v| {
        v[0].pad(&[(0, 0), (1, 1), (1, 1), (0, 0)], Pad::Constant(0.0))
    }),
    ("concat", &[IMAGES, IMAGES], |v| {
        Var::concat(&[&v[0], &v[1]], 3)
    }),
    ("channels_first", &[IMAGES], |v| {
        Ok(v[0].permute(&[0, 3, 1, 2])? * 2.0)
    }),
];

/// The pooling of ResNet's first layers.
fn pooling() -> Pool2dOptions {
    Pool2dOptions::new([3, 3]).stride([2, 2])
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let (mut threads, mut time) = (1, Duration::from_millis(50));
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--threads" => threads = value.parse()?,
            "--milliseconds" => time = Duration::from_millis(value.parse()?),
            "--simd" => Level::limit(value.parse()?)?,
            _ => return Err(format!("there is no argument {name}").into()),
        }
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    for line in stdin().lines() {
        let line = line?;
        let Some((name, shapes, function)) = OPERATIONS.iter().find(|(name, ..)| *name == line)
        else {
            return Err(format!("there is no operation {line}").into());
        };
        let inputs = (shapes.iter().enumerate())
            .map(|(which, shape)| waves(shape, which))
            .collect::<Result<Vec<_>>>()?;
        let forward = times(time, || {
            let inputs: Vec<_> = inputs.iter().cloned().map(Var::constant).collect();
            black_box(function(&inputs)?);
            Ok(())
        })?;
        let constants: Vec<_> = inputs.iter().cloned().map(Var::constant).collect();
        let seed = Var::constant(waves(function(&constants)?.shape(), inputs.len())?);
        let both = times(time, || {
            let tape = Tape::new();
            let inputs: Vec<_> = inputs.iter().map(|x| tape.variable(x.clone())).collect();
            let gradients = function(&inputs)?.reverse().seed(&seed).run()?;
            for input in &inputs {
                black_box(gradients.of(input)?);
            }
            Ok(())
        })?;
        println!(
            "{name} {} {} {} {}",
            forward[0], forward[1], both[0], both[1]
        );
    }
    Ok(())
}

/// Numbers around 0, most of them below 2.
fn waves(shape: &[usize], which: usize) -> Result<Tensor<f32>> {
    let mut i = which as f64;
    Tensor::from_fn(shape, |_| {
        i += 1.0;
        ((i * 0.7391).sin() + (i * 1.3713).cos()) as f32
    })
}

/// The least and the median milliseconds of many runs.
fn times(time: Duration, mut run: impl FnMut() -> Result<()>) -> Result<[f64; 2]> {
    run()?;
    let mut found = Vec::new();
    let start = Instant::now();
    while found.len() < 5 || start.elapsed() < time {
        let before = Instant::now();
        run()?;
        found.push(before.elapsed().as_secs_f64() * 1e3);
    }
    found.sort_by(f64::total_cmp);
    Ok([found[0], found[found.len() / 2]])
}
