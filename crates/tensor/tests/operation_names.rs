//! Every error names the function that was called, not a part that the function is made of.

use std::collections::BTreeSet;
use std::path::Path;

use tensor::matmul::{MatrixMut, MatrixRef};
use tensor::{
    Axes, Conv2dOptions, Factored, Pad, Par, Pool2dOptions, Result, Shape, Slice, SparseMatrix,
    Tensor, generator, vec_with_capacity,
};

/// Calls of functions by name, each with an argument that it refuses.
type Calls = Vec<(&'static str, Result<()>)>;

const HUGE: usize = usize::MAX;

fn full(shape: impl Into<Shape>) -> Tensor<f64> {
    Tensor::ones(shape).unwrap()
}

fn none<R>(result: Result<R>) -> Result<()> {
    result.map(drop)
}

fn constructors() -> Calls {
    let mut random = generator(1);
    vec![
        ("from_vec", none(Tensor::from_vec(vec![1.0], [2]))),
        ("full", none(Tensor::full([HUGE, 2], 1.0))),
        ("zeros", none(Tensor::<f32>::zeros([HUGE, 2]))),
        ("ones", none(Tensor::<f32>::ones([HUGE, 2]))),
        ("eye", none(Tensor::<f32>::eye(HUGE))),
        ("from_fn", none(Tensor::from_fn([HUGE, 2], |_| 1.0))),
        ("arange", none(Tensor::arange(0.0, 1.0, 0.0))),
        ("linspace", none(Tensor::linspace(0.0, 1.0, HUGE))),
        ("uniform", none(Tensor::uniform([2], 1.0..0.0, &mut random))),
        ("normal", none(Tensor::normal([2], 0.0, -1.0, &mut random))),
        ("permutation", none(Tensor::permutation(HUGE, &mut random))),
        ("dropout_mask", none(Tensor::dropout_mask([2], 2.0, 0, 0))),
        ("one_hot", none(Tensor::from([-1_i64]).one_hot::<f32>(2))),
        ("one_hot", none(Tensor::from([2_u8]).one_hot::<f32>(2))),
        ("one_hot", none(Tensor::from([0_i64]).one_hot::<f32>(HUGE))),
        (
            "vec_with_capacity",
            none(vec_with_capacity::<f64>("vec_with_capacity", HUGE)),
        ),
    ]
}

fn elementwise() -> Calls {
    let (a, b) = (full([2]), full([3]));
    let mask = |x: &Tensor<f64>| x.is_nan();
    type Binary = fn(&Tensor<f64>, &Tensor<f64>) -> Result<Tensor<f64>>;
    let binary: [(&str, Binary); 10] = [
        ("add", Tensor::add),
        ("sub", Tensor::sub),
        ("mul", Tensor::mul),
        ("div", Tensor::div),
        ("rem", Tensor::rem),
        ("maximum", Tensor::maximum),
        ("minimum", Tensor::minimum),
        ("pow", Tensor::pow),
        ("atan2", Tensor::atan2),
        ("hypot", Tensor::hypot),
    ];
    let binary = binary.map(|(name, function)| (name, none(function(&a, &b))));
    let mut calls = Calls::from(binary);
    calls.extend([
        ("clamp", none(a.clamp(1.0, 0.0))),
        ("zip_map", none(a.zip_map(&b, |a, _| a))),
        ("polygamma", none(a.polygamma(1000))),
        ("eq", none(Tensor::eq(&a, &b))),
        ("ne", none(Tensor::ne(&a, &b))),
        ("lt", none(a.lt(&b))),
        ("le", none(a.le(&b))),
        ("gt", none(a.gt(&b))),
        ("ge", none(a.ge(&b))),
        ("and", none(mask(&a).and(&mask(&b)))),
        ("or", none(mask(&a).or(&mask(&b)))),
        ("choose", none(mask(&a).choose(&a, &b))),
        ("masked_fill", none(a.masked_fill(&mask(&b), 0.0))),
        ("dropout", none(a.dropout(2.0, 0, 0))),
        ("update", none(full([2]).update(&b, [], |p, _, []| (p, [])))),
    ]);
    calls
}

fn views() -> Calls {
    let x = full([2, 3]);
    let no_step = Slice::from(..).step(0);
    let axes = || Axes::from(5);
    vec![
        ("slice", none(x.slice(&[no_step]))),
        ("slice_axis", none(x.slice_axis(0, no_step))),
        ("slice_axis", none(x.slice_axis(5, ..))),
        ("index_axis", none(x.index_axis(0, 2))),
        ("permute", none(x.permute(&[0, 0]))),
        ("permute", none(x.permute(&[0, 7]))),
        ("swap_axes", none(x.swap_axes(0, 2))),
        ("reshape", none(x.reshape([5]))),
        ("flatten", none(x.flatten(3))),
        ("broadcast_to", none(x.broadcast_to([2, 4]))),
        ("expand_dims", none(x.expand_dims(7))),
        ("squeeze", none(x.squeeze(0))),
        ("flip", none(x.flip([0, 0]))),
        ("place", none(x.place([2, 2], &[no_step]))),
        ("place", none(x.place([HUGE, 2], &[]))),
        ("item", none(x.item())),
        ("get", none(x.get(&[2, 0]))),
        ("split", none(x.split(&[1, 3], 1))),
        ("chunk", none(x.chunk(0, 1))),
        ("chunk", none(x.chunk(2, 2))),
        (
            "checked_elements",
            none(Shape::from([HUGE, 2]).checked_elements("checked_elements", 1)),
        ),
        (
            "broadcast",
            none(x.shape().broadcast("broadcast", &Shape::from([4]))),
        ),
        ("axis", none(x.shape().axis("axis", 5))),
        ("mask", none(axes().mask("mask", x.shape()))),
        ("reduced", none(axes().reduced("reduced", x.shape()))),
    ]
}

fn joins_and_indices() -> Calls {
    let (x, y) = (full([2, 3]), full([3, 3]));
    let index = Tensor::from([5_i64]);
    let wide = full([1; 64]);
    vec![
        ("concat", none(Tensor::concat(&[&x, &full([2])], 0))),
        ("concat", none(Tensor::<f64>::concat(&[], 0))),
        ("stack", none(Tensor::stack(&[&x, &y], 0))),
        ("stack", none(Tensor::stack(&[&x], 7))),
        ("stack", none(Tensor::stack(&[&wide, &wide], 0))),
        ("pad", none(x.pad(&[(1, 1)], Pad::Edge))),
        ("pad", none(x.pad(&[(HUGE, 1); 2], Pad::Constant(0.0)))),
        ("repeat", none(x.repeat(2, 5))),
        ("repeat", none(x.repeat(HUGE, 0))),
        ("repeat", none(wide.repeat(2, 0))),
        ("tile", none(x.tile(&[HUGE, 1]))),
        ("tile", none(x.tile(&[1; 40]))),
        ("roll", none(x.roll(1, 2))),
        ("gather", none(x.gather(0, &index))),
        ("index_select", none(x.index_select(0, &index))),
        ("index_select", none(x.index_select(4, &index))),
        ("scatter_add", none(x.scatter_add(0, &index, &x))),
        ("index_add", none(x.index_add(0, &index, &x))),
        ("sort", none(x.sort(2, false))),
        ("argsort", none(x.argsort(2, false))),
        ("topk", none(x.topk(1, 2))),
        ("topk", none(x.topk(4, 0))),
        ("tril", none(full([2]).tril(0))),
        ("triu", none(full([2]).triu(0))),
    ]
}

fn reductions() -> Calls {
    let x = full([2, 3]);
    let mask = x.is_nan();
    let labels = Tensor::from([0_i64, 9]);
    vec![
        ("sum", none(x.sum(2))),
        ("sum_to_shape", none(x.sum_to_shape([4]))),
        ("prod", none(x.prod(2))),
        ("max", none(x.max(2))),
        ("max", none(full([0]).max(..))),
        ("min", none(x.min(2))),
        ("mean", none(x.mean(2))),
        ("var", none(x.var(2, 0))),
        ("std", none(x.std(2, 0))),
        ("logsumexp", none(x.logsumexp(2))),
        ("any", none(mask.any(2))),
        ("all", none(mask.all(2))),
        ("count", none(mask.count(2))),
        ("argmax", none(x.argmax(2))),
        ("argmin", none(full([2, 0]).argmin(1))),
        ("cumsum", none(x.cumsum(2))),
        ("cumprod", none(x.cumprod(2))),
        ("softmax", none(x.softmax(2))),
        ("log_softmax", none(x.log_softmax(2))),
        (
            "softmax_cross_entropy",
            none(x.softmax_cross_entropy(&labels)),
        ),
        (
            "softmax_cross_entropy_gradient",
            none(x.softmax_cross_entropy_gradient(&labels)),
        ),
        (
            "softmax_cross_entropy_with",
            none(x.softmax_cross_entropy_with(&full([2]))),
        ),
        (
            "softmax_cross_entropy_with_gradient",
            none(x.softmax_cross_entropy_with_gradient(&full([2]))),
        ),
        ("standardize", none(x.standardize(2, 0.0))),
        (
            "standardize_gradient",
            none(x.standardize_gradient(&full([2]), 0, 0.0)),
        ),
        (
            "normalize",
            none(x.normalize(0, 0.0, &full([2]), &full([2]))),
        ),
        (
            "normalize",
            none(x.normalize(0, 0.0, &full([3]), &full([2]))),
        ),
        (
            "normalize_gradients",
            none(x.normalize_gradients(&x, 5, 0.0, &full([3]))),
        ),
    ]
}

fn products() -> Calls {
    let x = full([2, 3]);
    let (square, vector) = (full([2, 2]), full([3]));
    let one_row = SparseMatrix::from_rows(1, [[(0, 1.0)]].into_iter()).unwrap();
    let wide =
        SparseMatrix::<f64>::from_rows(HUGE, std::iter::empty::<[(usize, f64); 0]>()).unwrap();
    let thin = |shape: [usize; 2]| Tensor::scalar(1.0).broadcast_to(shape).unwrap();
    let large = Factored::product(thin([1 << 40, 1]), thin([1, 1 << 40])).unwrap();
    let level = tensor::Level::best();
    let data = [1.0_f64; 6];
    let mut out = [0.0_f64; 4];
    let matrix = |rows, columns| MatrixRef::row_major(&data, [rows, columns]).unwrap();
    let product = tensor::matmul::gemm(
        matrix(2, 3),
        matrix(2, 2),
        MatrixMut::row_major(&mut out, [2, 2]).unwrap(),
        tensor::matmul::Accum::Replace,
        tensor::matmul::Epilogue::NONE,
        Par::Sequential,
        level,
    );
    vec![
        ("matmul", none(x.matmul(&x))),
        ("matmul", none(x.matmul(&Tensor::scalar(1.0)))),
        ("matmul", none(full([2, 2, 3]).matmul(&full([4, 3, 2])))),
        ("dot", none(x.dot(&vector))),
        ("outer", none(x.outer(&vector))),
        ("matmul_bias", none(x.matmul_bias(&x, &vector, false))),
        ("product", none(Factored::product(x.clone(), x.clone()))),
        ("into_tensor", none(large.into_tensor())),
        ("sparse_along", none(x.sparse_along(1, &one_row))),
        (
            "from_rows",
            none(SparseMatrix::from_rows(1, [[(1, 1.0)]].into_iter())),
        ),
        ("transposed", none(wide.transposed())),
        ("solve", none(x.solve(&vector))),
        ("solve", none(square.solve(&vector))),
        ("solve", none(full([3, 2, 2]).solve(&full([4, 2, 1])))),
        ("inverse", none(x.inverse())),
        ("inverse", none(square.inverse())),
        ("det", none(x.det())),
        ("logabsdet", none(x.logabsdet())),
        ("cholesky", none(x.cholesky())),
        ("cholesky", none(square.cholesky())),
        ("triangular_solve", none(x.triangular_solve(&vector, false))),
        ("gemm", product),
        ("row_major", none(MatrixRef::row_major(&data, [3, 3]))),
        (
            "row_major",
            none(MatrixMut::row_major(&mut [0.0_f64; 2], [3, 3])),
        ),
    ]
}

fn images() -> Calls {
    let (x, w, bias) = (full([1, 4, 4, 2]), full([3, 3, 2, 2]), full([2]));
    let bad = Conv2dOptions::new().stride([0, 1]);
    let (fine, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
    let bad_pool = Pool2dOptions::new([0, 2]);
    let (y, indices) = x.max_pool2d(&pool).unwrap();
    vec![
        ("conv2d", none(x.conv2d(&w, &bad))),
        (
            "conv2d_fused",
            none(x.conv2d_fused(&w, Some(&full([3])), true, &fine)),
        ),
        (
            "conv2d_input_gradient",
            none(x.conv2d_input_gradient(&w, &[1, 4, 4, 2], &fine)),
        ),
        (
            "conv2d_input_gradient_gated",
            none(x.conv2d_input_gradient_gated(&w, &x, &fine)),
        ),
        (
            "conv2d_filter_gradient",
            none(x.conv2d_filter_gradient(&x, &[3, 3, 2, 2], &fine)),
        ),
        (
            "conv2d_filter_and_bias_gradient",
            none(x.conv2d_filter_and_bias_gradient(&x, &[3, 3, 2, 2], &bad)),
        ),
        (
            "conv2d_relu_max_pool2d",
            none(x.conv2d_relu_max_pool2d(&w, &full([3]), &fine, &pool)),
        ),
        (
            "conv2d_relu_max_pool2d",
            none(x.conv2d_relu_max_pool2d(&w, &bias, &fine, &bad_pool)),
        ),
        (
            "conv2d_relu_max_pool2d_gated",
            none(x.conv2d_relu_max_pool2d_gated(&w, &bias, &bad, &pool)),
        ),
        (
            "conv2d_input_gradient_pooled",
            none(y.conv2d_input_gradient_pooled(&indices, &w, &[1, 4, 4, 2], None, &fine, &pool)),
        ),
        (
            "conv2d_filter_and_bias_gradient_pooled",
            none(x.conv2d_filter_and_bias_gradient_pooled(
                &y,
                &indices,
                &[3, 3, 2, 2],
                &fine,
                &pool,
            )),
        ),
        ("max_pool2d", none(x.max_pool2d(&bad_pool))),
        ("max_pool2d_gated", none(x.max_pool2d_gated(&bad_pool))),
        ("max_pool2d_values", none(x.max_pool2d_values(&bad_pool))),
        (
            "max_pool2d_gradient",
            none(x.max_pool2d_gradient(&indices, &[1, 4, 4, 2], &pool)),
        ),
        (
            "max_pool2d_gradient_gated",
            none(x.max_pool2d_gradient_gated(&indices, &x, &pool)),
        ),
        (
            "max_pool2d_gather",
            none(x.max_pool2d_gather(&indices, &bad_pool)),
        ),
        ("avg_pool2d", none(x.avg_pool2d(&bad_pool))),
        (
            "avg_pool2d_gradient",
            none(x.avg_pool2d_gradient(&[1, 4, 4, 2], &pool)),
        ),
    ]
}

fn all() -> Calls {
    [
        constructors(),
        elementwise(),
        views(),
        joins_and_indices(),
        reductions(),
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
            Err(error) => {
                // Functions of other types than tensors name the type too.
                let called = error.operation().rsplit("::").next().unwrap_or_default();
                if called != name {
                    failures.push(format!("{name}: {error}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The public functions of the sources that return a `Result`.
fn public_functions() -> BTreeSet<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            for signature in source.split("pub fn ").skip(1) {
                let signature = signature.split('{').next().unwrap_or_default();
                let gives_result = (signature.rsplit_once("->"))
                    .is_some_and(|(_, output)| output.contains("Result<"));
                let name = signature.split(['(', '<']).next().unwrap_or_default();
                // Templates of macros, and functions that are given the operation's name.
                if gives_result && !name.starts_with('$') && !name.starts_with("try_") {
                    names.insert(name.to_string());
                }
            }
        }
    }
    names
}

#[test]
fn every_function_that_can_fail_is_called_here() {
    // What only looks at the options of an operation, or fails on another machine, or for want of
    // memory alone.
    let elsewhere = [
        "new",
        "output_shape",
        "algorithm",
        "without_unpooled",
        "reads_pooled_gradients",
        "limit",
        "nonzero",
    ];
    let called: BTreeSet<String> = all().iter().map(|(name, _)| name.to_string()).collect();
    let missing: Vec<String> = public_functions()
        .into_iter()
        .filter(|name| !called.contains(name) && !elsewhere.contains(&&name[..]))
        .collect();
    assert!(missing.is_empty(), "not called: {missing:?}");
}
