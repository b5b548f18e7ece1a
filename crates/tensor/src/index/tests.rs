//! Indexing against index arithmetic, over views.

use crate::{Slice, Tensor};

fn views() -> Vec<Tensor<f64>> {
    let base = Tensor::from_fn([4, 5, 3], |at| {
        ((7 * at[0] + 5 * at[1] + 11 * at[2]) % 9) as f64
    })
    .unwrap();
    vec![
        base.clone(),
        base.t(),
        base.flip(..).unwrap(),
        base.slice(&[Slice::from(..).step(2), Slice::from(1..).step(-3)])
            .unwrap(),
        base.slice_axis(1, 2..3)
            .unwrap()
            .broadcast_to([4, 6, 3])
            .unwrap(),
    ]
}

/// Indices along an axis of `size`, some of them several times, seen through a transpose.
fn indices(shape: [usize; 3], size: usize) -> Tensor<i64> {
    let [a, b, c] = shape;
    let index = Tensor::from_fn([a, c, b], |at| {
        ((3 * at[0] + 2 * at[1] + 5 * at[2]) % size) as i64
    });
    index.unwrap().t()
}

#[test]
fn gather_and_scatter_add_are_adjoint() {
    for x in views() {
        for axis in 0..3 {
            let mut shape = [x.shape()[0], x.shape()[1], x.shape()[2]];
            // Shorter along the others, longer along the axis.
            shape.iter_mut().for_each(|size| *size -= 1);
            shape[axis] += 4;
            let index = indices(shape, x.shape()[axis]);
            let gathered = x.gather(axis as isize, &index).unwrap();
            let expected = Tensor::from_fn(shape, |at| {
                let mut at = at.to_vec();
                at[axis] = index.get(&at).unwrap() as usize;
                x.get(&at).unwrap()
            });
            assert_eq!(gathered, expected.unwrap(), "{} {axis}", x.shape());

            let source = (&gathered * 0.5).flip(..).unwrap();
            let sum = x.scatter_add(axis as isize, &index, &source).unwrap();
            let mut expected = x.contiguous();
            Tensor::from_fn(shape, |at| {
                let mut to = [at[0], at[1], at[2]];
                to[axis] = index.get(at).unwrap() as usize;
                expected[to] += source.get(at).unwrap();
                false
            })
            .unwrap();
            assert_eq!(sum, expected, "{} {axis}", x.shape());
        }
    }
}

#[test]
fn selected_slices_add_back() {
    for x in views() {
        for axis in 0..3 {
            let last = x.shape()[axis] as i64 - 1;
            let index = Tensor::from([last, 0, last / 2, 0]).flip(0).unwrap();
            let selected = x.index_select(axis as isize, &index).unwrap();
            for (i, at) in index.iter().enumerate() {
                assert_eq!(
                    selected.index_axis(axis as isize, i).unwrap(),
                    x.index_axis(axis as isize, at as usize).unwrap()
                );
            }
            let sum = x.index_add(axis as isize, &index, &selected).unwrap();
            for at in 0..=last {
                let times = index.iter().filter(|&i| i == at).count() as f64;
                let slice = x.index_axis(axis as isize, at as usize).unwrap();
                let expected = &slice * (1.0 + times);
                assert_eq!(
                    sum.index_axis(axis as isize, at as usize).unwrap(),
                    expected
                );
            }
        }
    }
    let rows = Tensor::<f32>::from_fn([300, 100], |at| at[0] as f32).unwrap();
    let index = Tensor::<i64>::from_fn([1000], |at| (at[0] * 7 % 300) as i64).unwrap();
    let selected = rows.index_select(0, &index).unwrap();
    assert_eq!(selected.index_axis(1, 99).unwrap().cast::<i64>(), index);
}

#[test]
fn order_is_stable_and_nan_is_largest() {
    for x in views() {
        let x = x.map(|x| if x == 4.0 { f64::NAN } else { x });
        for axis in 0..3 {
            for descending in [false, true] {
                let (values, indices) = x.sort(axis, descending).unwrap();
                assert!(
                    indices
                        .eq(&x.argsort(axis, descending).unwrap())
                        .unwrap()
                        .all(..)
                        .unwrap()
                        .item()
                        .unwrap()
                );
                let (top, top_indices) = x.topk(2, axis).unwrap();
                let rows = |x: &Tensor<f64>| {
                    let x = x.swap_axes(axis, -1).unwrap();
                    let size = x.shape()[2];
                    x.to_vec()
                        .chunks(size)
                        .map(<[f64]>::to_vec)
                        .collect::<Vec<_>>()
                };
                let key = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
                for (((row, values), indices), (top, top_indices)) in rows(&x)
                    .iter()
                    .zip(rows(&values))
                    .zip(rows(&indices.cast()))
                    .zip(rows(&top).iter().zip(rows(&top_indices.cast())))
                {
                    let mut expected: Vec<usize> = (0..row.len()).collect();
                    let sign = if descending { -1.0 } else { 1.0 };
                    expected
                        .sort_by(|&a, &b| (sign * key(row[a])).total_cmp(&(sign * key(row[b]))));
                    let found: Vec<usize> = indices.iter().map(|&i| i as usize).collect();
                    assert_eq!(found, expected);
                    for (value, &i) in values.iter().zip(&found) {
                        assert_eq!(key(*value), key(row[i]));
                    }
                    if descending {
                        assert_eq!(top_indices, indices[..2]);
                        assert_eq!(key(top[1]), key(values[1]));
                    }
                }
            }
        }
    }
}

#[test]
fn masks_triangles_and_positions() {
    for x in views() {
        let mask = x.gt(&Tensor::scalar(4.0)).unwrap();
        let filled = x.masked_fill(&mask, -1.0).unwrap();
        let expected: Vec<f64> = x.iter().map(|x| if x > 4.0 { -1.0 } else { x }).collect();
        assert_eq!(filled.to_vec(), expected);
        for diagonal in [-2, 0, 1, 9, isize::MIN, isize::MAX] {
            let lower = x.tril(diagonal).unwrap();
            let upper = x.triu(diagonal).unwrap();
            let inside = |at: &[usize], low: bool| {
                let distance = at[2] as i128 - at[1] as i128;
                let kept = if low {
                    distance <= diagonal as i128
                } else {
                    distance >= diagonal as i128
                };
                if kept { x.get(at).unwrap() } else { 0.0 }
            };
            assert_eq!(
                lower,
                Tensor::from_fn(x.shape(), |at| inside(at, true)).unwrap()
            );
            assert_eq!(
                upper,
                Tensor::from_fn(x.shape(), |at| inside(at, false)).unwrap()
            );
        }
        let places = x.nonzero().unwrap();
        let mut found = places.to_vec();
        Tensor::from_fn(x.shape(), |at| {
            if x.get(at).unwrap() != 0.0 {
                assert!(found.drain(..3).eq(at.iter().map(|&i| i as i64)));
            }
            false
        })
        .unwrap();
        assert!(found.is_empty());
    }
    let row_mask = Tensor::from([true, false]);
    let x = Tensor::<f32>::ones([3, 2]).unwrap();
    assert_eq!(
        x.masked_fill(&row_mask, 0.0).unwrap().to_vec(),
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    );
    assert!(
        x.index_axis(0, 0)
            .unwrap()
            .masked_fill(&x.gt(&x).unwrap(), 0.0)
            .is_err()
    );
    assert_eq!(Tensor::scalar(3).nonzero().unwrap().shape(), &[1, 0]);
    assert!(Tensor::from([1]).tril(0).is_err());
}

#[test]
fn one_hot_codes() {
    let labels = Tensor::from([[1_u8, 0], [2, 1]]).t();
    let codes: Tensor<f32> = labels.one_hot(3).unwrap();
    assert_eq!(codes.shape(), &[2, 2, 3]);
    assert_eq!(codes.argmax(-1).unwrap(), labels.cast::<i64>());
    assert_eq!(codes.sum(..).unwrap().item().unwrap(), 4.0);
    let none = Tensor::<i64>::zeros([0]).unwrap();
    assert_eq!(none.one_hot::<f32>(0).unwrap().shape(), &[0, 0]);
}

#[test]
fn indices_outside_are_named() {
    let x = Tensor::<f32>::zeros([3, 4]).unwrap();
    let index = Tensor::from([[0_i64, 1], [2, 4]]);
    assert_eq!(
        x.gather(1, &index).unwrap_err().to_string(),
        "gather: index 4 at [1, 1] is outside axis 1 of size 4\n  fix: indices go from 0 to 3"
    );
    assert_eq!(
        x.index_select(0, &Tensor::from([0_i64, -1]))
            .unwrap_err()
            .to_string(),
        "index_select: index -1 at [1] is outside axis 0 of size 3\n  fix: indices go from 0 to 2"
    );
    assert!(x.index_select(0, &Tensor::from([i64::MIN])).is_err());
    assert!(x.index_select(0, &index).is_err());
    assert!(x.gather(0, &Tensor::from([0_i64])).is_err());
    assert!(x.gather(0, &Tensor::zeros([1, 5]).unwrap()).is_err());
    assert!(
        x.scatter_add(0, &index, &x.slice_axis(0, 0..1).unwrap())
            .is_err()
    );
    assert!(x.scatter_add(0, &index.t(), &x).is_err());
    assert!(x.index_add(0, &Tensor::from([0_i64]), &x).is_err());
    assert!(Tensor::from([3_i64]).one_hot::<f32>(3).is_err());
    assert_eq!(
        x.topk(5, 1).unwrap_err().to_string(),
        "topk: axis 1 has fewer than k elements\n  shape  [3, 4]\n  k      5"
    );
    let empty = Tensor::<f32>::zeros([0, 4]).unwrap();
    assert!(empty.index_select(0, &Tensor::from([0_i64])).is_err());
    let nothing = Tensor::<i64>::zeros([0]).unwrap();
    assert_eq!(x.index_select(1, &nothing).unwrap().shape(), &[3, 0]);
    assert_eq!(empty.sort(0, false).unwrap().0.shape(), &[0, 4]);
    assert_eq!(x.topk(0, 0).unwrap().0.shape(), &[0, 4]);
}
