//! Reductions against element-by-element oracles, on views of every kind.

mod agreement;
mod cross_entropy;
mod limits;

use std::collections::BTreeMap;

use crate::{Axes, Element, Float, Shape, Slice, Tensor, keepdims};

/// Repeatable numbers without pattern, between −1 and 1.
pub(super) fn noise<T: Element>(shape: impl Into<Shape>) -> Tensor<T> {
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
pub(super) fn views<T: Element>() -> Vec<Tensor<T>> {
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
pub(super) fn subsets(rank: usize) -> Vec<Vec<isize>> {
    let all = 0..1_u32 << rank;
    all.map(|bits| {
        (0..rank as isize)
            .filter(|axis| bits >> axis & 1 == 1)
            .collect()
    })
    .collect()
}

/// The elements that enter each result, in order.
pub(super) fn groups<T: Element>(x: &Tensor<T>, axes: &Axes) -> (Shape, Vec<Vec<T>>) {
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
pub(super) fn check<T: Element, B: Element>(
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

pub(super) fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

pub(super) fn variance(x: &[f64], correction: f64) -> f64 {
    let mean = mean(x);
    let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    let freedom = x.len() as f64 - correction;
    if freedom > 0.0 {
        squares / freedom
    } else {
        f64::NAN
    }
}

pub(super) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
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
