//! What needs more memory than tensors may take is an error, or a panic with its text; nothing is
//! asked of the allocator that it could only refuse by ending the process.
//!
//! One test, alone in its process, which the limit belongs to.

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cap::Cap;
use tensor::{
    Conv2dOptions, ErrorKind, Factored, Pad, Pool2dOptions, Result, SparseMatrix, Tensor,
    generator, memory_limit, memory_statistics, release_cached_memory, set_memory_limit,
};

/// An allocator with more than the limit, and less than the views below would need: a list that
/// grows past it ends the process.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 1 << 29);

const LIMIT: usize = 1 << 26;
const MANY: usize = 1 << 40;

fn repeated<T: tensor::Element>(value: T, shape: &[usize]) -> Tensor<T> {
    Tensor::scalar(value).broadcast_to(shape).unwrap()
}

type Call<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);
type Panic<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn call<'a, R>(name: &'static str, f: impl Fn() -> Result<R> + 'a) -> Call<'a> {
    (name, Box::new(move || f().map(drop)))
}

fn panic<'a, R>(name: &'static str, f: impl Fn() -> R + 'a) -> Panic<'a> {
    (name, Box::new(move || drop(f())))
}

#[test]
fn results_beyond_the_limit_are_errors() {
    assert!(memory_limit() > 0);
    set_memory_limit(LIMIT);
    assert_eq!(memory_limit(), LIMIT);

    let x = repeated(0.5_f32, &[MANY]);
    let rows = repeated(0.5_f32, &[1 << 20, 1 << 20]);
    let short_rows = repeated(0.5_f32, &[1 << 30, 1 << 10]);
    let pairs = Tensor::from([1.0_f32, 2.0])
        .broadcast_to([MANY / 2, 2])
        .unwrap();
    let images = repeated(0.5_f32, &[1 << 10, 1 << 10, 1 << 10, 4]);
    let mask = repeated(true, &[MANY]);
    let bytes = repeated(1_u8, &[MANY]);
    let small = Tensor::<f32>::ones([2]).unwrap();
    let one = Tensor::<f32>::ones([1]).unwrap();
    let filters = Tensor::<f32>::ones([3, 3, 4, 4]).unwrap();
    let bias = Tensor::<f32>::ones([4]).unwrap();
    let (conv, pool) = (Conv2dOptions::new(), Pool2dOptions::new([2, 2]));
    let channels = Tensor::<f32>::ones([1 << 10]).unwrap();
    let zero = Tensor::from([0_i64]);
    let matrices = repeated(1.0_f32, &[1 << 30, 4, 4]);
    let thin = |shape: [usize; 2]| repeated(1.0_f32, &shape);
    let doubling = SparseMatrix::from_rows(1, (0..2).map(|_| [(0, 1.0)])).unwrap();

    let calls: Vec<Call> = vec![
        call("zeros", || Tensor::<f32>::zeros([MANY])),
        call("ones", || Tensor::<f64>::ones([MANY])),
        call("full", || Tensor::full([MANY], 1_u8)),
        call("from_fn", || Tensor::from_fn([MANY], |_| 1_i32)),
        call("eye", || Tensor::<f32>::eye(1 << 20)),
        call("arange", || Tensor::arange(0.0, MANY as f64, 1.0)),
        call("linspace", || Tensor::linspace(0.0_f32, 1.0, MANY)),
        call("uniform", || {
            Tensor::uniform([MANY], 0.0_f32..1.0, &mut generator(1))
        }),
        call("normal", || {
            Tensor::normal([MANY], 0.0_f32, 1.0, &mut generator(1))
        }),
        call("permutation", || {
            Tensor::permutation(MANY, &mut generator(1))
        }),
        call("dropout_mask", || Tensor::dropout_mask([MANY], 0.5, 1, 1)),
        call("one_hot", || zero.one_hot::<f32>(MANY)),
        call("one_hot", || bytes.one_hot::<f32>(2)),
        call("contiguous", || x.try_contiguous("contiguous")),
        call("make_mut", || x.clone().try_make_mut("make_mut").map(drop)),
        call("to_vec", || x.try_to_vec("to_vec")),
        call("cast", || bytes.try_cast::<f32>("cast")),
        call("map", || x.try_map("map", |x| x)),
        call("zip_map", || x.zip_map(&one, |a, _| a)),
        call("add", || x.add(&x)),
        call("maximum", || x.maximum(&one)),
        call("pow", || x.pow(&one)),
        call("clamp", || x.clamp(0.0, 1.0)),
        call("polygamma", || x.polygamma(1)),
        call("eq", || Tensor::eq(&x, &one)),
        call("lt", || x.lt(&one)),
        call("and", || mask.and(&mask)),
        call("choose", || mask.choose(&x, &one)),
        call("masked_fill", || x.masked_fill(&mask, 1.0)),
        call("tril", || rows.tril(0)),
        call("triu", || rows.t().triu(0)),
        call("dropout", || x.dropout(0.5, 1, 1)),
        call("reshape", || pairs.t().reshape([MANY])),
        call("place", || small.place([MANY], &[(0..2).into()])),
        call("concat", || Tensor::concat(&[&x, &x], 0)),
        call("stack", || Tensor::stack(&[&x, &x], 0)),
        call("chunk", || x.chunk(MANY, 0)),
        call("pad", || small.pad(&[(0, 1 << 42)], Pad::Constant(0.0))),
        call("pad", || small.pad(&[(1 << 42, 0)], Pad::Reflect)),
        call("pad", || x.pad(&[(1, 1)], Pad::Edge)),
        call("repeat", || small.repeat(MANY, 0)),
        call("tile", || small.tile(&[MANY])),
        call("roll", || x.roll(1, 0)),
        call("gather", || {
            rows.gather(1, &repeated(0, &[1 << 5, 1 << 20]))
        }),
        call("index_select", || {
            rows.index_select(0, &repeated(0, &[1 << 10]))
        }),
        call("scatter_add", || x.scatter_add(0, &zero, &one)),
        call("index_add", || x.index_add(0, &zero, &one)),
        call("sort", || x.sort(0, false)),
        call("argsort", || x.argsort(0, false)),
        call("topk", || x.topk(1, 0)),
        call("nonzero", || repeated(1_u8, &[1 << 24]).nonzero()),
        call("cumsum", || x.cumsum(0)),
        call("cumprod", || x.cumprod(0)),
        call("softmax", || x.softmax(0)),
        call("log_softmax", || x.log_softmax(0)),
        call("argmax", || x.argmax(0)),
        call("argmin", || rows.argmin(0)),
        call("softmax_cross_entropy", || {
            rows.softmax_cross_entropy(&repeated(0, &[1 << 20]))
        }),
        call("softmax_cross_entropy_gradient", || {
            rows.softmax_cross_entropy_gradient(&repeated(0, &[1 << 20]))
        }),
        call("softmax_cross_entropy_with", || {
            rows.softmax_cross_entropy_with(&rows)
        }),
        call("softmax_cross_entropy_with_gradient", || {
            rows.softmax_cross_entropy_with_gradient(&rows)
        }),
        call("standardize", || short_rows.standardize(-1, 0.0)),
        call("standardize_gradient", || {
            rows.standardize_gradient(&rows, 0, 0.0)
        }),
        call("normalize", || {
            short_rows.normalize(-1, 0.0, &channels, &channels)
        }),
        call("normalize_gradients", || {
            short_rows.normalize_gradients(&short_rows, -1, 0.0, &channels)
        }),
        call("outer", || {
            thin([1 << 20, 1])
                .index_axis(1, 0)?
                .outer(&thin([1 << 20, 1]).index_axis(1, 0)?)
        }),
        call("matmul", || thin([1 << 20, 1]).matmul(&thin([1, 1 << 20]))),
        call("matmul_bias", || {
            thin([1 << 20, 1]).matmul_bias(&thin([1, 1 << 20]), &repeated(1.0, &[1 << 20]), true)
        }),
        call("Factored::into_tensor", || {
            Factored::product(thin([1 << 20, 1]), thin([1, 1 << 20]))?.into_tensor()
        }),
        call("sparse_along", || {
            repeated(1.0_f32, &[1, MANY]).sparse_along(0, &doubling)
        }),
        call("update", || x.clone().update(&x, [], |p, _, []| (p, []))),
        call("solve", || matrices.solve(&matrices)),
        call("inverse", || matrices.inverse()),
        call("det", || matrices.det()),
        call("logabsdet", || matrices.logabsdet()),
        call("cholesky", || matrices.cholesky()),
        call("triangular_solve", || {
            matrices.triangular_solve(&matrices, false)
        }),
        call("conv2d", || images.conv2d(&filters, &conv)),
        call("conv2d_fused", || {
            images.conv2d_fused(&filters, Some(&bias), true, &conv)
        }),
        call("max_pool2d", || images.max_pool2d(&pool)),
        call("max_pool2d_values", || images.max_pool2d_values(&pool)),
        call("max_pool2d_gated", || images.max_pool2d_gated(&pool)),
        call("avg_pool2d", || images.avg_pool2d(&pool)),
        call("avg_pool2d_gradient", || {
            repeated(1.0_f32, &[1 << 10, 512, 512, 4]).avg_pool2d_gradient(images.shape(), &pool)
        }),
    ];
    for (name, call) in &calls {
        let error = call().expect_err(name);
        assert_eq!(
            (error.operation(), error.kind()),
            (*name, ErrorKind::Size),
            "{error}"
        );
        let text = error.to_string();
        let facts = ["bytes", "held by tensors", "limit", &LIMIT.to_string()];
        assert!(facts.iter().all(|fact| text.contains(fact)), "{text}");
    }

    let panics: Vec<Panic> = vec![
        panic("contiguous", || x.contiguous()),
        panic("make_mut", || x.clone().make_mut()[0]),
        panic("to_vec", || x.to_vec()),
        panic("cast", || bytes.cast::<f32>()),
        panic("map", || x.map(|x| x)),
        panic("exp", || x.exp()),
        panic("relu", || x.relu()),
        panic("powf", || x.powf(2.0)),
        panic("is_nan", || x.is_nan()),
        panic("not", || mask.not()),
        panic("add", || &x + &x),
        panic("mul", || &x * 2.0),
        panic("neg", || -&x),
    ];
    for (name, call) in &panics {
        let payload = catch_unwind(AssertUnwindSafe(call)).expect_err(name);
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(
            text.starts_with(&format!("{name}: memory")),
            "{name}: {text}"
        );
        assert!(text.contains("limit"), "{text}");
    }

    // Views and sums of them need no memory, whatever their size.
    assert_eq!(x.slice_axis(0, 5..).unwrap().len(), MANY - 5);
    assert_eq!(
        rows.index_axis(0, 7)
            .unwrap()
            .max(..)
            .unwrap()
            .item()
            .unwrap(),
        0.5
    );

    // What is kept for reuse makes room for what is needed, and what is held counts.
    release_cached_memory();
    let half = Tensor::<u8>::zeros([LIMIT / 2 - (1 << 20)]).unwrap();
    drop(Tensor::<u8>::zeros([LIMIT / 4]).unwrap());
    let other = Tensor::<u8>::zeros([LIMIT / 2 - (1 << 20)]).unwrap();
    assert!(Tensor::<u8>::zeros([LIMIT / 4]).is_err());
    let held = memory_statistics();
    assert!(held.live_bytes + held.cached_bytes <= LIMIT, "{held:?}");
    drop((half, other));
    assert!(Tensor::<u8>::zeros([LIMIT - (4 << 20)]).is_ok());
}
