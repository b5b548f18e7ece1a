//! Each case by this engine.

use autograd::{CrossEntropy, Tape, Var, catalogue};
use tensor::{Axes, Conv2dOptions, Pad, Padding, Pool2dOptions, Result, Slice, Tensor, keepdims};

use crate::cases::Case;

type Values = Vec<Tensor<f64>>;

/// The outputs, and for each input position the gradient of `Σ cotangent · output`.
pub fn run(case: &Case) -> Result<(Values, Values)> {
    let tape = Tape::new();
    let x: Vec<Var<f64>> = case
        .floats()
        .into_iter()
        .map(|x| tape.variable(x))
        .collect();
    let outputs = outputs(case, &x)?;
    let mut loss = Var::from(0.0);
    for (output, cotangent) in outputs.iter().zip(&case.cotangents) {
        loss = loss.add(&output.mul(&Var::from(cotangent))?.sum(..)?)?;
    }
    let positions = case.float_positions();
    let count = positions.last().map_or(0, |last| last + 1);
    let mut gradients = vec![Tensor::zeros([0])?; count];
    let mut found = match loss.is_tracked() {
        true => Some(loss.backward()?),
        false => None,
    };
    for (x, &position) in x.iter().zip(&positions) {
        let gradient = found.as_mut().and_then(|found| found.take(x).ok());
        gradients[position] = match gradient {
            Some(gradient) => gradient,
            None => Tensor::zeros(x.shape())?,
        };
    }
    Ok((
        outputs.into_iter().map(Var::into_value).collect(),
        gradients,
    ))
}

fn axes(case: &Case) -> Axes {
    if !case.has("axes") {
        return match case.name.ends_with("_rows") {
            true => 1.into(),
            false => (..).into(),
        };
    }
    let axes = case.integers("axes");
    match case.flag("keep") {
        true => keepdims(&axes[..]),
        false => axes[..].into(),
    }
}

fn convolution(case: &Case) -> Conv2dOptions {
    let padding = case.pairs("padding");
    Conv2dOptions::new()
        .stride(case.pair("stride"))
        .dilation(case.pair("dilation"))
        .groups(case.number("groups") as usize)
        .padding(Padding::Explicit {
            height: padding[0].into(),
            width: padding[1].into(),
        })
}

fn pooling(case: &Case) -> Pool2dOptions {
    Pool2dOptions::new(case.pair("window"))
        .stride(case.pair("stride"))
        .padding(Padding::symmetric(case.pair("padding")))
        .ceil_mode(case.flag("ceil"))
        .count_padding(case.flag("count_padding"))
}

/// NumPy's slices by those of this crate, whose ranges are forward.
fn slices(case: &Case, x: &Var<f64>) -> Vec<Slice> {
    let (start, stop) = (case.integers("start"), case.integers("stop"));
    let steps = case.integers("step");
    let sizes = x.shape().iter();
    sizes
        .enumerate()
        .map(|(axis, &size)| {
            let step = steps[axis];
            let absolute = |bound: isize| match bound < 0 {
                true => bound + size as isize,
                false => bound,
            };
            let (start, stop) = (absolute(start[axis]), absolute(stop[axis]));
            let range = match step > 0 {
                true => start..stop,
                false => stop + 1..start + 1,
            };
            Slice::from(range).step(step)
        })
        .collect()
}

/// The mean of losses where the case asks for it.
fn reduced(case: &Case, losses: Var<f64>) -> Result<Var<f64>> {
    match case.name.ends_with("_mean") {
        true => losses.mean(..),
        false => Ok(losses),
    }
}

fn options(case: &Case) -> CrossEntropy<f64> {
    let mut options = CrossEntropy::new();
    if case.has("weights") {
        options = options.class_weights(case.array("weights"));
    }
    if case.has("smoothing") {
        options = options.label_smoothing(case.number("smoothing"));
    }
    if case.has("ignored") {
        options = options.ignored(case.number("ignored") as i64);
    }
    options
}

/// The target: an input, or a constant among the attributes.
fn target(case: &Case, x: &[Var<f64>]) -> Var<f64> {
    match case.has("target") {
        true => Var::from(case.array("target")),
        false => x[1].clone(),
    }
}

fn outputs(case: &Case, x: &[Var<f64>]) -> Result<Vec<Var<f64>>> {
    if case.op == "split" {
        return x[0].split(&case.sizes("sizes"), case.number("axis") as isize);
    }
    output(case, x).map(|y| vec![y])
}

fn output(case: &Case, x: &[Var<f64>]) -> Result<Var<f64>> {
    let axis = || case.number("axis") as isize;
    let all: Vec<&Var<f64>> = x.iter().collect();
    let epsilon = || match case.has("epsilon") {
        true => case.number("epsilon"),
        false => 1e-3,
    };
    match &case.op[..] {
        "relu" => Ok(x[0].relu()),
        "leaky_relu" => Ok(x[0].leaky_relu(case.number("slope"))),
        "elu" => Ok(x[0].elu(case.number("alpha"))),
        "clamp" => x[0].clamp(case.number("low"), case.number("high")),
        "remainder" => x[0].rem(&Var::from(case.number("divisor"))),
        "powf" => Ok(x[0].powf(case.number("exponent"))),
        "where" if case.name == "pole_not_taken" => {
            let positive = x[0].value().gt(&Tensor::scalar(0.0))?;
            Var::choose(&positive, &x[0].log(), &x[0].zeros_like())
        }
        "where" => Var::choose(&case.mask(), &x[0], &x[1]),
        "masked_fill" => x[0].masked_fill(&case.mask(), case.number("value")),
        "add" => x[0].add(&x[1]),
        "sub" => x[0].sub(&x[1]),
        "mul" => x[0].mul(&x[1]),
        "div" => x[0].div(&x[1]),
        "pow" => x[0].pow(&x[1]),
        "atan2" => x[0].atan2(&x[1]),
        "hypot" => x[0].hypot(&x[1]),
        "maximum" => x[0].maximum(&x[1]),
        "minimum" => x[0].minimum(&x[1]),
        "sum" => x[0].sum(axes(case)),
        "mean" => x[0].mean(axes(case)),
        "prod" => x[0].prod(axes(case)),
        "max" => x[0].max(axes(case)),
        "min" => x[0].min(axes(case)),
        "logsumexp" => x[0].logsumexp(axes(case)),
        "var" => x[0].var(axes(case), correction(case)),
        "std" => x[0].std(axes(case), correction(case)),
        "norm" => {
            let p = if case.has("p") { case.number("p") } else { 2.0 };
            x[0].norm(p, axes(case))
        }
        "cumsum" => x[0].cumsum(if case.has("axis") { axis() } else { 0 }),
        "cumprod" => x[0].cumprod(axis()),
        "softmax" => x[0].softmax(if case.has("axis") { axis() } else { -1 }),
        "log_softmax" => x[0].log_softmax(axis()),
        "argmax" | "argmin" => {
            let axis = if case.has("axis") { axis() } else { 0 };
            let positions = match &case.op[..] {
                "argmax" => x[0].value().argmax(axis)?,
                _ => x[0].value().argmin(axis)?,
            };
            Ok(Var::from(positions.cast::<f64>()))
        }
        "reshape" => x[0].reshape(case.sizes("shape")),
        "permute" => x[0].permute(&case.integers("axes")),
        "broadcast_to" => x[0].broadcast_to(case.sizes("shape")),
        "slice" => x[0].slice(&slices(case, &x[0])),
        "flip" => x[0].flip(&case.integers("axes")[..]),
        "roll" => {
            let shifts = case.integers("shifts").into_iter();
            let mut moves = shifts.zip(case.integers("axes"));
            moves.try_fold(x[0].clone(), |x, (shift, axis)| x.roll(shift, axis))
        }
        "pad_constant" => x[0].pad(&case.pairs("widths"), Pad::Constant(case.number("value"))),
        "pad_reflect" => x[0].pad(&case.pairs("widths"), Pad::Reflect),
        "pad_edge" => x[0].pad(&case.pairs("widths"), Pad::Edge),
        "concat" => Var::concat(&all, axis()),
        "stack" => Var::stack(&all, axis()),
        "repeat" => x[0].repeat(case.number("count") as usize, axis()),
        "tile" => x[0].tile(&case.sizes("counts")),
        "tril" => x[0].tril(case.number("diagonal") as isize),
        "triu" => x[0].triu(case.number("diagonal") as isize),
        "gather" => x[0].gather(axis(), &case.index()),
        "index_select" => x[0].index_select(axis(), &case.index()),
        "scatter_add" => x[0].scatter_add(axis(), &case.index(), &x[1]),
        "embedding" => x[0].embedding(&case.index()),
        "sort" => {
            let axis = if case.has("axis") { axis() } else { 0 };
            x[0].sort(axis, case.flag("descending"))
        }
        "topk" => {
            let count = case.number("count") as usize;
            match case.flag("largest") {
                true => x[0].topk(count, axis()),
                false => Ok(x[0].neg().topk(count, axis())?.neg()),
            }
        }
        "conv2d" | "depthwise" => x[0].conv2d(&x[1], &convolution(case)),
        "conv_transpose2d" => {
            let size = [case.outputs[0].shape()[1], case.outputs[0].shape()[2]];
            x[0].conv_transpose2d(&x[1], size, &convolution(case))
        }
        "conv1d" => {
            let padding = case.pair("padding");
            let options = Conv2dOptions::new()
                .stride([1, case.number("stride") as usize])
                .dilation([1, case.number("dilation") as usize])
                .groups(case.number("groups") as usize)
                .padding(Padding::Explicit {
                    height: [0, 0],
                    width: padding,
                });
            x[0].conv1d(&x[1], &options)
        }
        "max_pool2d" => x[0].max_pool2d(&pooling(case)),
        "avg_pool2d" => x[0].avg_pool2d(&pooling(case)),
        "adaptive_avg_pool2d" => x[0].adaptive_avg_pool2d(case.pair("size")),
        "adaptive_max_pool2d" => x[0].adaptive_max_pool2d(case.pair("size")),
        "global_avg_pool2d" => x[0].global_avg_pool2d(),
        "global_max_pool2d" => x[0].global_max_pool2d(),
        "resize_nearest" => x[0].resize_nearest(case.pair("size")),
        "resize_bilinear" => x[0].resize_bilinear(case.pair("size"), false),
        "resize_bilinear_align_corners" => x[0].resize_bilinear(case.pair("size"), true),
        "batch_norm" => x[0].batch_norm(&x[1], &x[2], epsilon()),
        "batch_norm_inference" => {
            x[0].batch_norm_inference([&x[3], &x[4]], &x[1], &x[2], epsilon())
        }
        "layer_norm" => x[0].layer_norm(&x[1], &x[2], epsilon()),
        "group_norm" => {
            let groups = case.number("groups") as usize;
            x[0].group_norm(groups, &x[1], &x[2], epsilon())
        }
        "matmul" => x[0].matmul(&x[1]),
        "dot" => x[0].dot(&x[1]),
        "outer" => x[0].outer(&x[1]),
        "einsum" => Var::einsum(&case.text("equation"), &all),
        "solve" => x[0].solve(&x[1]),
        "inverse" => x[0].inverse(),
        "det" => x[0].det(),
        "logabsdet" => x[0].logabsdet(),
        "cholesky_of_gram" => {
            let n = x[0].shape()[x[0].rank() - 1];
            let unit = Tensor::from_fn([n, n], |at| f64::from(u8::from(at[0] == at[1])))?;
            let gram = x[0].matmul(&x[0].t())?.add(&Var::from(unit))?;
            gram.cholesky()
        }
        "triangular_solve" => x[0].triangular_solve(&x[1], case.flag("upper")),
        "softmax_cross_entropy_ignored" | "softmax_cross_entropy_class_weights"
            if !case.name.ends_with("_none") =>
        {
            x[0].mean_cross_entropy(&case.index(), &options(case))
        }
        "softmax_cross_entropy_sparse"
        | "softmax_cross_entropy_ignored"
        | "softmax_cross_entropy_class_weights" => {
            reduced(case, x[0].cross_entropy(&case.index(), &options(case))?)
        }
        "softmax_cross_entropy" => {
            reduced(case, x[0].softmax_cross_entropy_with(&target(case, x))?)
        }
        "binary_cross_entropy_with_logits" => {
            let target = target(case, x);
            reduced(case, x[0].binary_cross_entropy_with_logits(&target)?)
        }
        "binary_cross_entropy" => reduced(case, x[0].binary_cross_entropy(&target(case, x))?),
        "mse" => reduced(case, x[0].squared_error(&target(case, x))?),
        "mae" => reduced(case, x[0].absolute_error(&target(case, x))?),
        "huber" => {
            let delta = case.number("delta");
            reduced(case, x[0].huber_loss(&target(case, x), delta)?)
        }
        "hinge" => reduced(case, x[0].hinge_loss(&target(case, x))?),
        // Each term by itself, as a row of one.
        "kl_divergence" if case.name == "zero_target" => {
            let target = target(case, x).expand_dims(-1)?;
            x[0].expand_dims(-1)?.kl_divergence(&target)
        }
        "kl_divergence" => reduced(case, x[0].kl_divergence(&target(case, x))?),
        "cosine_similarity" => reduced(case, x[0].cosine_similarity(&target(case, x))?),
        name => match catalogue().iter().find(|entry| entry.name == name) {
            Some(entry) => Ok((entry.function)(&x[0])),
            None => panic!("there is no operation {name}"),
        },
    }
}

fn correction(case: &Case) -> usize {
    match case.has("correction") {
        true => case.number("correction") as usize,
        false => 1,
    }
}
