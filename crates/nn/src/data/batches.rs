//! Batches: rows gathered in shuffled order, converted and scaled, ahead of their use if wanted.

use std::sync::{Arc, mpsc};

use tensor::{Element, Number, Tensor};

use super::array::{Array, with_tensor};
use super::rows::{permutation, row_geometry, same_rows, take_rows};
use crate::error::Result;

/// Inputs and targets, cut into batches: shuffled anew in every epoch, converted to floats and
/// scaled only as each batch is made.
///
/// ```
/// use nn::data::Batches;
/// use tensor::Tensor;
/// let images = Tensor::<u8>::full([10, 4, 4, 3], 128)?;
/// let labels = Tensor::<i64>::arange(0, 10, 1)?;
/// let batches = Batches::new(&images, &labels, 4)?.scale(1.0 / 256.0).shuffle(42);
/// for batch in batches.epoch(0).ahead::<f32>(2) {
///     let batch = batch?;
///     assert_eq!(batch.inputs.shape()[1..], [4, 4, 3]);
///     assert!(batch.inputs.iter().all(|x| x == 0.5));
/// }
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    inputs: Array,
    targets: Array,
    count: usize,
    batch_size: usize,
    scale: f64,
    seed: Option<u64>,
}

impl Batches {
    /// Batches of `batch_size` rows in the order of the arrays; the last one may be smaller.
    ///
    /// # Errors
    /// If the numbers of rows differ, there are none, or `batch_size` is 0.
    pub fn new(
        inputs: impl Into<Array>,
        targets: impl Into<Array>,
        batch_size: usize,
    ) -> Result<Self> {
        let (inputs, targets) = (inputs.into().contiguous(), targets.into().contiguous());
        let count = same_rows("batches", inputs.shape(), targets.shape())?;
        if count == 0 {
            return Err(
                tensor::Error::shape("batches", "there are no rows to make batches of")
                    .with("inputs", inputs.shape())
                    .into(),
            );
        }
        if batch_size == 0 {
            return Err(
                tensor::Error::value("batches", "a batch of 0 rows never gets anywhere")
                    .fix("give a batch size of at least 1")
                    .into(),
            );
        }
        Ok(Batches {
            inputs,
            targets,
            count,
            batch_size,
            scale: 1.0,
            seed: None,
        })
    }

    /// Multiplies every input by `scale`: 1/256 brings bytes into the range [0, 1).
    #[must_use]
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Draws the order of every epoch from `seed` and the number of the epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        self.count.div_ceil(self.batch_size)
    }

    /// Never: there is at least one batch.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of rows in an epoch.
    pub fn rows(&self) -> usize {
        self.count
    }

    /// The batches of one epoch.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        let order = match self.seed {
            // Any odd constant keeps the seeds of successive epochs and runs apart; this one is
            // 2⁶⁴ divided by the golden ratio, as in Knuth's multiplicative hashing.
            Some(seed) => permutation(
                self.count,
                seed.wrapping_add(epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ),
            None => (0..self.count).collect(),
        };
        Epoch {
            batches: self.clone(),
            order: order.into(),
        }
    }
}

/// The batches of one epoch, each of which any thread can make at any time.
#[derive(Clone, Debug)]
pub struct Epoch {
    batches: Batches,
    order: Arc<[usize]>,
}

/// Some rows of a data set.
#[derive(Clone, Debug)]
pub struct Batch<T: Element> {
    /// The inputs, converted and scaled.
    pub inputs: Tensor<T>,
    /// The targets as they are.
    pub targets: Array,
}

impl Epoch {
    /// The number of batches.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Never: there is at least one batch.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Batch number `index`: its inputs are `x · scale`, in `T`.
    ///
    /// # Errors
    /// If `index` is not below [`Epoch::len`], or memory is short.
    pub fn batch<T: Number>(&self, index: usize) -> Result<Batch<T>> {
        let Batches {
            inputs,
            targets,
            batch_size,
            scale,
            ..
        } = &self.batches;
        let rows = self.order.chunks(*batch_size).nth(index).ok_or_else(|| {
            tensor::Error::index(
                "batch",
                format!("batch {index} is outside the {} batches", self.len()),
            )
        })?;
        Ok(Batch {
            inputs: with_tensor!(inputs, x => gather_scaled(x, rows, *scale))?,
            targets: with_tensor!(targets, y => take_rows(y, rows)?.into()),
        })
    }

    /// All batches in order, made on another thread, at most `count` ahead of the one in use.
    ///
    /// The thread ends with the iterator.
    pub fn ahead<T: Number>(self, count: usize) -> impl Iterator<Item = Result<Batch<T>>> {
        let (sender, receiver) = mpsc::sync_channel(count);
        std::thread::spawn(move || {
            for index in 0..self.len() {
                if sender.send(self.batch(index)).is_err() {
                    break;
                }
            }
        });
        receiver.into_iter()
    }
}

/// `x[rows] · scale` in `T`; the product is formed in `T`.
fn gather_scaled<S: Element, T: Number>(
    x: &Tensor<S>,
    rows: &[usize],
    scale: f64,
) -> Result<Tensor<T>> {
    let (_, row_len) = row_geometry("batch", x.shape())?;
    let mut shape = x.shape().to_vec();
    shape[0] = rows.len();
    let mut out = Tensor::<T>::zeros(shape)?;
    if row_len == 0 {
        return Ok(out);
    }
    let source = x.as_slice().unwrap_or_default();
    let scale = T::from_f64(scale);
    for (out, &row) in out.make_mut().chunks_exact_mut(row_len).zip(rows) {
        for (out, &x) in out.iter_mut().zip(&source[row * row_len..][..row_len]) {
            *out = T::from_f64(x.to_f64()).times(scale);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered() -> Batches {
        let x = Tensor::from_fn([10, 3], |at| (10 * at[0] + at[1]) as u8).unwrap();
        let y = Tensor::<i64>::arange(0, 10, 1).unwrap();
        Batches::new(&x, &y, 4).unwrap().scale(0.5)
    }

    #[test]
    fn every_row_occurs_once_beside_its_target() {
        let batches = numbered().shuffle(1);
        for epoch in 0..3 {
            let mut seen = Vec::new();
            let epoch = batches.epoch(epoch);
            for index in 0..epoch.len() {
                let batch = epoch.batch::<f32>(index).unwrap();
                let targets = batch.targets.to_i64().unwrap();
                assert_eq!(targets.len(), [4, 4, 2][index]);
                for row in 0..targets.len() {
                    let expected = (10 * targets[[row]] + 2) as f32 * 0.5;
                    assert_eq!(batch.inputs[[row, 2]], expected);
                }
                seen.extend(targets.to_vec());
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..10));
        }
        let order = |epoch| {
            batches
                .epoch(epoch)
                .batch::<f32>(0)
                .unwrap()
                .targets
                .to_i64()
        };
        assert_eq!(order(0).unwrap(), order(0).unwrap());
        assert_ne!(order(0).unwrap(), order(1).unwrap());
    }

    #[test]
    fn made_ahead_they_are_the_same() {
        let epoch = numbered().shuffle(5).epoch(2);
        for depth in [0, 1, 8] {
            let ahead: Vec<_> = epoch.clone().ahead::<f32>(depth).collect();
            assert_eq!(ahead.len(), epoch.len());
            for (index, batch) in ahead.into_iter().enumerate() {
                assert_eq!(batch.unwrap().inputs, epoch.batch(index).unwrap().inputs);
            }
        }
        // Dropping the iterator early neither hangs nor fails.
        drop(epoch.clone().ahead::<f32>(1).next());
        assert!(epoch.batch::<f32>(3).is_err());
    }

    #[test]
    fn unshuffled_they_keep_the_order_and_views_are_read_in_theirs() {
        let x = Tensor::from_vec((0..6).map(f64::from).collect(), [2, 3])
            .unwrap()
            .t();
        let batches = Batches::new(&x, &x, 2).unwrap();
        let last = batches.epoch(9).batch::<f32>(1).unwrap();
        assert_eq!(last.inputs.to_vec(), [2.0, 5.0]);
        assert!(Batches::new(&x, &x, 0).is_err());
        let none = Tensor::<f32>::zeros([0, 3]).unwrap();
        let message = Batches::new(&none, &none, 2).unwrap_err().to_string();
        assert!(message.contains("no rows"), "{message}");
    }
}
