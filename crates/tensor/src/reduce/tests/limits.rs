//! Accuracy, special values, empty axes, and the same bits on any number of threads.

use super::*;

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
