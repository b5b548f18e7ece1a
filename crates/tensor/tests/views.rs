//! Chains of views, of shapes with axes of one, several and no elements, held against lists of
//! elements that are copied step by step.

use proptest::collection::vec;
use proptest::prelude::*;
use tensor::{Axes, Slice, Tensor};

/// A shape and its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
struct List {
    shape: Vec<usize>,
    elements: Vec<i32>,
}

impl List {
    /// The elements of `self` at `source(index)` for each index of `shape`.
    fn taken(&self, shape: &[usize], source: impl Fn(&[usize]) -> Vec<usize>) -> List {
        let count: usize = shape.iter().product();
        let element = |position: usize| {
            let mut index = vec![0; shape.len()];
            let mut rest = position;
            for axis in (0..shape.len()).rev() {
                index[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            let from = source(&index);
            let place = (from.iter().zip(&self.shape)).fold(0, |place, (i, n)| place * n + i);
            self.elements[place]
        };
        List {
            shape: shape.to_vec(),
            elements: (0..count).map(element).collect(),
        }
    }
}

/// One view, whose numbers are reduced to what the shape at hand allows.
#[derive(Clone, Debug)]
enum Step {
    Permute(usize),
    Flip(usize),
    Slice(Vec<(isize, isize, isize)>),
    Index(usize, usize),
    Broadcast(usize, Vec<usize>),
    Expand(usize),
    Squeeze,
    Merge(usize),
    Split(usize, usize),
    /// Another shape of no elements, if there are none.
    Reshape(Vec<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_usize..64;
    let bounds = (
        -5_isize..5,
        -5_isize..6,
        (-3_isize..4).prop_filter("0", |&step| step != 0),
    );
    prop_oneof![
        number.clone().prop_map(Step::Permute),
        number.clone().prop_map(Step::Flip),
        vec(bounds, 0..4).prop_map(Step::Slice),
        (number.clone(), number.clone()).prop_map(|(axis, i)| Step::Index(axis, i)),
        (0_usize..3, vec(0_usize..5, 6)).prop_map(|(lead, sizes)| Step::Broadcast(lead, sizes)),
        number.clone().prop_map(Step::Expand),
        Just(Step::Squeeze),
        number.clone().prop_map(Step::Merge),
        (number.clone(), number).prop_map(|(axis, part)| Step::Split(axis, part)),
        vec(0_usize..5, 1..4).prop_map(Step::Reshape),
    ]
}

/// The view of the tensor, and the copy of the list; `None` if the step does not fit the shape.
fn take(x: &Tensor<i32>, list: &List, step: &Step) -> Option<(tensor::Result<Tensor<i32>>, List)> {
    let shape = &list.shape;
    let rank = shape.len();
    let some_axis = |number: usize| (rank > 0).then(|| number % rank);
    match step {
        Step::Permute(number) => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.rotate_left(some_axis(*number)?);
            if number.is_multiple_of(2) {
                order.swap(0, rank - 1);
            }
            let sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
            let copy = list.taken(&sizes, |at| {
                let mut from = vec![0; rank];
                order.iter().zip(at).for_each(|(&axis, &i)| from[axis] = i);
                from
            });
            let order: Vec<isize> = order.iter().map(|&axis| axis as isize).collect();
            Some((x.permute(&order), copy))
        }
        Step::Flip(number) => {
            let flipped = |axis: usize| number >> axis & 1 == 1;
            let copy = list.taken(shape, |at| {
                let back = |axis: usize| match flipped(axis) {
                    true => shape[axis] - 1 - at[axis],
                    false => at[axis],
                };
                (0..rank).map(back).collect()
            });
            let axes = (0..rank).filter(|&axis| flipped(axis));
            let axes: Vec<isize> = axes.map(|axis| axis as isize).collect();
            Some((x.flip(Axes::from(&axes[..])), copy))
        }
        Step::Slice(bounds) => {
            let bounds = &bounds[..bounds.len().min(rank)];
            let places = |axis: usize| -> Vec<usize> {
                let Some(&(start, stop, step)) = bounds.get(axis) else {
                    return (0..shape[axis]).collect();
                };
                let size = shape[axis] as isize;
                let clip = |bound: isize| (bound + if bound < 0 { size } else { 0 }).clamp(0, size);
                let range = clip(start) as usize..clip(stop) as usize;
                match step > 0 {
                    true => range.step_by(step as usize).collect(),
                    false => range.rev().step_by(-step as usize).collect(),
                }
            };
            let places: Vec<Vec<usize>> = (0..rank).map(places).collect();
            let sizes: Vec<usize> = places.iter().map(Vec::len).collect();
            let copy = list.taken(&sizes, |at| {
                places
                    .iter()
                    .zip(at)
                    .map(|(places, &i)| places[i])
                    .collect()
            });
            let slice = |&(start, stop, step)| Slice::from(start..stop).step(step);
            let slices: Vec<Slice> = bounds.iter().map(slice).collect();
            Some((x.slice(&slices), copy))
        }
        Step::Index(axis, i) => {
            let axis = some_axis(*axis)?;
            let i = i.checked_rem(shape[axis])?;
            let mut sizes = shape.clone();
            sizes.remove(axis);
            let copy = list.taken(&sizes, |at| [&at[..axis], &[i], &at[axis..]].concat());
            Some((x.index_axis(axis as isize, i), copy))
        }
        Step::Broadcast(lead, sizes) => {
            let mut wide = sizes[..*lead].to_vec();
            for (&size, &other) in shape.iter().zip(sizes.iter().rev().cycle()) {
                wide.push(if size == 1 { other } else { size });
            }
            if wide.len() > 6 || wide.iter().product::<usize>() > 2000 {
                return None;
            }
            let copy = list.taken(&wide, |at| {
                let own = at[*lead..].iter().zip(shape);
                own.map(|(&i, &size)| if size == 1 { 0 } else { i })
                    .collect()
            });
            Some((x.broadcast_to(wide), copy))
        }
        Step::Expand(place) => {
            let place = place % (rank + 1);
            let mut sizes = shape.clone();
            sizes.insert(place, 1);
            let copy = List {
                shape: sizes,
                ..list.clone()
            };
            (rank < 6).then(|| (x.expand_dims(place as isize), copy))
        }
        Step::Squeeze => {
            let ones = (0..rank).filter(|&axis| shape[axis] == 1);
            let ones: Vec<isize> = ones.map(|axis| axis as isize).collect();
            let copy = List {
                shape: shape.iter().copied().filter(|&size| size != 1).collect(),
                ..list.clone()
            };
            Some((x.squeeze(Axes::from(&ones[..])), copy))
        }
        Step::Merge(axis) => {
            let axis = axis.checked_rem(rank.saturating_sub(1))?;
            let mut sizes = shape.clone();
            let inner = sizes.remove(axis + 1);
            sizes[axis] *= inner;
            reshaped(x, list, sizes)
        }
        Step::Split(axis, part) => {
            let axis = some_axis(*axis)?;
            let part = part.checked_rem(shape[axis])? + 1;
            let mut sizes = shape.clone();
            sizes[axis] /= part;
            sizes.insert(axis + 1, part);
            (shape[axis].is_multiple_of(part) && rank < 6).then(|| reshaped(x, list, sizes))?
        }
        Step::Reshape(sizes) => {
            let empty = |sizes: &[usize]| sizes.contains(&0);
            (empty(shape) && empty(sizes)).then(|| reshaped(x, list, sizes.clone()))?
        }
    }
}

fn reshaped(
    x: &Tensor<i32>,
    list: &List,
    shape: Vec<usize>,
) -> Option<(tensor::Result<Tensor<i32>>, List)> {
    let copy = List {
        shape: shape.clone(),
        ..list.clone()
    };
    Some((x.reshape(shape), copy))
}

#[test]
fn an_empty_broadcast_is_reshaped() {
    let x = Tensor::<f32>::ones([1, 1, 1]).unwrap();
    let empty = x.broadcast_to([0, 4, 2]).unwrap();
    assert!(empty.is_contiguous());
    assert_eq!(*empty.reshape([0, 4, 4]).unwrap().shape(), [0, 4, 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains_of_views_are_copies(
        shape in vec(prop_oneof![1 => Just(0), 3 => Just(1), 6 => 2_usize..5], 0..4),
        steps in vec(step(), 1..8),
    ) {
        let count = shape.iter().product::<usize>();
        let elements: Vec<i32> = (0..count as i32).collect();
        let mut x = Tensor::from_vec(elements.clone(), &shape[..]).unwrap();
        let mut list = List { shape, elements };
        for step in &steps {
            let Some((view, copy)) = take(&x, &list, step) else {
                continue;
            };
            x = view.map_err(|error| TestCaseError::fail(format!("{step:?}: {error}")))?;
            list = copy;
            prop_assert_eq!(&x.shape()[..], &list.shape[..], "{:?}", step);
            prop_assert_eq!(&x.to_vec(), &list.elements, "{:?}", step);
        }
        let elements = &list.elements;
        prop_assert_eq!(&x.contiguous().to_vec(), elements);
        if let Some(slice) = x.as_slice() {
            prop_assert_eq!(slice, &elements[..]);
        }
        let doubled: Vec<i32> = elements.iter().map(|x| 2 * x).collect();
        prop_assert_eq!(x.add(&x).unwrap().to_vec(), doubled.clone());
        prop_assert_eq!(x.sum(..).unwrap().item().unwrap(), elements.iter().sum::<i32>());
        let joined = Tensor::stack(&[&x, &x], 0).unwrap().to_vec();
        prop_assert_eq!(joined, elements.repeat(2));
        let mut written = x.clone();
        written.make_mut().iter_mut().for_each(|x| *x *= 2);
        prop_assert_eq!(written.to_vec(), doubled);
        prop_assert_eq!(&x.to_vec(), elements);
    }
}
