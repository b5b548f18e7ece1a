//! Sets of labelled images, and the forms in which they are handed around.

mod cifar;
mod decode;
mod folder;
mod idx;

use tensor::Tensor;

pub use self::idx::load as load_idx;
use super::npz::Npz;
use super::rows::{same_rows, split_rows, take_rows};
use crate::error::Result;

/// Images with their labels.
///
/// ```
/// use nn::data::ImageSet;
/// use tensor::Tensor;
/// let images = Tensor::<u8>::zeros([4, 8, 8, 3])?;
/// let labels = Tensor::from_vec(vec![0_i64, 1, 1, 0], [4])?;
/// let set = ImageSet::new(images, labels, ["cats", "dogs"])?;
/// let (train, test) = set.split(0.25, 42)?;
/// assert_eq!((train.len(), test.len()), (3, 1));
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageSet {
    /// `[count, height, width, channels]`.
    pub images: Tensor<u8>,
    /// `[count]`, each a position in `classes`.
    pub labels: Tensor<i64>,
    /// The names of the classes.
    pub classes: Vec<String>,
}

impl ImageSet {
    /// A set of these images.
    ///
    /// # Errors
    /// If `images` has not four axes, there is not one label per image, or a label names no class.
    pub fn new(
        images: Tensor<u8>,
        labels: Tensor<i64>,
        classes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self> {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        if images.rank() != 4 || labels.rank() != 1 {
            return Err(tensor::Error::shape(
                "image_set",
                "images have four axes (count, height, width, channels) and labels one (count)",
            )
            .with("images", images.shape())
            .with("labels", labels.shape())
            .into());
        }
        same_rows("image_set", images.shape(), labels.shape())?;
        let known = 0..classes.len() as i64;
        if let Some((at, label)) = labels.iter().enumerate().find(|(_, x)| !known.contains(x)) {
            return Err(tensor::Error::value(
                "image_set",
                format!("label {label} is outside the {} classes", classes.len()),
            )
            .with("image", at)
            .fix("labels count from 0; name every class")
            .into());
        }
        Ok(ImageSet {
            images,
            labels,
            classes,
        })
    }

    /// The arrays `images` and `labels` of an archive; classes are called `"0"`, `"1"`, ….
    ///
    /// # Errors
    /// If either array is missing or of another type or rank, and as [`ImageSet::new`].
    pub fn from_npz(archive: &mut Npz<'_>) -> Result<Self> {
        let images = archive.array_as::<u8, 4>("images")?;
        let labels = archive.array("labels")?.to_i64()?;
        let classes = labels
            .iter()
            .max()
            .map_or(0, |most| most.max(0) as usize + 1);
        // A label far beyond the number of images is a mistake, and no reason for names.
        let classes = classes.min(labels.len());
        ImageSet::new(images, labels, (0..classes).map(|class| class.to_string()))
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images that `rows` lists, in its order.
    ///
    /// # Errors
    /// If a row is outside the set.
    pub fn take(&self, rows: &[usize]) -> Result<Self> {
        Ok(ImageSet {
            images: take_rows(&self.images, rows)?,
            labels: take_rows(&self.labels, rows)?,
            classes: self.classes.clone(),
        })
    }

    /// A part to train on and a part of `⌈fraction · len⌉` images to test on, both in an order
    /// that `seed` decides.
    ///
    /// # Errors
    /// If `fraction` is not between 0 and 1 or either part would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let (train, test) = split_rows(self.len(), fraction, seed)?;
        Ok((self.take(&train)?, self.take(&test)?))
    }
}
