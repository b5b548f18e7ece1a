//! Batches: rows gathered in shuffled order, converted and scaled, ahead of their use.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use tensor::{Error, Float, Shape, Tensor, vec_with_capacity};

use super::ahead::Worker;
use super::augment::Augment;
use super::rows::same_rows;
use crate::error::Result;
use crate::samples::{Inputs, TargetArrays, Targets};

/// Batches with fewer inputs than this are made when they are asked for: to hand one from thread
/// to thread takes as long as making it.
const SMALLEST_AHEAD: usize = 1 << 14;

/// Inputs and targets, cut into batches: shuffled anew in every epoch, and converted to floats and
/// scaled only as each batch is made. What [`Model::fit`](crate::Model::fit) trains on;
/// also for training loops of one's own.
///
/// ```
/// use nn::data::{Array, Batches};
/// use nn::prelude::*;
///
/// let mut model = Sequential::new();
/// model.add(Flatten::new().input_shape(&[4, 4, 3]));
/// model.add(Dense::new(10).activation(ActivationFunction::Softmax));
/// model.compile(SparseCategoricalCrossentropy::new(), Adam::default(), [Accuracy::new()])?;
///
/// let images = Array::from(Tensor::<u8>::full([10, 4, 4, 3], 128)?);
/// let labels = Tensor::<i64>::arange(0, 10, 1)?;
/// let batches = Batches::new(images / 256.0, &labels, 4)?.shuffle(42);
/// let mut ahead = batches.ahead::<f32>(0..3);
/// let mut sizes = Vec::new();
/// while let Some(batch) = ahead.next_batch()? {
///     assert!(batch.inputs[0].iter().all(|x| x == 0.5));
///     model.train_on_batch(&batch.inputs, &batch.targets)?;
///     sizes.push(batch.targets[0].len());
/// }
/// assert_eq!(sizes, [4, 4, 2, 4, 4, 2, 4, 4, 2]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    inputs: Inputs,
    targets: TargetArrays,
    batch_size: usize,
    seed: Option<u64>,
}

impl Batches {
    /// Batches of `batch_size` rows in the order of the arrays; the last one may be smaller.
    ///
    /// # Errors
    /// If the numbers of rows differ, there are none, or `batch_size` is 0.
    pub fn new(
        inputs: impl Into<Inputs>,
        targets: impl Into<TargetArrays>,
        batch_size: usize,
    ) -> Result<Self> {
        Self::for_operation("batches", inputs.into(), targets.into(), batch_size)
    }

    /// [`Batches::new`], whose errors name the operation that the caller has called.
    pub(crate) fn for_operation(
        operation: &str,
        inputs: Inputs,
        targets: TargetArrays,
        batch_size: usize,
    ) -> Result<Self> {
        let count = inputs.len();
        for x in inputs.shapes() {
            for y in targets.arrays() {
                same_rows(operation, x, y.shape())?;
            }
        }
        if count == 0 {
            return Err(Error::value(operation, "there are no samples")
                .with("x", inputs.shape())
                .into());
        }
        if batch_size == 0 {
            return Err(Error::value(operation, "the batch size is 0")
                .fix("use at least 1")
                .into());
        }
        Ok(Batches {
            inputs,
            targets,
            batch_size,
            seed: None,
        })
    }

    /// Draws the order of every epoch from `seed` and the number of the epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        self.rows().div_ceil(self.batch_size)
    }

    /// Never: there is at least one batch.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of rows in an epoch.
    pub fn rows(&self) -> usize {
        self.inputs.len()
    }

    /// All batches of these epochs, one epoch after the other.
    ///
    /// Large ones are made on a thread of their own, up to two ahead of the one in use, and in the
    /// memory of those that were used before; which thread makes them changes no bit.
    #[must_use]
    pub fn ahead<T: Float>(&self, epochs: Range<usize>) -> Ahead<T> {
        self.start(epochs, None)
    }

    /// [`Batches::ahead`] with each sample changed by `augment`, as random numbers say that the
    /// sample's row, the epoch and `seed` determine.
    ///
    /// ```
    /// use nn::data::{Batches, RandomFlip};
    /// use tensor::Tensor;
    /// let images = Tensor::<f32>::from_fn([8, 1, 2, 1], |at| at[2] as f32)?;
    /// let batches = Batches::new(&images, &Tensor::<i64>::zeros([8])?, 8)?;
    /// let mut ahead = batches.ahead_augmented::<f32>(0..1, 1, RandomFlip::horizontal());
    /// let batch = ahead.next_batch()?.unwrap();
    /// let (some, others) = ([0.0, 1.0], [1.0, 0.0]);
    /// let images = batch.inputs[0].to_vec();
    /// assert!(images.chunks(2).any(|image| image == some));
    /// assert!(images.chunks(2).any(|image| image == others));
    /// # Ok::<(), nn::Error>(())
    /// ```
    #[must_use]
    pub fn ahead_augmented<T: Float>(
        &self,
        epochs: Range<usize>,
        seed: u64,
        augment: impl Augment<T> + 'static,
    ) -> Ahead<T> {
        let augment = Arc::new(augment);
        self.start(epochs, Some(Augmentation { seed, augment }))
    }

    fn start<T: Float>(
        &self,
        epochs: Range<usize>,
        augmentation: Option<Augmentation<T>>,
    ) -> Ahead<T> {
        let maker = || Maker {
            batches: self.clone(),
            epochs: epochs.clone(),
            epoch: 0,
            order: Vec::new(),
            done: 0,
            augmentation: augmentation.clone(),
        };
        let rows = self.batch_size.min(self.rows());
        let row_len: usize = (self.inputs.sample_shapes().iter())
            .map(|shape| shape.elements())
            .fold(0, usize::saturating_add);
        let mut source = Source::Here(Box::new(maker()));
        if rows.saturating_mul(row_len) >= SMALLEST_AHEAD {
            let mut maker = maker();
            // A system that gives no thread makes training slower, not impossible.
            if let Ok(worker) = Worker::start(move |used| maker.next(used)) {
                source = Source::There(worker);
            }
        }
        Ahead {
            source,
            current: None,
        }
    }

    /// Makes `order` the order of the rows in an epoch.
    fn order(&self, epoch: usize, order: &mut Vec<usize>) -> Result<()> {
        if order.capacity() < self.rows() {
            *order = vec_with_capacity("batches", self.rows())?;
        }
        order.clear();
        order.extend(0..self.rows());
        if let Some(seed) = self.seed {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            // The layers' first weights come from the streams that count up from 0.
            generator.set_stream(u64::MAX - epoch as u64);
            order.shuffle(&mut generator);
        }
        Ok(())
    }
}

/// Some rows of a data set.
#[derive(Clone, Debug)]
pub struct Batch<T: Float> {
    /// The inputs, converted and scaled, one tensor for each input of the model.
    pub inputs: Vec<Tensor<T>>,
    /// What the model should answer, for each of its outputs.
    pub targets: Vec<Targets<T>>,
}

/// Batches in order, made ahead of their use; see [`Batches::ahead`].
///
/// To drop it early is fine: the thread that makes batches then ends.
pub struct Ahead<T: Float> {
    source: Source<T>,
    current: Option<Batch<T>>,
}

/// Who makes the batches.
enum Source<T: Float> {
    Here(Box<Maker<T>>),
    There(Worker<Batch<T>>),
}

impl<T: Float> Ahead<T> {
    /// The next batch; none after the last, or after an error. Its memory is used again for a
    /// later one, unless a clone of its tensors is kept.
    ///
    /// # Errors
    /// If memory is short.
    ///
    /// # Panics
    /// If the thread that makes batches did.
    pub fn next_batch(&mut self) -> Result<Option<&Batch<T>>> {
        let used = self.current.take();
        let next = match &mut self.source {
            Source::Here(maker) => maker.next(used),
            Source::There(worker) => worker.next(used),
        };
        self.current = next.transpose()?;
        Ok(self.current.as_ref())
    }
}

impl<T: Float> fmt::Debug for Ahead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = match self.source {
            Source::Here(_) => "here",
            Source::There(_) => "on another thread",
        };
        f.debug_struct("Ahead").field("made", &made).finish()
    }
}

/// Makes one batch after the other.
struct Maker<T: Float> {
    batches: Batches,
    /// Those that have not begun.
    epochs: Range<usize>,
    /// The current one, its rows in order, and how many of them are in batches made so far.
    epoch: usize,
    order: Vec<usize>,
    done: usize,
    augmentation: Option<Augmentation<T>>,
}

/// What changes samples, and the seed of its random numbers.
#[derive(Clone)]
struct Augmentation<T: Float> {
    seed: u64,
    augment: Arc<dyn Augment<T>>,
}

impl<T: Float> Augmentation<T> {
    /// Changes the samples of a batch, which come from these rows.
    fn apply(&self, epoch: usize, rows: &[usize], inputs: &mut Tensor<T>) {
        let shape = Shape::from(inputs.shape().get(1..).unwrap_or(&[]));
        let samples = inputs.make_mut();
        let len = samples.len() / rows.len().max(1);
        if len == 0 {
            return;
        }
        for (sample, &row) in samples.chunks_exact_mut(len).zip(rows) {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&self.seed.to_le_bytes());
            key[8..16].copy_from_slice(&(epoch as u64).to_le_bytes());
            let mut random = ChaCha8Rng::from_seed(key);
            random.set_stream(row as u64);
            self.augment.augment(sample, &shape, &mut random);
        }
    }
}

impl<T: Float> Maker<T> {
    /// The next batch, in the memory of one that was used up if there is any.
    fn next(&mut self, used: Option<Batch<T>>) -> Option<Result<Batch<T>>> {
        let batches = &self.batches;
        if self.done >= self.order.len() {
            let epoch = self.epochs.next()?;
            if let Err(error) = batches.order(epoch, &mut self.order) {
                self.epochs = 0..0;
                return Some(Err(error));
            }
            (self.epoch, self.done) = (epoch, 0);
        }
        let end = self.order.len().min(self.done + batches.batch_size);
        let rows = &self.order[self.done..end];
        self.done = end;
        let mut made = Self::gather(batches, rows, used);
        if let (Ok(batch), Some(augmentation)) = (&mut made, &self.augmentation) {
            let inputs = batch.inputs.iter_mut();
            inputs.for_each(|inputs| augmentation.apply(self.epoch, rows, inputs));
        }
        if made.is_err() {
            (self.epochs, self.done) = (0..0, self.order.len());
        }
        Some(made)
    }

    fn gather(batches: &Batches, rows: &[usize], used: Option<Batch<T>>) -> Result<Batch<T>> {
        let mut batch = match used {
            Some(batch) => batch,
            None => Batch {
                inputs: Vec::new(),
                targets: Vec::new(),
            },
        };
        batches.inputs.gather(rows, &mut batch.inputs)?;
        batches.targets.gather(rows, &mut batch.targets)?;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use crate::data::Array;
    use rand::RngExt;
    use tensor::Generator;

    use super::*;

    /// Rows `r` of `width` bytes `10 · r + column`, modulo 256, beside their numbers.
    fn numbered(count: usize, width: usize, size: usize) -> Batches {
        let x = Tensor::from_fn([count, width], |at| (10 * at[0] + at[1]) as u8).unwrap();
        let y = Tensor::<i64>::arange(0, count as i64, 1).unwrap();
        Batches::new(Array::from(x) / 2.0, &y, size).unwrap()
    }

    /// The rows of all batches.
    fn rows_of(mut ahead: Ahead<f32>) -> Vec<i64> {
        let mut rows = Vec::new();
        while let Some(batch) = ahead.next_batch().unwrap() {
            let Targets::Labels(labels) = &batch.targets[0] else {
                panic!("whole numbers are labels");
            };
            for (place, row) in labels.iter().enumerate() {
                for column in [0, batch.inputs[0].shape()[1] - 1] {
                    let expected = f32::from((10 * row + column as i64) as u8) / 2.0;
                    assert_eq!(batch.inputs[0][[place, column]], expected);
                }
                rows.push(row);
            }
        }
        assert!(ahead.next_batch().unwrap().is_none());
        rows
    }

    #[test]
    fn every_row_occurs_once_an_epoch_beside_its_target_whoever_makes_the_batches() {
        let wide = SMALLEST_AHEAD / 4;
        for seed in [1, 2] {
            let (here, there) = (numbered(10, 3, 4), numbered(10, wide, 4));
            let (here, there) = (here.shuffle(seed), there.shuffle(seed));
            assert!(matches!(here.ahead::<f32>(0..1).source, Source::Here(_)));
            assert!(matches!(there.ahead::<f32>(0..1).source, Source::There(_)));
            let rows = rows_of(here.ahead(0..3));
            assert_eq!(rows, rows_of(there.ahead(0..3)));
            for epoch in 0..3 {
                let own = rows_of(there.ahead(epoch..epoch + 1));
                assert_eq!(own, rows[10 * epoch..][..10]);
                let mut sorted = own.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..10));
                assert_ne!(own, rows[10 * ((epoch + 1) % 3)..][..10]);
            }
        }
    }

    #[test]
    fn what_changes_a_sample_is_that_of_its_row_epoch_and_seed() {
        // Adds a random number to the first element and the place of the last.
        let noise = |sample: &mut [f32], shape: &Shape, random: &mut Generator| {
            assert_eq!(sample.len(), shape.elements());
            sample[0] += random.random_range(0.0_f32..1.0);
        };
        // By row, what was added in an epoch.
        let added = |batches: &Batches, epoch: usize, seed: u64| {
            let mut ahead = batches.ahead_augmented::<f32>(epoch..epoch + 1, seed, noise);
            let mut added = vec![0.0; batches.rows()];
            while let Some(batch) = ahead.next_batch().unwrap() {
                let Targets::Labels(labels) = &batch.targets[0] else {
                    panic!("whole numbers are labels");
                };
                for (place, row) in labels.iter().enumerate() {
                    added[row as usize] = batch.inputs[0][[place, 0]] - (10 * row) as f32 / 2.0;
                }
            }
            added
        };
        let first = added(&numbered(10, 3, 4), 0, 1);
        assert!(first.iter().all(|added| (0.0..1.0).contains(added)));
        assert!((1..10).all(|row| first[row] != first[0]));
        // Neither the order, nor the size of batches, nor the thread that makes them matters.
        let others = [
            numbered(10, 3, 4).shuffle(5),
            numbered(10, 3, 1),
            numbered(10, SMALLEST_AHEAD, 3).shuffle(7),
        ];
        for batches in &others {
            assert_eq!(added(batches, 0, 1), first);
        }
        for (epoch, seed) in [(1, 1), (0, 2)] {
            assert_ne!(added(&numbered(10, 3, 4), epoch, seed), first);
        }
    }

    #[test]
    fn unshuffled_they_keep_the_order_and_views_are_read_in_theirs() {
        let x = Tensor::from_vec((0..6).map(f64::from).collect(), [2, 3]);
        let x = x.unwrap().t();
        let batches = Batches::new(&x, &x, 2).unwrap();
        assert_eq!((batches.len(), batches.rows()), (2, 3));
        let mut ahead = batches.ahead::<f64>(9..10);
        ahead.next_batch().unwrap();
        let last = ahead.next_batch().unwrap().unwrap();
        assert_eq!(last.inputs[0].to_vec(), [2.0, 5.0]);
        let Targets::Values(targets) = &last.targets[0] else {
            panic!("floats are values");
        };
        assert_eq!(targets.to_vec(), [2.0, 5.0]);
    }

    #[test]
    fn a_batch_that_is_kept_keeps_its_values_and_others_share_four_places() {
        let batches = numbered(64, SMALLEST_AHEAD, 1);
        let mut ahead = batches.ahead::<f32>(0..1);
        let kept = ahead.next_batch().unwrap().unwrap().inputs[0].clone();
        let mut places = std::collections::HashSet::new();
        while let Some(batch) = ahead.next_batch().unwrap() {
            places.insert(batch.inputs[0].as_slice().unwrap().as_ptr());
        }
        assert!(places.len() <= 5, "{} places", places.len());
        assert_eq!((kept[[0, 0]], kept[[0, 3]]), (0.0, 1.5));
    }

    #[test]
    fn dropped_early_or_without_epochs_they_end() {
        let batches = numbered(8, SMALLEST_AHEAD, 2);
        for taken in 0..3 {
            let mut ahead = batches.ahead::<f32>(0..usize::MAX);
            for _ in 0..taken {
                assert!(ahead.next_batch().unwrap().is_some());
            }
        }
        assert!(batches.ahead::<f32>(3..3).next_batch().unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let message = |x: &Tensor<f32>, y: &Tensor<f32>, size| {
            Batches::new(x, y, size).unwrap_err().to_string()
        };
        let (some, none) = (Tensor::zeros([2, 3]), Tensor::zeros([0, 3]));
        let (some, none) = (some.unwrap(), none.unwrap());
        assert!(message(&none, &none, 2).contains("no samples"));
        assert!(message(&some, &none, 2).contains("2 inputs but 0 targets"));
        assert!(message(&some, &some, 0).contains("batch size is 0"));
        let single = Tensor::scalar(1.0);
        assert!(message(&single, &single, 1).contains("no rows"));
    }
}
