//! Every reduction over all subsets of axes of views of every kind, against element-by-element
//! oracles; accuracy, special values, and the same bits on any number of threads.

use std::collections::BTreeMap;

use crate::{Axes, Element, Float, Shape, Slice, Tensor, keepdims};

/// Repeatable numbers without pattern, between −1 and 1.
fn noise<T: Element>(shape: impl Into<Shape>) -> Tensor<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    Tensor::from_fn(shape, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
    })
    .unwrap()
}

/// Views of every kind, small ones and some that cross the borders of tiles and blocks.
fn views<T: Element>() -> Vec<Tensor<T>> {
    let small: Tensor<T> = noise([3, 4, 5]);
    let row: Tensor<T> = noise([1, 6]);
    let mut views = vec![
        Tensor::scalar(T::from_f64(0.75)),
        small.clone(),
        small.t(),
        small.permute(&[2, 0, 1]).unwrap(),
        small.flip(..).unwrap(),
        small.flip(1).unwrap().swap_axes(0, 2).unwrap(),
        small
            .slice(&[(..).into(), Slice::from(..).step(-2), (1..4).into()])
            .unwrap(),
        row.broadcast_to([5, 6]).unwrap(),
        row.t().broadcast_to([6, 7]).unwrap().t(),
        Tensor::scalar(T::from_f64(-0.5))
            .broadcast_to([2, 3])
            .unwrap(),
        noise([2, 1, 3, 1]),
        noise([0, 3]),
        noise([3, 0, 2]),
        noise([2000]),
        noise([2000]).slice(&[Slice::from(..).step(3)]).unwrap(),
        noise([300, 7]),
        noise([300, 7]).slice_axis(1, 1..6).unwrap(),
        noise([37, 85]),
        noise([37, 85]).t(),
        noise([6, 50, 3]),
        noise([2, 9, 11, 20]),
    ];
    views.push(noise([30, 600]));
    views
}

/// The subsets of the axes of a tensor.
fn subsets(rank: usize) -> Vec<Vec<isize>> {
    let all = 0..1_u32 << rank;
    all.map(|bits| {
        (0..rank as isize)
            .filter(|axis| bits >> axis & 1 == 1)
            .collect()
    })
    .collect()
}

/// The elements that enter each result, in order.
fn groups<T: Element>(x: &Tensor<T>, axes: &Axes) -> (Shape, Vec<Vec<T>>) {
    let mask = axes.mask("test", x.shape()).unwrap();
    let shape = axes.reduced("test", x.shape()).unwrap();
    let mut groups: BTreeMap<Vec<usize>, Vec<T>> = BTreeMap::new();
    let kept_shape: Shape = x
        .shape()
        .iter()
        .zip(&mask)
        .map(|(&size, &reduced)| if reduced { 1 } else { size })
        .collect();
    Tensor::from_fn(kept_shape, |at| {
        groups.insert(at.to_vec(), Vec::new());
        0_u8
    })
    .unwrap();
    let mut values = x.iter();
    Tensor::from_fn(x.shape(), |at| {
        let key: Vec<usize> = at
            .iter()
            .zip(&mask)
            .map(|(&i, &reduced)| if reduced { 0 } else { i })
            .collect();
        groups.get_mut(&key).unwrap().push(values.next().unwrap());
        0_u8
    })
    .unwrap();
    (shape, groups.into_values().collect())
}

/// Compares `reduction` with `oracle` for all views and axes.
fn check<T: Element, B: Element>(
    reduction: impl Fn(&Tensor<T>, Axes) -> crate::Result<Tensor<B>>,
    oracle: impl Fn(&[T]) -> f64,
    tolerance: f64,
) {
    for x in views::<T>() {
        for axes in subsets(x.rank()) {
            let axes = Axes::from(&axes[..]);
            for axes in [axes.clone(), keepdims(axes)] {
                let (shape, groups) = groups(&x, &axes);
                let result = reduction(&x, axes.clone()).unwrap();
                assert_eq!(result.shape(), &shape[..], "{} {axes:?}", x.shape());
                assert!(result.is_contiguous());
                for (result, group) in result.iter().zip(&groups) {
                    let (result, expected) = (result.to_f64(), oracle(group));
                    let close = (result - expected).abs() <= tolerance
                        || result == expected
                        || result.is_nan() && expected.is_nan();
                    assert!(
                        close,
                        "{} {:?} {axes:?}: {result} is not {expected}",
                        x.shape(),
                        x.strides()
                    );
                }
            }
        }
    }
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64], correction: f64) -> f64 {
    let mean = mean(x);
    let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    let freedom = x.len() as f64 - correction;
    if freedom > 0.0 {
        squares / freedom
    } else {
        f64::NAN
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

#[test]
fn sums_and_means_agree_with_naive_sums() {
    check(
        |x: &Tensor<f64>, axes| x.sum(axes),
        |x| x.iter().sum(),
        1e-12,
    );
    check(
        |x: &Tensor<f32>, axes| x.sum(axes),
        |x| wide(x).iter().sum(),
        1e-5,
    );
    check(|x: &Tensor<f64>, axes| x.mean(axes), mean, 1e-12);
    check(
        |x: &Tensor<f32>, axes| x.mean(axes),
        |x| mean(&wide(x)),
        1e-6,
    );
}

#[test]
fn integers_add_and_multiply_exactly() {
    let scaled = |x: &Tensor<f64>| (x * 1e6).cast::<i32>();
    check(
        |x: &Tensor<f64>, axes| scaled(x).sum(axes),
        |x| {
            let sum = x
                .iter()
                .fold(0_i32, |sum, x| sum.wrapping_add((x * 1e6) as i32));
            f64::from(sum)
        },
        0.0,
    );
    let x = Tensor::from([200_u8, 100]);
    assert_eq!(x.sum(..).unwrap().item().unwrap(), 44);
    assert_eq!(x.prod(..).unwrap().item().unwrap(), 32);
    assert_eq!(x.cast::<i64>().sum(..).unwrap().item().unwrap(), 300);
}

#[test]
fn products_agree_with_naive_products() {
    // Powers of two multiply exactly in any order.
    let powers = |x: f64| if x < 0.0 { 0.5 } else { -2.0 };
    check(
        |x: &Tensor<f64>, axes| x.map(powers).prod(axes),
        |x| x.iter().map(|&x| powers(x)).product(),
        0.0,
    );
    // 2³⁰⁰ does not fit an `f32` on the way.
    let both = Tensor::<f32>::from_fn([600], |at| if at[0] < 300 { 2.0 } else { 0.5 }).unwrap();
    assert_eq!(both.prod(..).unwrap().item().unwrap(), 1.0);
}

#[test]
fn variances_agree_with_two_passes() {
    for correction in [0, 1] {
        check(
            |x: &Tensor<f64>, axes| x.var(axes, correction),
            |x| variance(x, correction as f64),
            1e-12,
        );
        check(
            |x: &Tensor<f32>, axes| x.std(axes, correction),
            |x| variance(&wide(x), correction as f64).sqrt(),
            1e-6,
        );
    }
}

#[test]
fn extremes_agree_with_naive_search() {
    let whole = |x: &Tensor<f64>| x.shape().iter().all(|&size| size > 0);
    let largest = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = |x: &[f64]| x.iter().copied().fold(f64::INFINITY, f64::min);
    let zeros = |x: &Tensor<f64>, axes| x.sum(axes);
    check(
        |x, axes| {
            if whole(x) {
                x.max(axes)
            } else {
                zeros(x, axes)
            }
        },
        |x| if x.is_empty() { 0.0 } else { largest(x) },
        0.0,
    );
    check(
        |x, axes| {
            if whole(x) {
                x.min(axes)
            } else {
                zeros(x, axes)
            }
        },
        |x| if x.is_empty() { 0.0 } else { smallest(x) },
        0.0,
    );
}

#[test]
fn logsumexp_agrees_with_the_definition() {
    check(
        |x: &Tensor<f64>, axes| x.logsumexp(axes),
        |x| x.iter().map(|x| x.exp()).sum::<f64>().ln(),
        1e-12,
    );
    check(
        |x: &Tensor<f32>, axes| x.logsumexp(axes),
        |x| wide(x).iter().map(|x| x.exp()).sum::<f64>().ln(),
        3e-6,
    );
}

#[test]
fn truth_values_reduce() {
    let positive = |x: &Tensor<f64>| x.gt(&Tensor::scalar(0.9)).unwrap();
    check(
        |x, axes| positive(x).any(axes),
        |x| x.iter().any(|&x| x > 0.9).into(),
        0.0,
    );
    check(
        |x, axes| positive(x).not().all(axes),
        |x| x.iter().all(|&x| x <= 0.9).into(),
        0.0,
    );
    check(
        |x, axes| positive(x).count(axes),
        |x| x.iter().filter(|&&x| x > 0.9).count() as f64,
        0.0,
    );
}

/// `function(lane)` along each axis of each view, against `oracle(lane)`.
fn check_along<T: Element, B: Element>(
    function: impl Fn(&Tensor<T>, isize) -> crate::Result<Tensor<B>>,
    oracle: impl Fn(&[T]) -> Vec<f64>,
    tolerance: f64,
) {
    for x in views::<T>() {
        for axis in 0..x.rank() as isize {
            let result = function(&x, axis).unwrap();
            assert_eq!(result, function(&x, axis - x.rank() as isize).unwrap());
            let (_, expected) = groups(&x, &Axes::from(axis));
            let (_, result) = groups(&result, &Axes::from(axis));
            for (result, lane) in result.iter().zip(&expected) {
                let expected = oracle(lane);
                assert_eq!(result.len(), expected.len());
                for (result, expected) in result.iter().zip(expected) {
                    let close = (result.to_f64() - expected).abs() <= tolerance;
                    assert!(close, "{} {axis}: {result} is not {expected}", x.shape());
                }
            }
        }
    }
}

#[test]
fn scans_agree_with_naive_loops() {
    let scan = |x: &[f64], empty: f64, join: fn(f64, f64) -> f64| -> Vec<f64> {
        let mut state = empty;
        x.iter()
            .map(|&x| {
                state = join(state, x);
                state
            })
            .collect()
    };
    check_along(
        |x: &Tensor<f64>, axis| x.cumsum(axis),
        |x| scan(x, 0.0, |a, b| a + b),
        1e-12,
    );
    check_along(
        |x: &Tensor<f32>, axis| x.cumsum(axis),
        |x| scan(&wide(x), 0.0, |a, b| a + b),
        3e-6,
    );
    check_along(
        |x: &Tensor<f64>, axis| x.cumprod(axis),
        |x| scan(x, 1.0, |a, b| a * b),
        1e-12,
    );
}

#[test]
fn softmax_agrees_with_the_definition() {
    let softmax = |x: &[f64]| -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x.exp() / sum).collect()
    };
    let logs = |x: Vec<f64>| x.iter().map(|x| x.ln()).collect::<Vec<f64>>();
    check_along(|x: &Tensor<f64>, axis| x.softmax(axis), softmax, 1e-14);
    check_along(
        |x: &Tensor<f32>, axis| x.softmax(axis),
        |x| softmax(&wide(x)),
        1e-6,
    );
    check_along(
        |x: &Tensor<f64>, axis| x.log_softmax(axis),
        |x| logs(softmax(x)),
        1e-12,
    );
    check_along(
        |x: &Tensor<f32>, axis| x.log_softmax(axis),
        |x| logs(softmax(&wide(x))),
        3e-6,
    );
}

#[test]
fn arguments_are_the_first_best() {
    for x in views::<f64>() {
        // Rounded, so that there are ties.
        let x = (&x * 3.0).cast::<i32>().cast::<f64>();
        for axis in 0..x.rank() as isize {
            let (shape, groups) = groups(&x, &Axes::from(axis));
            if x.is_empty() {
                assert_eq!(x.argmax(axis).is_ok(), shape.contains(&0));
                continue;
            }
            let first = |group: &Vec<f64>, best: f64| group.iter().position(|&x| x == best);
            let largest = x.argmax(axis).unwrap();
            let smallest = x.argmin(axis).unwrap();
            assert_eq!(largest.shape(), &shape[..]);
            for (i, group) in groups.iter().enumerate() {
                let best = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(Some(largest.to_vec()[i] as usize), first(group, best));
                let best = group.iter().copied().fold(f64::INFINITY, f64::min);
                assert_eq!(Some(smallest.to_vec()[i] as usize), first(group, best));
            }
        }
    }
}

#[test]
fn ten_million_tenths_are_a_million() {
    let tenths = Tensor::scalar(0.1_f32)
        .broadcast_to([10_000_000])
        .unwrap()
        .contiguous();
    let exact = 10_000_000.0 * f64::from(0.1_f32);
    let close = |sum: f32, exact: f64| (f64::from(sum) / exact - 1.0).abs() < 5e-7;
    assert!(close(tenths.sum(..).unwrap().item().unwrap(), exact));
    assert!((tenths.sum(..).unwrap().item().unwrap() / 1e6 - 1.0).abs() < 1e-6);
    assert!(close(
        tenths.mean(..).unwrap().item().unwrap(),
        f64::from(0.1_f32)
    ));
    for columns in [1, 2, 5, 10, 16, 100] {
        let tall = tenths.reshape([10_000_000 / columns, columns]).unwrap();
        for sum in tall.sum(0).unwrap().iter() {
            assert!(close(sum, exact / columns as f64), "{columns} {sum}");
        }
        let last = tall.cumsum(0).unwrap();
        let last = last.index_axis(0, 10_000_000 / columns - 1).unwrap();
        assert!(last.iter().all(|sum| close(sum, exact / columns as f64)));
    }
}

#[test]
fn variance_is_stable_far_from_zero() {
    let x: Tensor<f32> = noise([100_000]);
    let shifted = (&x * 16.0).map(|x| x.round() / 16.0);
    let far = &shifted + 4096.0;
    let (near, far) = (shifted.var(.., 0).unwrap(), far.var(.., 0).unwrap());
    let (near, far) = (near.item().unwrap(), far.item().unwrap());
    assert!((far / near - 1.0).abs() < 1e-5, "{far} {near}");
    let constant = Tensor::<f32>::full([1000, 3], 0.1).unwrap();
    assert!(constant.var(0, 1).unwrap().iter().all(|x| x < 1e-16));
}

#[test]
fn special_values_follow_numpy_and_pytorch() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let item = |x: crate::Result<Tensor<f64>>| x.unwrap().item().unwrap();
    for len in [1, 17, 300, 2000] {
        for at in [0, len / 2, len - 1] {
            let mut x: Tensor<f64> = noise([len]);
            x.make_mut()[at] = nan;
            assert!(item(x.max(..)).is_nan() && item(x.min(..)).is_nan());
            assert!(item(x.sum(..)).is_nan() && item(x.logsumexp(..)).is_nan());
            assert_eq!(x.argmax(0).unwrap().item().unwrap(), at as i64);
            assert_eq!(x.argmin(0).unwrap().item().unwrap(), at as i64);
            let column = x.expand_dims(1).unwrap().broadcast_to([len, 3]).unwrap();
            assert_eq!(column.argmax(0).unwrap().to_vec(), [at as i64; 3]);
            assert!(column.max(0).unwrap().iter().all(f64::is_nan));
            x.make_mut()[at] = inf;
            assert_eq!(item(x.logsumexp(..)), inf);
            assert_eq!(item(x.max(..)), inf);
            assert!(item(x.var(.., 0)).is_nan());
        }
        let low = Tensor::full([len], -inf).unwrap();
        assert_eq!(item(low.logsumexp(..)), -inf);
        assert_eq!(item(low.max(..)), -inf);
        assert!(low.softmax(0).unwrap().iter().all(f64::is_nan));
        assert!(low.log_softmax(0).unwrap().iter().all(f64::is_nan));
    }
    let x = Tensor::from([-1000.0_f32, -1001.0, -inf as f32]);
    let sum = x.logsumexp(..).unwrap().item().unwrap();
    assert!((sum - (-1000.0 + (-1.0_f32).exp().ln_1p())).abs() < 1e-3);
    let logits = Tensor::from([[1e4_f32, -1e4], [-1e4, -1e4], [1e4, 1e4 - 1.0]]);
    let e = std::f32::consts::E;
    let expected = [1.0, 0.0, 0.5, 0.5, e / (1.0 + e), 1.0 / (1.0 + e)];
    for (result, expected) in logits.softmax(1).unwrap().iter().zip(expected) {
        assert!((result - expected).abs() <= 6e-8, "{result} {expected}");
    }
    assert_eq!(logits.log_softmax(1).unwrap()[[0, 1]], -2e4);
}

#[test]
fn empty_reductions_have_their_neutral_values() {
    let x = Tensor::<f32>::zeros([0, 2]).unwrap();
    assert_eq!(x.sum(0).unwrap().to_vec(), [0.0; 2]);
    assert_eq!(x.prod(0).unwrap().to_vec(), [1.0; 2]);
    assert_eq!(x.logsumexp(0).unwrap().to_vec(), [f32::NEG_INFINITY; 2]);
    assert!(x.mean(..).unwrap().item().unwrap().is_nan());
    assert!(x.var(0, 0).unwrap().iter().all(f32::is_nan));
    assert_eq!(x.max(1).unwrap().to_vec(), [0.0; 0]);
    assert_eq!(x.softmax(0).unwrap().shape(), &[0, 2]);
    assert_eq!(x.cumsum(0).unwrap().shape(), &[0, 2]);
    assert_eq!(
        x.max(0).unwrap_err().to_string(),
        "max: there are no elements to choose from\n  shape  [0, 2]\n  \
         fix: reduce only over axes of a size above 0"
    );
    assert!(x.argmax(0).unwrap_err().to_string().starts_with("argmax: "));
    assert!(x.argmax(1).unwrap().is_empty());
    assert!(x.sum(2).unwrap_err().to_string().starts_with("sum: axis 2"));
    assert!(Tensor::scalar(1.0).argmax(0).is_err());
}

#[test]
fn gradients_find_back_through_broadcasting() {
    let dy: Tensor<f64> = noise([4, 3, 5]);
    for shape in [
        &[][..],
        &[5],
        &[3, 1],
        &[1, 5],
        &[4, 1, 5],
        &[1, 1, 1],
        &[4, 3, 5],
    ] {
        let sum = dy.sum_to_shape(shape).unwrap();
        assert_eq!(sum.shape(), shape);
        // The adjoint of broadcasting: ⟨broadcast(x), dy⟩ = ⟨x, sum(dy)⟩.
        let x: Tensor<f64> = noise(shape);
        let there = x.broadcast_to([4, 3, 5]).unwrap();
        let left = (&there * &dy).sum(..).unwrap().item().unwrap();
        let right = (&x * &sum).sum(..).unwrap().item().unwrap();
        assert!((left - right).abs() < 1e-12);
    }
    assert!(dy.sum_to_shape([4, 3, 5]).unwrap().shares_memory_with(&dy));
    let error = dy.sum_to_shape([2, 5]).unwrap_err().to_string();
    assert_eq!(
        error,
        "sum_to_shape: the shape does not broadcast to the tensor's\n  tensor  [4, 3, 5]\n  \
         shape   [2, 5]\n  fix: sizes must be equal or 1, counted from the last axis"
    );
    assert!(dy.sum_to_shape([1, 4, 3, 5]).is_err());
    let none = Tensor::<f64>::zeros([0, 3]).unwrap();
    assert_eq!(none.sum_to_shape([1, 3]).unwrap().to_vec(), [0.0; 3]);
}

/// The bits of what `work` yields on pools of 1, 2 and 5 threads, which must agree.
pub(crate) fn same_on_any_pool<T: Float>(work: impl Fn() -> Vec<Tensor<T>> + Sync) {
    let on = |threads| -> Vec<u64> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let results = pool.unwrap().install(&work);
        let elements = results.iter().flat_map(Tensor::iter);
        elements.map(|x| x.to_f64().to_bits()).collect()
    };
    let one = on(1);
    assert!(!one.is_empty());
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}

#[test]
fn thread_counts_do_not_change_bits() {
    let (long, tall): (Tensor<f32>, Tensor<f32>) = (noise([300_001]), noise([70_001, 6]));
    let (wide, image): (Tensor<f32>, Tensor<f32>) = (noise([600, 1030]), noise([4, 40, 50, 32]));
    same_on_any_pool(|| {
        vec![
            long.sum(..).unwrap(),
            long.var(.., 1).unwrap(),
            long.logsumexp(..).unwrap(),
            tall.sum(0).unwrap(),
            tall.t().sum(1).unwrap(),
            tall.mean(1).unwrap(),
            tall.var(0, 0).unwrap(),
            tall.softmax(1).unwrap(),
            wide.sum(0).unwrap(),
            wide.sum(1).unwrap(),
            wide.logsumexp(0).unwrap(),
            image.sum([0, 1, 2]).unwrap(),
            image.permute(&[0, 3, 1, 2]).unwrap().sum([0, 2]).unwrap(),
            image.max([1, 3]).unwrap(),
        ]
    });
}

#[test]
fn blocks_of_every_path_agree_with_naive_sums() {
    // Shapes that split into several blocks: of rows, of pieces of wide rows, and of runs.
    for shape in [
        &[300_001][..],
        &[70_001, 3],
        &[9000, 20],
        &[600, 1030],
        &[2, 5000, 24],
        &[3, 140_000],
    ] {
        let x: Tensor<f64> = noise(shape);
        for axes in subsets(shape.len()) {
            let axes = Axes::from(&axes[..]);
            let (_, groups) = groups(&x, &axes);
            let sums = x.sum(axes.clone()).unwrap();
            let moments = x.var(axes, 0).unwrap();
            for ((sum, moment), group) in sums.iter().zip(moments.iter()).zip(&groups) {
                assert!((sum - group.iter().sum::<f64>()).abs() < 1e-9);
                assert!((moment - variance(group, 0.0)).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn cross_entropy_is_log_softmax_of_the_label() {
    for shape in [&[5][..], &[7, 6], &[3, 4, 33], &[900, 100], &[0, 3]] {
        let logits = &noise::<f64>(shape) * 5.0;
        let [leading @ .., classes] = shape else {
            unreachable!()
        };
        let labels = Tensor::<i64>::from_fn(leading, |at| {
            (at.iter().sum::<usize>() * 7 % classes) as i64
        })
        .unwrap();
        let codes: Tensor<f64> = labels.one_hot(*classes).unwrap();
        let smooth = &codes * 0.9 + 0.05;
        let logs = logits.log_softmax(-1).unwrap();
        let close = |a: Tensor<f64>, b: Tensor<f64>| {
            assert_eq!(a.shape(), &b.shape()[..]);
            assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 1e-11));
        };
        let sparse = logits.softmax_cross_entropy(&labels).unwrap();
        close(sparse, -(&codes * &logs).sum(-1).unwrap());
        let dense = logits.softmax_cross_entropy_with(&smooth).unwrap();
        close(dense, -(&smooth * &logs).sum(-1).unwrap());

        let softmax = logits.softmax(-1).unwrap();
        let sparse = logits.softmax_cross_entropy_gradient(&labels).unwrap();
        close(sparse, &softmax - &codes);
        let dense = logits.softmax_cross_entropy_with_gradient(&smooth).unwrap();
        close(
            dense,
            &softmax * &smooth.sum(keepdims(-1)).unwrap() - &smooth,
        );
    }
}

#[test]
fn cross_entropy_at_its_limits() {
    let logits = Tensor::from([[1e4_f32, -1e4], [0.0, f32::NEG_INFINITY]]);
    let labels = Tensor::from([1_i64, 0]);
    let losses = logits.softmax_cross_entropy(&labels).unwrap();
    assert_eq!(losses.to_vec(), [2e4, 0.0]);
    let codes: Tensor<f32> = labels.one_hot(2).unwrap();
    assert_eq!(logits.softmax_cross_entropy_with(&codes).unwrap(), losses);
    let gradient = logits.softmax_cross_entropy_gradient(&labels).unwrap();
    assert_eq!(gradient.to_vec(), [1.0, -1.0, 0.0, 0.0]);
    assert_eq!(
        logits
            .softmax_cross_entropy(&Tensor::from([0_i64, 2]))
            .unwrap_err()
            .to_string(),
        "softmax_cross_entropy: index 2 at [1] is outside axis 1 of size 2\n  \
         fix: indices go from 0 to 1"
    );
    assert_eq!(
        logits
            .softmax_cross_entropy(&Tensor::from([0_i64]))
            .unwrap_err()
            .to_string(),
        "softmax_cross_entropy: the labels do not fit the logits\n  logits  [2, 2]\n  \
         labels  [1]\n  fix: labels need the shape of the logits without the last axis"
    );
    assert!(logits.softmax_cross_entropy_with(&losses).is_err());
    let none = Tensor::<f32>::zeros([2, 0]).unwrap();
    assert!(none.softmax_cross_entropy(&labels).is_err());
    assert_eq!(
        none.softmax_cross_entropy_with(&none).unwrap().to_vec(),
        [0.0; 2]
    );
    assert!(
        none.softmax_cross_entropy_with_gradient(&none)
            .unwrap()
            .is_empty()
    );
    assert!(
        Tensor::scalar(1.0)
            .softmax_cross_entropy(&Tensor::scalar(0))
            .is_err()
    );
}
