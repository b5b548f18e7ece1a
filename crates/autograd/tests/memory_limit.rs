//! Functions that return a `Result` return one also where memory is short: none panics, and none asks
//! the allocator for what it could only refuse by ending the process.
//!
//! One test, alone in its process, which the limit belongs to.

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};

use autograd::{CrossEntropy, Result, Var};
use cap::Cap;
use tensor::{
    Conv2dOptions, ErrorKind, Pad, Pool2dOptions, SparseMatrix, Tensor, set_memory_limit,
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 1 << 29);

const LIMIT: usize = 1 << 26;
const MANY: usize = 1 << 40;

fn repeated(value: f64, shape: &[usize]) -> Var<f64> {
    Var::from(Tensor::scalar(value).broadcast_to(shape).unwrap())
}

type Call<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

fn call<'a, R>(name: &'static str, f: impl Fn() -> Result<R> + 'a) -> Call<'a> {
    (name, Box::new(move || f().map(drop)))
}

#[test]
fn results_beyond_the_limit_are_errors() {
    set_memory_limit(LIMIT);
    let x = repeated(0.5, &[MANY]);
    let rows = repeated(0.5, &[1 << 20, 1 << 20]);
    let short_rows = repeated(0.5, &[1 << 30, 1 << 10]);
    let images = repeated(0.5, &[1 << 10, 1 << 10, 1 << 10, 4]);
    let matrices = repeated(1.0, &[1 << 30, 4, 4]);
    let (small, one) = (repeated(1.0, &[2]), repeated(1.0, &[1]));
    let channels = repeated(1.0, &[1 << 10]);
    let (filters, bias) = (repeated(0.1, &[3, 3, 4, 4]), repeated(0.1, &[4]));
    let (conv, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
    let mask = Tensor::scalar(true).broadcast_to([MANY]).unwrap();
    let zero = Tensor::from([0_i64]);
    let labels = Tensor::scalar(0_i64).broadcast_to([1 << 20]).unwrap();
    let smoothed = CrossEntropy::new().label_smoothing(0.1);
    let column = repeated(1.0, &[1 << 20, 1]);
    let row = repeated(1.0, &[1, 1 << 20]);
    let vector = repeated(1.0, &[1 << 20]);
    let doubling = SparseMatrix::from_rows(1, (0..2).map(|_| [(0, 1.0)])).unwrap();

    let calls: Vec<Call> = vec![
        call("add", || x.add(&x)),
        call("sub", || x.sub(&x)),
        call("mul", || x.mul(&x)),
        call("div", || x.div(&one)),
        call("rem", || x.rem(&one)),
        call("pow", || x.pow(&one)),
        call("atan2", || x.atan2(&one)),
        call("hypot", || x.hypot(&one)),
        call("maximum", || x.maximum(&one)),
        call("minimum", || x.minimum(&one)),
        call("clamp", || x.clamp(0.0, 1.0)),
        call("polygamma", || x.polygamma(1)),
        call("dropout", || x.dropout(0.5, 1, 1)),
        call("choose", || Var::choose(&mask, &x, &one)),
        call("masked_fill", || x.masked_fill(&mask, 1.0)),
        call("triu", || rows.triu(0)),
        call("tril", || rows.tril(0)),
        call("place", || small.place([MANY], &[(0..2).into()])),
        call("concat", || Var::concat(&[&x, &x], 0)),
        call("stack", || Var::stack(&[&x, &x], 0)),
        call("pad", || small.pad(&[(0, 1 << 42)], Pad::Constant(0.0))),
        call("pad", || small.pad(&[(0, 1 << 42)], Pad::Reflect)),
        call("repeat", || {
            small
                .add(&small)?
                .mul(&repeated(1.0, &[2]))?
                .repeat(MANY, 0)
        }),
        call("roll", || x.roll(1, 0)),
        call("scatter_add", || x.scatter_add(0, &zero, &one)),
        call("index_select", || {
            rows.index_select(0, &Tensor::zeros([1 << 10])?)
        }),
        call("index_add", || x.index_add(0, &zero, &one)),
        call("embedding", || {
            rows.embedding(&Tensor::zeros([1 << 5, 1 << 5])?)
        }),
        call("sort", || x.sort(0, false)),
        call("topk", || x.topk(1, 0)),
        call("norm", || x.norm(1.0, ..)),
        call("norm", || x.norm(f64::INFINITY, ..)),
        call("norm", || x.norm(2.0, ..)),
        call("cumsum", || x.cumsum(0)),
        call("cumprod", || x.cumprod(0)),
        call("softmax", || x.softmax(0)),
        call("log_softmax", || x.log_softmax(0)),
        call("standardize", || short_rows.standardize(-1, 0.0)),
        call("normalize", || {
            short_rows.normalize(-1, 0.0, &channels, &channels)
        }),
        call("layer_norm", || {
            short_rows.layer_norm(&channels, &channels, 0.0)
        }),
        call("batch_norm", || {
            short_rows.batch_norm(&channels, &channels, 0.0)
        }),
        call("batch_norm_inference", || {
            rows.batch_norm_inference([&vector, &vector], &vector, &vector, 0.1)
        }),
        call("group_norm", || {
            short_rows.group_norm(2, &channels, &channels, 0.0)
        }),
        call("squared_error", || x.squared_error(&x)),
        call("absolute_error", || x.absolute_error(&x)),
        call("huber_loss", || x.huber_loss(&x, 1.0)),
        call("hinge_loss", || x.hinge_loss(&x)),
        call("kl_divergence", || rows.kl_divergence(&rows)),
        call("cosine_similarity", || rows.cosine_similarity(&rows)),
        call("binary_cross_entropy", || x.binary_cross_entropy(&x)),
        call("binary_cross_entropy_with_logits", || {
            x.binary_cross_entropy_with_logits(&x)
        }),
        call("cross_entropy", || {
            rows.cross_entropy(&labels, &CrossEntropy::new())
        }),
        call("cross_entropy", || rows.cross_entropy(&labels, &smoothed)),
        call("mean_cross_entropy", || {
            rows.mean_cross_entropy(&labels, &smoothed)
        }),
        call("softmax_cross_entropy", || {
            rows.softmax_cross_entropy(&labels)
        }),
        call("softmax_cross_entropy_with", || {
            rows.softmax_cross_entropy_with(&rows)
        }),
        call("matmul", || column.matmul(&row)),
        call("matmul_bias", || column.matmul_bias(&row, &vector, true)),
        call("outer", || vector.outer(&vector)),
        call("einsum", || Var::einsum("i,j->ij", &[&vector, &vector])),
        call("sparse_along", || {
            repeated(1.0, &[1, MANY]).sparse_along(0, &doubling)
        }),
        call("solve", || matrices.solve(&matrices)),
        call("inverse", || matrices.inverse()),
        call("det", || matrices.det()),
        call("logabsdet", || matrices.logabsdet()),
        call("cholesky", || matrices.cholesky()),
        call("triangular_solve", || {
            matrices.triangular_solve(&matrices, false)
        }),
        call("conv2d", || images.conv2d(&filters, &conv)),
        call("conv2d_bias", || {
            images.conv2d_bias(&filters, &bias, true, &conv)
        }),
        call("conv2d_bias_relu_max_pool2d", || {
            images.conv2d_bias_relu_max_pool2d(&filters, &bias, &conv, &pool)
        }),
        call("max_pool2d", || images.max_pool2d(&pool)),
        call("avg_pool2d", || images.avg_pool2d(&pool)),
        call("resize_nearest", || images.resize_nearest([512, 512])),
        call("resize_bilinear", || {
            images.resize_bilinear([512, 512], true)
        }),
        call("adaptive_avg_pool2d", || {
            images.adaptive_avg_pool2d([512, 512])
        }),
        call("adaptive_max_pool2d", || {
            images.adaptive_max_pool2d([512, 512])
        }),
    ];
    let mut failures = Vec::new();
    for (name, call) in &calls {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Err(error)) if (error.operation(), error.kind()) == (*name, ErrorKind::Size) => {}
            Ok(Err(error)) => failures.push(format!("{name}: {error}")),
            Ok(Ok(())) => failures.push(format!("{name} gives a result")),
            Err(_) => failures.push(format!("{name} panics")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
