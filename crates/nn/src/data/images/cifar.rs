//! CIFAR-10 in its binary version (Krizhevsky 2009).

use std::path::Path;

use tensor::Tensor;

use super::ImageSet;
use crate::data::source::Source;
use crate::error::{FileError, Result};

const SIZE: usize = 32;
const PIXELS: usize = SIZE * SIZE;
const RECORD: usize = 1 + 3 * PIXELS;

impl ImageSet {
    /// Reads the folder `cifar-10-batches-bin`: the images to train on, from `data_batch_1.bin` to
    /// `data_batch_5.bin`, and those of `test_batch.bin`; the classes from `batches.meta.txt`.
    ///
    /// A record is a label and the red, green and blue planes of a 32×32 image; here the channels
    /// of each pixel lie together.
    ///
    /// ```no_run
    /// use nn::data::ImageSet;
    /// let (train, test) = ImageSet::from_cifar10("data/cifar-10-batches-bin")?;
    /// assert_eq!(*train.images.shape(), [50_000, 32, 32, 3]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file is missing, ends within a record, or has a label that names no class.
    pub fn from_cifar10(folder: impl AsRef<Path>) -> Result<(Self, Self)> {
        let folder = folder.as_ref();
        let names = folder.join("batches.meta.txt");
        let classes: Vec<String> = String::from_utf8(crate::files::read(&names)?)
            .map_err(|error| FileError::new(&names, format!("is no text: {error}")))?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_string)
            .collect();
        let train: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
        Ok((
            read(folder, &train, &classes)?,
            read(folder, &["test_batch.bin".to_string()], &classes)?,
        ))
    }
}

fn read(folder: &Path, files: &[String], classes: &[String]) -> Result<ImageSet> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let mut source = Source::open(&folder.join(file))?;
        if source.length() % RECORD as u64 != 0 {
            return Err(source
                .error(format!(
                    "its {} bytes are no whole number of records of {RECORD}",
                    source.length()
                ))
                .fix("unpack the binary version of CIFAR-10 again")
                .into());
        }
        let mut record = [0; RECORD];
        while source.remaining() > 0 {
            let start = source.position();
            source.fill(&mut record, "an image")?;
            let [label, planes @ ..] = &record;
            if usize::from(*label) >= classes.len() {
                return Err(source
                    .error_at(
                        start,
                        format!("label {label} is outside the {} classes", classes.len()),
                    )
                    .into());
            }
            labels.push(i64::from(*label));
            images.extend((0..3 * PIXELS).map(|i| planes[i % 3 * PIXELS + i / 3]));
        }
    }
    let count = labels.len();
    ImageSet::new(
        Tensor::from_vec(images, [count, SIZE, SIZE, 3])?,
        Tensor::from_vec(labels, [count])?,
        classes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8) -> Vec<u8> {
        let plane = |c: usize| (0..PIXELS).map(move |i| (100 * c + i % 32 + i / 32) as u8);
        std::iter::once(label)
            .chain((0..3).flat_map(plane))
            .collect()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for i in 1..=5 {
            let name = folder.path().join(format!("data_batch_{i}.bin"));
            std::fs::write(name, [record(i), record(0)].concat()).unwrap();
        }
        std::fs::write(folder.path().join("test_batch.bin"), record(2)).unwrap();
        let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\n\n";
        std::fs::write(folder.path().join("batches.meta.txt"), names).unwrap();
        folder
    }

    #[test]
    fn planes_become_pixels() {
        let folder = folder();
        let (train, test) = ImageSet::from_cifar10(folder.path()).unwrap();
        assert_eq!(*train.images.shape(), [10, 32, 32, 3]);
        assert_eq!(train.labels.to_vec(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
        assert_eq!(test.classes[2], "bird");
        assert_eq!(test.labels.to_vec(), [2]);
        for (y, x, c) in [(0, 0, 0), (3, 5, 1), (31, 30, 2), (0, 31, 2)] {
            assert_eq!(test.images[[0, y, x, c]], (100 * c + x + y) as u8);
        }
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = folder();
        let batch = folder.path().join("data_batch_3.bin");
        let message = || {
            ImageSet::from_cifar10(folder.path())
                .unwrap_err()
                .to_string()
        };
        std::fs::write(&batch, &record(0)[..100]).unwrap();
        assert!(message().contains("data_batch_3.bin"), "{}", message());
        std::fs::write(&batch, [record(1), record(6)].concat()).unwrap();
        assert!(message().contains("label 6") && message().contains("byte 3073"));
        std::fs::remove_file(&batch).unwrap();
        assert!(message().contains("data_batch_3.bin") && message().contains("open"));
    }
}
