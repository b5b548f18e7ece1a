//! The order in which versions of Keras store what an optimizer remembers.

use tensor::{Float, Tensor};

/// Whether that version of Keras stores all tensors of one weight together (2.11 and later), and
/// not all first moments before all second ones.
pub(super) fn pairs_by_weight(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next(), numbers.next());
    (major.unwrap_or(0), minor.unwrap_or(0)) >= (2, 11)
}

/// What the tensor at `path` is to its weight: `velocity` of `RMSprop/velocity/dense/kernel:0`, as
/// Keras names them from 2.11 on, and of `rmsprop/dense_kernel_velocity`, as Keras 3 does.
pub(super) fn slot(path: &str) -> &str {
    match path.split('/').collect::<Vec<_>>()[..] {
        [_, slot, _, ..] => slot,
        _ => path.rsplit('_').next().unwrap_or(path),
    }
}

/// The tensors of each weight, from the flat list in a file; `by_weight` decides where the shapes
/// allow both orders. None if they allow neither.
pub(super) fn arrange<T: Float>(
    tensors: Vec<Tensor<T>>,
    weights: &[&Tensor<T>],
    by_weight: bool,
) -> Option<Vec<Vec<Tensor<T>>>> {
    if weights.is_empty() {
        return None;
    }
    let per_weight = tensors.len() / weights.len();
    let fits = |tensor: &Tensor<T>, weight: &Tensor<T>| tensor.shape() == weight.shape();

    let together = tensors.len().is_multiple_of(weights.len())
        && tensors
            .chunks(per_weight.max(1))
            .zip(weights)
            .all(|(own, weight)| own.iter().all(|tensor| fits(tensor, weight)));
    let rounds = tensors
        .chunks(weights.len())
        .take_while(|round| {
            round.len() == weights.len() && round.iter().zip(weights).all(|(t, w)| fits(t, w))
        })
        .count();
    // Keras 2.3 and earlier keep a place for AMSGrad's maxima, of shape [1] where it is off.
    let (moments, rest) = tensors.split_at(rounds * weights.len());
    let in_rounds = rest.iter().all(|tensor| tensor.shape()[..] == [1]);

    if together && (by_weight || !in_rounds) {
        let own = |index: usize| tensors[index * per_weight..][..per_weight].to_vec();
        Some((0..weights.len()).map(own).collect())
    } else if in_rounds {
        let own = |index: usize| moments.iter().skip(index).step_by(weights.len());
        Some(
            (0..weights.len())
                .map(|i| own(i).cloned().collect())
                .collect(),
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(shapes: &[&[usize]]) -> Vec<Tensor<f32>> {
        let numbered = shapes.iter().enumerate();
        numbered
            .map(|(i, &shape)| Tensor::full(shape, i as f32).unwrap())
            .collect()
    }

    /// The first elements, which number the tensors.
    fn order(slots: Option<Vec<Vec<Tensor<f32>>>>) -> Option<Vec<Vec<usize>>> {
        let number = |tensor: &Tensor<f32>| tensor.iter().next().unwrap() as usize;
        slots.map(|slots| {
            let own = |own: &Vec<Tensor<f32>>| own.iter().map(number).collect();
            slots.iter().map(own).collect()
        })
    }

    #[test]
    fn both_orders_are_told_apart_by_shapes_and_else_by_the_version() {
        let (k, b): (&[usize], &[usize]) = (&[2, 3], &[3]);
        let weights = tensors(&[k, b]);
        let weights: Vec<_> = weights.iter().collect();
        let arranged = |shapes: &[&[usize]], by| order(arrange(tensors(shapes), &weights, by));
        let (by_weight, in_rounds) = (vec![vec![0, 1], vec![2, 3]], vec![vec![0, 2], vec![1, 3]]);
        for by in [false, true] {
            assert_eq!(arranged(&[k, k, b, b], by), Some(by_weight.clone()));
            assert_eq!(arranged(&[k, b, k, b], by), Some(in_rounds.clone()));
            assert_eq!(
                arranged(&[k, b, k, b, &[1], &[1]], by),
                Some(in_rounds.clone())
            );
            assert_eq!(arranged(&[], by), Some(vec![vec![], vec![]]));
            assert_eq!(arranged(&[k, b, k], by), None);
            assert_eq!(arranged(&[b, k], by), None);
        }
        let square = tensors(&[k, k]);
        let square: Vec<_> = square.iter().collect();
        let ambiguous = |by| order(arrange(tensors(&[k, k, k, k]), &square, by));
        assert_eq!(ambiguous(true), Some(by_weight));
        assert_eq!(ambiguous(false), Some(in_rounds));
        assert_eq!(order(arrange(tensors(&[k]), &[], true)), None);
    }

    #[test]
    fn versions_compare_by_numbers() {
        for (version, by_weight) in [
            ("3.15.1", true),
            ("2.15.0", true),
            ("2.11.0", true),
            ("2.9.0-tf", false),
            ("2.3.1", false),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(pairs_by_weight(version), by_weight, "{version}");
        }
    }
}
