//! Every error names the function that was called, not a part that the function is made of, and
//! what a function records was recorded at the line that called it.

use std::collections::BTreeSet;
use std::path::Path;

use autograd::{CrossEntropy, Result, Tape, Var};
use tensor::{Axes, Conv2dOptions, Pad, Pool2dOptions, Shape, Slice, SparseMatrix, Tensor};

/// Calls of functions by name, each with an argument that it refuses.
type Calls = Vec<(&'static str, Result<()>)>;

const HUGE: usize = usize::MAX;

fn full(shape: impl Into<Shape>) -> Var<f64> {
    Var::from(Tensor::ones(shape).unwrap())
}

fn none<R>(result: Result<R>) -> Result<()> {
    result.map(drop)
}

fn elementwise() -> Calls {
    let (a, b) = (full([2]), full([3]));
    let mask = Tensor::from([true, false, true]);
    vec![
        ("add", none(a.add(&b))),
        ("sub", none(a.sub(&b))),
        ("mul", none(a.mul(&b))),
        ("div", none(a.div(&b))),
        ("rem", none(a.rem(&b))),
        ("pow", none(a.pow(&b))),
        ("atan2", none(a.atan2(&b))),
        ("hypot", none(a.hypot(&b))),
        ("maximum", none(a.maximum(&b))),
        ("minimum", none(a.minimum(&b))),
        ("clamp", none(a.clamp(1.0, 0.0))),
        ("polygamma", none(a.polygamma(1000))),
        ("dropout", none(a.dropout(2.0, 0, 0))),
        ("choose", none(Var::choose(&mask, &a, &b))),
        ("masked_fill", none(a.masked_fill(&mask, 0.0))),
        ("triu", none(a.triu(0))),
        ("tril", none(a.tril(0))),
    ]
}

fn views() -> Calls {
    let x = full([2, 3]);
    let no_step = Slice::from(..).step(0);
    let wide = full([1; 64]);
    let index = Tensor::from([5_i64]);
    vec![
        ("permute", none(x.permute(&[0, 0]))),
        ("permute", none(x.permute(&[0, 7]))),
        ("swap_axes", none(x.swap_axes(0, 2))),
        ("flatten", none(x.flatten(3))),
        ("expand_dims", none(x.expand_dims(7))),
        ("squeeze", none(x.squeeze(0))),
        ("slice", none(x.slice(&[no_step]))),
        ("slice_axis", none(x.slice_axis(0, no_step))),
        ("slice_axis", none(x.slice_axis(2, ..))),
        ("index_axis", none(x.index_axis(0, 2))),
        ("place", none(x.place([2, 2], &[no_step]))),
        ("flip", none(x.flip([0, 0]))),
        ("split", none(x.split(&[1, 3], 1))),
        ("split", none(x.split(&[1], 4))),
        ("broadcast_to", none(x.broadcast_to([2, 4]))),
        ("sum_to", none(x.sum_to(&Shape::from([4])))),
        ("reshape", none(x.reshape([5]))),
        ("concat", none(Var::concat(&[&x, &full([2])], 0))),
        ("stack", none(Var::stack(&[&x, &full([3, 3])], 0))),
        ("stack", none(Var::<f64>::stack(&[], 0))),
        ("stack", none(Var::stack(&[&x], 7))),
        ("stack", none(Var::stack(&[&wide, &wide], 0))),
        ("pad", none(x.pad(&[(1, 1)], Pad::Edge))),
        ("pad", none(x.pad(&[(1, 1)], Pad::Constant(0.0)))),
        ("pad", none(x.pad(&[(HUGE, 1); 2], Pad::Reflect))),
        ("pad", none(full([0]).pad(&[(1, 1)], Pad::Edge))),
        ("repeat", none(x.repeat(2, 5))),
        ("repeat", none(x.repeat(HUGE, 0))),
        ("repeat", none(wide.repeat(2, 0))),
        ("tile", none(x.tile(&[HUGE, 1]))),
        ("tile", none(x.tile(&[1; 80]))),
        ("roll", none(x.roll(1, 2))),
        ("gather", none(x.gather(0, &index))),
        ("scatter_add", none(x.scatter_add(0, &index, &x))),
        ("index_select", none(x.index_select(0, &index))),
        ("index_add", none(x.index_add(0, &index, &x))),
        ("embedding", none(full([2]).embedding(&index))),
        ("embedding", none(x.embedding(&index))),
        ("sort", none(x.sort(2, false))),
        ("topk", none(x.topk(4, 0))),
        ("topk", none(x.topk(1, 2))),
        ("item", none(x.item())),
    ]
}

fn reductions() -> Calls {
    let x = full([2, 3]);
    let twice = || Axes::from([0, 0]);
    vec![
        ("sum", none(x.sum(2))),
        ("mean", none(x.mean(2))),
        ("var", none(x.var(2, 0))),
        ("std", none(x.std(2, 0))),
        ("std", none(x.std(twice(), 0))),
        ("logsumexp", none(x.logsumexp(2))),
        ("norm", none(x.norm(2.0, 2))),
        ("norm", none(x.norm(1.0, twice()))),
        ("norm", none(x.norm(-1.0, ..))),
        ("norm", none(full([0]).norm(f64::INFINITY, ..))),
        ("max", none(x.max(2))),
        ("max", none(full([0]).max(..))),
        ("min", none(x.min(2))),
        ("prod", none(x.prod(2))),
        ("cumsum", none(x.cumsum(2))),
        ("cumprod", none(x.cumprod(2))),
        ("softmax", none(x.softmax(2))),
        ("log_softmax", none(x.log_softmax(2))),
        ("standardize", none(x.standardize(2, 0.0))),
        (
            "standardize_gradient",
            none(x.standardize_gradient(&full([2]), 0, 0.0)),
        ),
        (
            "normalize",
            none(x.normalize(5, 0.0, &full([3]), &full([3]))),
        ),
        (
            "normalize",
            none(x.normalize(0, 0.0, &full([2]), &full([2]))),
        ),
        ("batch_norm", none(Var::from(1.0).batch_norm(&x, &x, 0.0))),
        (
            "batch_norm",
            none(x.batch_norm(&full([2]), &full([2]), 0.0)),
        ),
        (
            "batch_norm_inference",
            none(x.batch_norm_inference([&full([2]), &full([2])], &full([3]), &full([3]), 0.0)),
        ),
        ("layer_norm", none(Var::from(1.0).layer_norm(&x, &x, 0.0))),
        (
            "layer_norm",
            none(x.layer_norm(&full([2]), &full([2]), 0.0)),
        ),
        ("group_norm", none(full([2]).group_norm(1, &x, &x, 0.0))),
        ("group_norm", none(x.group_norm(2, &x, &x, 0.0))),
        (
            "group_norm",
            none(x.group_norm(3, &full([2]), &full([2]), 0.0)),
        ),
    ]
}

fn losses() -> Calls {
    let (x, y) = (full([2, 3]), full([3]));
    let labels = Tensor::from([0_i64, 9]);
    let smoothed = CrossEntropy::new().label_smoothing(0.1);
    vec![
        ("squared_error", none(x.squared_error(&y))),
        ("absolute_error", none(x.absolute_error(&y))),
        ("huber_loss", none(x.huber_loss(&y, 1.0))),
        ("huber_loss", none(x.huber_loss(&x, -1.0))),
        ("huber_loss", none(x.huber_loss(&x, f64::NAN))),
        ("hinge_loss", none(x.hinge_loss(&y))),
        ("kl_divergence", none(x.kl_divergence(&y))),
        (
            "kl_divergence",
            none(Var::from(1.0).kl_divergence(&Var::from(1.0))),
        ),
        ("cosine_similarity", none(x.cosine_similarity(&y))),
        (
            "cosine_similarity",
            none(Var::from(1.0).cosine_similarity(&Var::from(1.0))),
        ),
        ("binary_cross_entropy", none(x.binary_cross_entropy(&y))),
        (
            "binary_cross_entropy_with_logits",
            none(x.binary_cross_entropy_with_logits(&y)),
        ),
        (
            "cross_entropy",
            none(x.cross_entropy(&labels, &CrossEntropy::new())),
        ),
        ("cross_entropy", none(x.cross_entropy(&labels, &smoothed))),
        (
            "mean_cross_entropy",
            none(x.mean_cross_entropy(&labels, &CrossEntropy::new())),
        ),
        (
            "mean_cross_entropy",
            none(x.mean_cross_entropy(&labels, &smoothed)),
        ),
        (
            "softmax_cross_entropy",
            none(x.softmax_cross_entropy(&labels)),
        ),
        (
            "softmax_cross_entropy_with",
            none(x.softmax_cross_entropy_with(&y)),
        ),
    ]
}

fn products() -> Calls {
    let (x, vector) = (full([2, 3]), full([3]));
    let square = full([2, 2]);
    let one_column = SparseMatrix::from_rows(1, [[(0, 1.0)]].into_iter()).unwrap();
    vec![
        ("matmul", none(x.matmul(&x))),
        ("matmul", none(full([2, 2, 3]).matmul(&x))),
        ("matmul", none(x.matmul(&Var::from(1.0)))),
        ("matmul_bias", none(x.matmul_bias(&x, &vector, false))),
        ("matmul_bias", none(x.matmul_bias(&x, &vector, true))),
        (
            "matmul_bias",
            none(full([2, 2, 3]).matmul_bias(&x, &vector, true)),
        ),
        (
            "matmul_bias",
            none(Var::from(1.0).matmul_bias(&x, &vector, true)),
        ),
        ("dot", none(x.dot(&vector))),
        ("outer", none(x.outer(&vector))),
        ("einsum", none(Var::einsum("ij->k", &[&x]))),
        ("einsum", none(Var::einsum("ij,ij->ij", &[&x, &square]))),
        ("einsum", none(Var::einsum("ii->i", &[&x]))),
        ("sparse_along", none(x.sparse_along(1, &one_column))),
        ("solve", none(x.solve(&vector))),
        ("solve", none(square.solve(&vector))),
        ("solve", none(square.solve(&Var::from(1.0)))),
        ("inverse", none(x.inverse())),
        ("inverse", none(square.inverse())),
        ("det", none(x.det())),
        ("logabsdet", none(x.logabsdet())),
        ("cholesky", none(x.cholesky())),
        ("triangular_solve", none(x.triangular_solve(&vector, false))),
    ]
}

fn images() -> Calls {
    let (x, w, bias) = (full([1, 4, 4, 2]), full([3, 3, 2, 2]), full([3]));
    let (fine, bad) = (Conv2dOptions::new(), Conv2dOptions::new().stride([0, 1]));
    let (pool, bad_pool) = (Pool2dOptions::new([2, 2]), Pool2dOptions::new([0, 2]));
    let tracked = Tape::new().variable(x.value().clone());
    let (v, flat) = (full([2]), full([1, 2, 2]));
    let empty = full([1, 0, 4, 2]);
    vec![
        ("conv2d", none(x.conv2d(&w, &bad))),
        ("conv2d_bias", none(x.conv2d_bias(&w, &bias, false, &fine))),
        ("conv2d_bias", none(x.conv2d_bias(&w, &v, true, &bad))),
        (
            "conv2d_bias_relu_max_pool2d",
            none(x.conv2d_bias_relu_max_pool2d(&w, &bias, &fine, &pool)),
        ),
        (
            "conv2d_bias_relu_max_pool2d",
            none(tracked.conv2d_bias_relu_max_pool2d(&w, &v, &fine, &bad_pool)),
        ),
        (
            "conv2d_input_gradient",
            none(x.conv2d_input_gradient(&w, &[1, 4, 4, 2], &fine)),
        ),
        (
            "conv2d_filter_gradient",
            none(x.conv2d_filter_gradient(&x, &[3, 3, 2, 2], &fine)),
        ),
        (
            "conv2d_filter_and_bias_gradient",
            none(x.conv2d_filter_and_bias_gradient(&x, &[3, 3, 2, 2], &fine)),
        ),
        (
            "conv_transpose2d",
            none(x.conv_transpose2d(&w, [4, 4], &fine)),
        ),
        ("conv1d", none(x.conv1d(&w, &fine))),
        ("conv1d", none(flat.conv1d(&full([3, 9, 2]), &fine))),
        ("max_pool2d", none(x.max_pool2d(&bad_pool))),
        ("max_pool2d", none(tracked.max_pool2d(&bad_pool))),
        ("avg_pool2d", none(x.avg_pool2d(&bad_pool))),
        ("resize_nearest", none(v.resize_nearest([2, 2]))),
        ("resize_nearest", none(x.resize_nearest([HUGE, 2]))),
        ("resize_bilinear", none(v.resize_bilinear([2, 2], true))),
        ("resize_bilinear", none(x.resize_bilinear([HUGE, 2], false))),
        (
            "adaptive_avg_pool2d",
            none(empty.adaptive_avg_pool2d([2, 2])),
        ),
        (
            "adaptive_avg_pool2d",
            none(x.adaptive_avg_pool2d([HUGE, 2])),
        ),
        (
            "adaptive_max_pool2d",
            none(empty.adaptive_max_pool2d([2, 2])),
        ),
        (
            "adaptive_max_pool2d",
            none(x.adaptive_max_pool2d([2, HUGE])),
        ),
        ("global_avg_pool2d", none(v.global_avg_pool2d())),
        ("global_max_pool2d", none(v.global_max_pool2d())),
        ("global_max_pool2d", none(empty.global_max_pool2d())),
    ]
}

fn all() -> Calls {
    [
        elementwise(),
        views(),
        reductions(),
        losses(),
        products(),
        images(),
    ]
    .concat()
}

#[test]
fn errors_name_the_function_that_was_called() {
    let mut failures = Vec::new();
    for (name, outcome) in all() {
        match outcome {
            Ok(()) => failures.push(format!("{name} accepts it")),
            Err(error) if error.operation() == name => {}
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Every public function of the operations that returns a `Result` is called above.
#[test]
fn every_operation_that_can_fail_is_called_here() {
    let called: BTreeSet<&str> = all().iter().map(|(name, _)| *name).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut missing = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for signature in source.split("    pub fn ").skip(1) {
            let signature = signature.split('{').next().unwrap_or_default();
            let output = signature.rsplit_once("->").map_or("", |(_, output)| output);
            let name = signature.split(['(', '<']).next().unwrap_or_default();
            if output.contains("Result<") && !name.starts_with('$') && !called.contains(name) {
                missing.insert(name.to_string());
            }
        }
    }
    assert!(missing.is_empty(), "not called: {missing:?}");
}

#[test]
fn parts_are_recorded_at_the_callers_line() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::from([[1.0, 2.0], [3.0, 4.0]]));
    let y = Var::from(Tensor::from([[0.5, 1.0], [1.5, 2.0]]));
    let image = x.reshape([1, 2, 2, 1]).unwrap();
    let calls: [(u32, Result<Var<f64>>); 6] = [
        (line!(), x.cosine_similarity(&y)),
        (line!(), Var::einsum("ij,jk->ik", &[&x, &y])),
        (line!(), x.norm(3.0, ..)),
        (line!(), x.tile(&[2, 2])),
        (line!(), image.adaptive_max_pool2d([1, 1])),
        (line!(), image.resize_bilinear([3, 3], false)),
    ];
    let lines: BTreeSet<String> = calls.iter().map(|(line, _)| line.to_string()).collect();
    assert!(calls.iter().all(|(_, outcome)| outcome.is_ok()));
    for node in tape.graph().nodes().iter().skip(2) {
        let mut place = node.location.rsplit(':').skip(1);
        let (line, file) = (place.next().unwrap(), place.next().unwrap());
        let is_here = file.ends_with("operation_names.rs") && lines.contains(line);
        assert!(is_here, "{} is recorded at {}", node.name, node.location);
    }
}

#[test]
fn gradients_that_are_not_there_say_why() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::scalar(3.0));
    let unused = tape.variable(Tensor::scalar(1.0));
    let mut gradients = x.square().backward().unwrap();
    let text = |error: tensor::Error| error.to_string();

    let unmet = text(gradients.of(&unused).err().unwrap());
    assert!(
        unmet.starts_with("Gradients::of: ") && unmet.contains("does not depend"),
        "{unmet}"
    );
    let elsewhere = Tape::new().variable(Tensor::scalar(1.0));
    let other = text(gradients.of(&elsewhere).err().unwrap());
    assert!(other.contains("another tape"), "{other}");

    assert_eq!(gradients.take(&x).unwrap().item().unwrap(), 6.0);
    let taken = text(gradients.take(&x).err().unwrap());
    assert!(
        taken.starts_with("Gradients::take: ") && taken.contains("taken before"),
        "{taken}"
    );
    assert!(gradients.get(&x).is_none());
    // What was taken can be found anew.
    gradients.accumulate(&x.exp().backward().unwrap()).unwrap();
    assert_eq!(gradients.of(&x).unwrap().item().unwrap(), 3f64.exp());
}

#[test]
fn messages_of_einsum_name_letters_as_they_are_written() {
    let (a, b) = (full([2, 3]), full([4, 2]));
    let error = Var::einsum("ij,jk->ik", &[&a, &b]).err().unwrap();
    assert!(
        error.to_string().contains("`j` has the sizes 3 and 4"),
        "{error}"
    );
    let error = Var::einsum("...i,...j->...ij", &[&a, &b]).err().unwrap();
    assert!(error.to_string().contains("axis −1 of `...`"), "{error}");
}

#[test]
fn derivatives_of_functions_name_themselves() {
    let (x, wrong) = (full([2]), full([3]));
    let square = |x: &Var<f64>| x.square();
    let sum = |x: &Var<f64>| x.square().sum(..);
    let calls = [
        ("vjp", none(autograd::vjp(square, &x, &wrong))),
        ("jvp", none(autograd::jvp(square, &x, &wrong))),
        (
            "hessian_vector_product",
            none(autograd::hessian_vector_product(sum, &x, &wrong)),
        ),
        ("grad", none(autograd::grad(square)(&x))),
    ];
    for (name, outcome) in calls {
        assert_eq!(outcome.err().unwrap().operation(), name);
    }
}

#[test]
fn anomaly_mode_refuses_a_leaf_that_is_nan() {
    let tape = Tape::new();
    tape.detect_anomalies(true);
    let x = tape.variable(Tensor::scalar(f64::NAN));
    let error = x.backward().err().unwrap().to_string();
    assert!(
        error.contains("NaN") && error.contains("variable"),
        "{error}"
    );
}
