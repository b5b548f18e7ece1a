//! Every layout against the definition, step by step in `f64`.

use crate::reduce::same_on_any_pool;
use crate::shape::Axes;
use crate::{Float, Shape, Tensor};

use super::layout::Layout;

const EPSILON: f64 = 1e-3;

/// Different numbers of every size, the same at each call.
fn waves<T: Float>(shape: &Shape, phase: f64) -> Tensor<T> {
    let mut i = 0.0;
    Tensor::from_fn(shape.clone(), |_| {
        i += 1.0;
        T::constant((i * 0.7391 + phase).sin() * 2.0 + (i * 0.013).cos() + phase)
    })
    .unwrap()
}

/// Shapes and axes, and whether they are computed where they lie.
fn cases() -> Vec<(Vec<usize>, Vec<isize>, bool)> {
    vec![
        // Batch normalisation, of few and of many channels, with blocks and without.
        (vec![2, 5, 3, 4], vec![0, 1, 2], true),
        (vec![7, 1], vec![0], true),
        (vec![301, 3], vec![0], true),
        (vec![5000, 6], vec![0], true),
        (vec![40, 33, 64], vec![0, 1], true),
        (vec![9, 130], vec![0], true),
        (vec![3, 20_000], vec![0], true),
        // Layer normalisation.
        (vec![4, 3, 5], vec![-1], true),
        (vec![500, 100], vec![-1], true),
        (vec![2, 3, 40], vec![1, 2], true),
        (vec![6, 1], vec![1], true),
        (vec![3, 8192], vec![1], true),
        // Group and instance normalisation.
        (vec![2, 6, 5, 3, 4], vec![1, 2, 4], true),
        (vec![3, 50, 8], vec![1], true),
        (vec![2, 70, 40, 2], vec![1, 3], true),
        (vec![3, 1, 1, 2, 8], vec![1, 2, 4], true),
        // All of it.
        (vec![1000], vec![0], true),
        (vec![2, 3], vec![], true),
        // Step by step.
        (vec![3, 9000], vec![1], false),
        (vec![3, 4, 5, 2, 3], vec![1, 3], false),
        (vec![0, 4], vec![0], false),
    ]
}

fn close<T: Float>(found: &Tensor<T>, expected: &Tensor<f64>, tolerance: f64, case: &str) {
    assert_eq!(found.shape(), expected.shape(), "{case}");
    for (found, expected) in found.iter().zip(expected.iter()) {
        let bound = tolerance * expected.abs().max(1.0);
        assert!(
            (found.to_f64() - expected).abs() <= bound,
            "{case}: {found} instead of {expected}"
        );
    }
}

fn check<T: Float>(tolerance: f64) {
    for (shape, axes, in_place) in cases() {
        let case = format!("{shape:?} over {axes:?}");
        let shape = Shape::from(shape);
        let axes = Axes::from(&axes[..]);
        let (x, dy) = (waves::<T>(&shape, 0.5), waves::<T>(&shape, 2.0));
        let (wide, wide_dy) = (x.cast::<f64>(), dy.cast::<f64>());
        let layout = Layout::of("test", &x, &axes, None).unwrap();
        assert_eq!(layout.is_some(), in_place, "{case}: {layout:?}");

        let expected = wide.standardized_step_by_step(&axes, EPSILON).unwrap();
        let found = x.standardize(axes.clone(), EPSILON).unwrap();
        close(&found, &expected, tolerance, &case);
        let expected_dx = wide
            .standardize_gradient_step_by_step(&wide_dy, &axes, EPSILON)
            .unwrap();
        let found = x.standardize_gradient(&dy, axes.clone(), EPSILON).unwrap();
        close(&found, &expected_dx, tolerance, &case);

        // Scales of every length that fits: most need another layout than `scale` is made for.
        for first in 0..=shape.rank() {
            let last = Shape::from(&shape[first..]);
            let case = format!("{case}, scale {last:?}");
            let (scale, shift) = (waves::<T>(&last, 1.2), waves::<T>(&last, -0.7));
            let [wide_scale, wide_shift] = [&scale, &shift].map(|x| x.cast::<f64>());
            let y = x.normalize(axes.clone(), EPSILON, &scale, &shift).unwrap();
            let scaled = expected.mul(&wide_scale).unwrap().add(&wide_shift).unwrap();
            close(&y, &scaled, tolerance, &case);

            let [dx, dscale, dshift] = x
                .normalize_gradients(&dy, axes.clone(), EPSILON, &scale)
                .unwrap();
            let expected_dx = wide
                .standardize_gradient_step_by_step(
                    &wide_dy.mul(&wide_scale).unwrap(),
                    &axes,
                    EPSILON,
                )
                .unwrap();
            close(&dx, &expected_dx, tolerance, &case);
            let sums = |x: &Tensor<f64>| x.sum_to_shape(last.clone()).unwrap();
            let count = (shape.elements() as f64 / last.elements().max(1) as f64).sqrt();
            let products = sums(&wide_dy.mul(&expected).unwrap());
            close(&dscale, &products, tolerance * count, &case);
            close(&dshift, &sums(&wide_dy), tolerance * count, &case);
        }
    }
}

#[test]
fn every_layout_agrees_with_the_definition() {
    check::<f64>(1e-11);
    check::<f32>(3e-5);
}

#[test]
fn views_are_read_as_they_are_seen() {
    let x = waves::<f64>(&Shape::from([6, 4]), 0.1);
    let dy = waves::<f64>(&Shape::from([4, 6]), 0.9);
    let (scale, shift) = (Tensor::from([2.0]), Tensor::from([1.0]));
    let seen = x.t();
    let copied = seen.contiguous();
    let [scale, shift] = [scale, shift].map(|x| x.broadcast_to([6]).unwrap());
    for axis in [0, 1] {
        assert_eq!(
            seen.normalize(axis, EPSILON, &scale, &shift).unwrap(),
            copied.normalize(axis, EPSILON, &scale, &shift).unwrap()
        );
        assert_eq!(
            seen.normalize_gradients(&dy, axis, EPSILON, &scale)
                .unwrap(),
            copied
                .normalize_gradients(&dy, axis, EPSILON, &scale)
                .unwrap()
        );
    }
}

#[test]
fn thread_counts_do_not_change_bits() {
    same_on_any_pool(|| {
        let mut results = Vec::new();
        for (shape, axes) in [
            (vec![20_000, 24], vec![0]),
            (vec![3000, 100], vec![1]),
            (vec![5, 900, 4, 6], vec![1, 3]),
        ] {
            let last = Shape::from(&shape[shape.len() - axes.len().max(1)..]);
            let shape = Shape::from(shape);
            let (x, dy) = (waves::<f32>(&shape, 0.5), waves::<f32>(&shape, 2.0));
            let (scale, shift) = (waves::<f32>(&last, 1.2), waves::<f32>(&last, 0.1));
            results.push(x.normalize(&axes[..], EPSILON, &scale, &shift).unwrap());
            results.extend(
                x.normalize_gradients(&dy, &axes[..], EPSILON, &scale)
                    .unwrap(),
            );
        }
        results
    });
}

#[test]
fn one_bad_number_spoils_its_group_alone() {
    for bad in [f64::NAN, f64::INFINITY] {
        for (shape, axis) in [([40, 3], 0), ([3, 40], 1)] {
            let mut x = waves::<f64>(&Shape::from(shape), 0.5).to_vec();
            x[if axis == 0 { 1 } else { 40 }] = bad;
            let x = Tensor::from_vec(x, shape).unwrap();
            let ones = Tensor::<f64>::ones(shape).unwrap();
            for result in [
                x.standardize(axis, EPSILON).unwrap(),
                x.standardize_gradient(&ones, axis, EPSILON).unwrap(),
            ] {
                for group in 0..3 {
                    let group_is = result.index_axis(1 - axis, group).unwrap();
                    let spoiled = group_is.iter().all(|x| x.is_nan());
                    let clean = group_is.iter().all(|x| x.is_finite());
                    assert!(if group == 1 { spoiled } else { clean }, "{bad} {result}");
                }
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let x = Tensor::<f32>::ones([2, 3]).unwrap();
    let wrong = Tensor::<f32>::ones([2]).unwrap();
    let right = Tensor::<f32>::ones([3]).unwrap();
    let text = x.normalize(0, 0.1, &wrong, &wrong).unwrap_err().to_string();
    assert!(text.contains("[2, 3]") && text.contains("[2]"), "{text}");
    let text = x.normalize(0, 0.1, &right, &wrong).unwrap_err().to_string();
    assert!(text.contains("[3]") && text.contains("[2]"), "{text}");
    let text = x
        .standardize_gradient(&right, 0, 0.1)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("standardize_gradient") && text.contains("[3]"),
        "{text}"
    );
    let text = x.standardize(2, 0.1).unwrap_err().to_string();
    assert!(text.contains("standardize") && text.contains('2'), "{text}");
}

/// Values do not depend on the size of the numbers, and gradients fall as it grows.
fn any_size<T: Float>(sizes: &[f64], tolerance: f64) {
    for (shape, axes, _) in cases() {
        let shape = Shape::from(shape);
        let axes = Axes::from(&axes[..]);
        let (x, dy) = (waves::<T>(&shape, 0.5), waves::<T>(&shape, 2.0));
        let (wide, wide_dy) = (x.cast::<f64>(), dy.cast::<f64>());
        let expected = wide.standardize(axes.clone(), 0.0).unwrap();
        let slopes = wide.standardize_gradient(&wide_dy, axes.clone(), 0.0);
        let slopes = slopes.unwrap();
        for &size in sizes {
            let case = format!("{shape:?} over {axes:?} times {size:e}");
            let large = &x * T::constant(size);
            let found = large.standardize(axes.clone(), EPSILON).unwrap();
            let found_slopes = large.standardize_gradient(&dy, axes.clone(), EPSILON);
            let found_slopes = found_slopes.unwrap().cast::<f64>() * size;
            for ((found, expected), (slope, expected_slope)) in
                (found.iter().zip(expected.iter())).zip(found_slopes.iter().zip(slopes.iter()))
            {
                // Of equal values nothing is left but the epsilon, and nothing to compare.
                if expected.is_finite() && expected_slope.is_finite() {
                    let near = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
                    assert!(
                        near(found.to_f64(), expected),
                        "{case}: {found}, not {expected}"
                    );
                    assert!(
                        near(slope, expected_slope),
                        "{case}: {slope}, not {expected_slope}"
                    );
                }
            }
        }
    }
}

#[test]
fn large_numbers_are_standardized_like_others() {
    any_size::<f32>(&[1e10, 1e20, 1e25, 1e36], 1e-3);
    any_size::<f64>(&[1e20, 1e160, 1e200, 1e305], 1e-10);
    let x = Tensor::from([1e20_f32, -1e20]);
    assert_eq!(x.standardize(.., 1e-3).unwrap().to_vec(), [1.0, -1.0]);
    // What is not finite stays so.
    for bad in [f32::NAN, f32::INFINITY] {
        let x = Tensor::from([[1.0, 2.0], [bad, 2.0]]);
        let y = x.standardize(-1, 1e-3).unwrap().to_vec();
        assert!((y[0] + 0.998).abs() < 1e-3 && y[2].is_nan(), "{y:?}");
    }
}
