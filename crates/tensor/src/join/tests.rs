//! Joins, pads and repeats against index arithmetic, over views.

use crate::{Pad, Slice, Tensor};

fn views() -> Vec<Tensor<i32>> {
    let base = Tensor::from_fn([4, 5, 3], |at| (100 * at[0] + 10 * at[1] + at[2]) as i32).unwrap();
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
        base.slice_axis(0, 0..0).unwrap(),
    ]
}

#[test]
fn what_is_split_concats_back() {
    for x in views() {
        for axis in 0..3 {
            let size = x.shape()[axis];
            let sizes = [size / 3, 0, size - size / 3];
            let parts = x.split(&sizes, axis as isize).unwrap();
            assert!(parts.iter().all(|part| part.shares_memory_with(&x)));
            let parts: Vec<_> = parts.iter().collect();
            assert_eq!(Tensor::concat(&parts, axis as isize - 3).unwrap(), x);
            for count in [1, 2, 3, usize::MAX] {
                let parts = x.chunk(count, axis as isize).unwrap();
                assert!(parts.len() <= count);
                let parts: Vec<_> = parts.iter().collect();
                assert_eq!(Tensor::concat(&parts, axis as isize).unwrap(), x);
            }
        }
        for axis in -4..4 {
            let twin = &x + 1000;
            let both = Tensor::stack(&[&x, &twin], axis).unwrap();
            let axis = axis.rem_euclid(4);
            assert_eq!(both.index_axis(axis, 0).unwrap(), x);
            assert_eq!(both.index_axis(axis, 1).unwrap(), twin);
        }
    }
}

#[test]
fn long_joins_cross_blocks() {
    let x = Tensor::<i32>::from_fn([300, 100], |at| (at[0] * 100 + at[1]) as i32).unwrap();
    let joined = Tensor::concat(&[&x, &x.flip(0).unwrap()], 1).unwrap();
    for row in [0, 80, 81, 82, 299] {
        for column in 0..100 {
            assert_eq!(joined[[row, column]], x[[row, column]]);
            assert_eq!(joined[[row, 100 + column]], x[[299 - row, column]]);
        }
    }
}

#[test]
fn padding_follows_numpy() {
    // What NumPy's `pad` finds at `at − before` of an axis of `size`.
    fn source(at: isize, size: isize, mode: Pad<i32>) -> Option<usize> {
        let mut at = at;
        loop {
            match mode {
                _ if (0..size).contains(&at) => return Some(at as usize),
                Pad::Constant(_) => return None,
                Pad::Edge => at = at.clamp(0, size - 1),
                Pad::Reflect if size == 1 => at = 0,
                Pad::Reflect if at < 0 => at = -at,
                Pad::Reflect => at = 2 * (size - 1) - at,
            }
        }
    }
    // The last axes get none, whose elements lie next to one another in some of the views.
    let paddings = [
        [(0, 2), (9, 1), (2, 7)],
        [(1, 2), (3, 1), (0, 0)],
        [(2, 1), (0, 0), (0, 0)],
        [(0, 0), (0, 0), (0, 0)],
        [(1, 0), (0, 0), (0, 3)],
    ];
    let modes = [Pad::Constant(-7), Pad::Edge, Pad::Reflect];
    for (x, (padding, mode)) in views().into_iter().flat_map(|x| {
        let ways = paddings
            .iter()
            .flat_map(|padding| modes.map(|mode| (padding, mode)));
        ways.map(move |way| (x.clone(), way))
    }) {
        if x.is_empty() && mode != Pad::Constant(-7) {
            if padding == &paddings[0] {
                let error = x.pad(padding, mode).unwrap_err().to_string();
                assert!(error.starts_with("pad: axis 0 has no elements to repeat"));
            }
            continue;
        }
        let padded = x.pad(padding, mode).unwrap();
        let expected = Tensor::from_fn(padded.shape(), |at| {
            let mut index = Vec::new();
            for axis in 0..3 {
                let at = at[axis] as isize - padding[axis].0 as isize;
                index.extend(source(at, x.shape()[axis] as isize, mode));
            }
            x.get(&index).unwrap_or(-7)
        });
        assert_eq!(
            padded,
            expected.unwrap(),
            "{} {padding:?} {mode:?}",
            x.shape()
        );
    }
    // Few large axes would take a table as large as the tensor, and one thread.
    let axes = |shape: [usize; 4], padding: [(usize, usize); 4]| {
        let x = Tensor::<i32>::zeros(shape).unwrap();
        let axes = x.padded_axes(&padding, Pad::Constant(0));
        axes.iter().map(|axis| axis.size).collect::<Vec<_>>()
    };
    let none = (0, 0);
    assert_eq!(
        axes([4, 50, 60, 8], [none, (1, 1), (1, 1), none]),
        [4, 50, 480]
    );
    assert_eq!(
        axes([40, 50, 60, 8], [(1, 0), none, none, none]),
        [2000, 480]
    );
    assert_eq!(axes([4, 5, 6, 8], [none, none, none, none]), [960]);
    let scalar = Tensor::scalar(3);
    assert_eq!(scalar.pad(&[], Pad::Edge).unwrap(), scalar);
    let one = Tensor::from([5]);
    assert_eq!(one.pad(&[(2, 1)], Pad::Reflect).unwrap().to_vec(), [5; 4]);
}

#[test]
fn repeats_tile_and_roll_by_index() {
    for x in views() {
        for axis in 0..3 {
            let size = x.shape()[axis];
            let from = |out: Tensor<i32>, source: &dyn Fn(usize) -> usize| {
                let expected = Tensor::from_fn(out.shape(), |at| {
                    let mut at = at.to_vec();
                    at[axis] = source(at[axis]);
                    x.get(&at).unwrap()
                });
                assert_eq!(out, expected.unwrap());
            };
            from(x.repeat(3, axis as isize).unwrap(), &|i| i / 3);
            let mut counts = [1; 3];
            counts[axis] = 2;
            from(x.tile(&counts).unwrap(), &|i| i % size);
            for shift in [0, 1, -2, 17, isize::MIN, isize::MAX] {
                from(x.roll(shift, axis as isize).unwrap(), &|i| {
                    (i as i128 - shift as i128).rem_euclid(size as i128) as usize
                });
            }
        }
        assert!(x.repeat(0, 1).unwrap().is_empty());
        assert_eq!(x.tile(&[2, 1, 1, 1]).unwrap().rank(), 4);
    }
}

#[test]
fn hostile_arguments_are_errors() {
    let x = Tensor::<i32>::zeros([2, 3]).unwrap();
    let y = Tensor::<i32>::zeros([2, 4]).unwrap();
    assert_eq!(
        Tensor::concat(&[&x, &y], 0).unwrap_err().to_string(),
        "concat: tensor 1 does not fit tensor 0\n  tensor 0  [2, 3]\n  tensor 1  [2, 4]\n  \
         fix: all axes but axis 0 must be equal"
    );
    assert!(Tensor::concat(&[&x, &x.flatten(0).unwrap()], 0).is_err());
    assert!(Tensor::<i32>::concat(&[], 0).is_err());
    assert!(Tensor::<i32>::stack(&[], 0).is_err());
    assert!(Tensor::stack(&[&x, &y], 0).is_err());
    assert!(Tensor::concat(&[&x], 2).is_err());
    assert!(x.split(&[1, 3], 1).is_err());
    assert!(x.split(&[usize::MAX, 4], 1).is_err());
    assert!(x.chunk(0, 0).is_err());
    assert!(x.repeat(usize::MAX, 0).is_err());
    assert!(x.tile(&[usize::MAX, 2]).is_err());
    assert!(x.tile(&[1; 33]).is_err());
    assert!(
        x.pad(&[(usize::MAX, usize::MAX), (0, 0)], Pad::Edge)
            .is_err()
    );
    assert!(x.pad(&[(0, 0)], Pad::Edge).is_err());
    let none = x.slice_axis(0, 0..0).unwrap();
    let still_none = none.pad(&[(0, 0), (1 << 40, 0)], Pad::Constant(1));
    assert!(still_none.unwrap().is_empty());
}
