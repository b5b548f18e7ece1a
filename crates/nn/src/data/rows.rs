//! Picking rows of an array, in an order drawn from a seed.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use tensor::{Element, Shape, Tensor, vec_with_capacity};

use crate::error::Result;

/// The numbers `0..count` in an order that depends on `seed` alone, on every machine.
///
/// The algorithm is that of Fisher and Yates, in Durstenfeld's form (1964), with ChaCha8 numbers.
///
/// ```
/// use nn::data::permutation;
/// let order = permutation(5, 42);
/// assert_eq!(order, permutation(5, 42));
/// assert_ne!(permutation(100, 1), permutation(100, 2));
/// ```
///
/// # Panics
/// If memory for that many numbers cannot be allocated.
#[must_use]
#[track_caller]
pub fn permutation(count: usize, seed: u64) -> Vec<usize> {
    shuffled("permutation", count, seed).unwrap_or_else(|error| panic!("{error}"))
}

/// [`permutation`], with an error of `operation` where memory is short.
fn shuffled(operation: &str, count: usize, seed: u64) -> Result<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order = vec_with_capacity(operation, count)?;
    order.extend(0..count);
    for last in (1..count).rev() {
        // The upper half of a 128-bit product: uniform but for less than 2⁻³² of bias.
        let below = last as u128 + 1;
        let other = ((u128::from(rng.next_u64()) * below) >> 64) as usize;
        order.swap(last, other);
    }
    Ok(order)
}

/// The rows (entries of the first axis) of `x` that `rows` lists, in its order.
///
/// ```
/// use nn::data::take_rows;
/// use tensor::Tensor;
/// let x = Tensor::from_vec(vec![1, 2, 3, 4, 5, 6], [3, 2])?;
/// assert_eq!(take_rows(&x, &[2, 0])?.to_vec(), [5, 6, 1, 2]);
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// If `x` has no axes, or a row is outside it.
pub fn take_rows<T: Element>(x: &Tensor<T>, rows: &[usize]) -> Result<Tensor<T>> {
    let (count, _) = row_geometry("take_rows", x.shape())?;
    if let Some(row) = rows.iter().find(|&&row| row >= count) {
        return Err(tensor::Error::index(
            "take_rows",
            format!("row {row} is outside the {count} rows"),
        )
        .with("array", x.shape())
        .into());
    }
    let index = Tensor::from_fn(rows.len(), |at| rows[at[0]] as i64);
    let taken = index.and_then(|index| x.index_select(0, &index));
    Ok(taken.map_err(|error| error.in_operation("take_rows"))?)
}

/// The number of rows of an array and the number of elements in each.
pub(crate) fn row_geometry(operation: &str, shape: &Shape) -> Result<(usize, usize)> {
    match shape.split_first() {
        Some((&count, inner)) => Ok((count, inner.iter().product())),
        None => Err(
            tensor::Error::shape(operation, "a single value has no rows")
                .with("shape", shape)
                .into(),
        ),
    }
}

/// `(x_train, x_test, y_train, y_test)`.
pub type Split<T, U> = (Tensor<T>, Tensor<T>, Tensor<U>, Tensor<U>);

/// Splits the rows of `x` and `y` into a part to train on and a part to test on, shuffled by
/// `seed`: `(x_train, x_test, y_train, y_test)`.
///
/// The test part is `⌈fraction · rows⌉` rows. Row `i` of `x` stays beside row `i` of `y`.
///
/// ```
/// use nn::data::train_test_split;
/// use tensor::Tensor;
/// let x = Tensor::<f32>::zeros([10, 28, 28, 1])?;
/// let y = Tensor::<i64>::arange(0, 10, 1)?;
/// let (x_train, x_test, y_train, y_test) = train_test_split(&x, &y, 0.2, 42)?;
/// assert_eq!(*x_train.shape(), [8, 28, 28, 1]);
/// assert_eq!(*x_test.shape(), [2, 28, 28, 1]);
/// assert_eq!((y_train.len(), y_test.len()), (8, 2));
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// If `x` and `y` have different numbers of rows, `fraction` is not between 0 and 1, or either
/// part would be empty.
pub fn train_test_split<T: Element, U: Element>(
    x: &Tensor<T>,
    y: &Tensor<U>,
    fraction: f64,
    seed: u64,
) -> Result<Split<T, U>> {
    let count = same_rows("train_test_split", x.shape(), y.shape())?;
    let (train, test) = split_rows(count, fraction, seed)?;
    Ok((
        take_rows(x, &train)?,
        take_rows(x, &test)?,
        take_rows(y, &train)?,
        take_rows(y, &test)?,
    ))
}

/// The rows to train on and the rows to test on, each in shuffled order.
pub(crate) fn split_rows(
    count: usize,
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let invalid = |message: String| {
        tensor::Error::value("train_test_split", message)
            .with("fraction", fraction)
            .with("rows", count)
    };
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(invalid("the fraction to test on is not between 0 and 1".into()).into());
    }
    let test_count = (fraction * count as f64).ceil() as usize;
    if test_count >= count {
        return Err(invalid("no rows are left to train on".into()).into());
    }
    let mut test = shuffled("train_test_split", count, seed)?;
    let train = test.split_off(test_count);
    Ok((train, test))
}

/// The number of rows of both shapes.
pub(crate) fn same_rows(operation: &str, x: &Shape, y: &Shape) -> Result<usize> {
    let (count, _) = row_geometry(operation, x)?;
    let (other, _) = row_geometry(operation, y)?;
    if count == other {
        return Ok(count);
    }
    Err(
        tensor::Error::shape(operation, format!("{count} inputs but {other} targets"))
            .with("inputs", x)
            .with("targets", y)
            .fix("give one target per input")
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_never_changes() {
        assert_eq!(permutation(10, 42), ORDER_OF_TEN);
        for count in [0, 1, 2, 1000] {
            let mut sorted = permutation(count, 7);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count));
        }
    }

    /// What the first release drew: saved runs are repeated with it.
    const ORDER_OF_TEN: [usize; 10] = [9, 7, 2, 5, 0, 1, 4, 3, 8, 6];

    #[test]
    fn every_order_is_as_likely() {
        let mut counts = [0; 6];
        for seed in 0..6000 {
            let order = permutation(3, seed);
            counts[order[0] * 2 + usize::from(order[1] > order[2])] += 1;
        }
        // Standard deviation 29.
        assert!(
            counts.iter().all(|&n| (880..1120).contains(&n)),
            "{counts:?}"
        );
    }

    #[test]
    fn both_parts_keep_inputs_beside_targets() {
        let x = Tensor::from_fn([11, 2], |at| (10 * at[0] + at[1]) as i32).unwrap();
        let y = Tensor::<i64>::arange(0, 11, 1).unwrap();
        let (x_train, x_test, y_train, y_test) = train_test_split(&x, &y, 0.25, 3).unwrap();
        assert_eq!((y_train.len(), y_test.len()), (8, 3));
        for (x, y) in [(&x_train, &y_train), (&x_test, &y_test)] {
            for row in 0..y.len() {
                assert_eq!(i64::from(x[[row, 1]]), 10 * y[[row]] + 1);
            }
        }
        let mut all = [y_train.to_vec(), y_test.to_vec()].concat();
        all.sort_unstable();
        assert_eq!(all, y.to_vec());
    }

    #[test]
    fn splits_that_cannot_be() {
        let x = Tensor::<f32>::zeros([4, 2]).unwrap();
        let y = Tensor::<f32>::zeros([3]).unwrap();
        let message = train_test_split(&x, &y, 0.5, 0).unwrap_err().to_string();
        assert!(message.contains("4 inputs but 3 targets"), "{message}");
        for fraction in [0.0, 1.0, -1.0, f64::NAN, 0.9] {
            assert!(train_test_split(&x, &x, fraction, 0).is_err(), "{fraction}");
        }
        assert!(take_rows(&x, &[4]).is_err());
        assert!(take_rows(&Tensor::scalar(1), &[]).is_err());
    }
}
