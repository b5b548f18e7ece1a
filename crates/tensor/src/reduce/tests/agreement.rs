//! Every reduction over all subsets of axes of views of every kind.

use super::*;

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
