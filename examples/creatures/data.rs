//! The data of the example: what it is read from, and what is wrong with it, found before training.

use std::path::Path;

use nn::FileError;
use nn::data::{Array, ImageSet, npy, npz::Npz};

/// The least height and width that the windows of the network leave something of.
const SMALLEST: usize = 10;

/// Pictures and labels, to train and to test.
#[derive(Debug)]
pub struct Data {
    pub name: String,
    pub x_train: Array,
    pub x_test: Array,
    pub y_train: Array,
    pub y_test: Array,
    pub labels: Vec<String>,
}

impl Data {
    /// The digits that come with the program.
    pub fn digits(seed: u64) -> nn::Result<Self> {
        let archive = include_bytes!("../data/digits.npz");
        let set = ImageSet::from_npz(&mut Npz::from_bytes(archive)?)?;
        held_out(Path::new("Digits"), set, 0.2, seed)
    }

    /// A folder of pictures, brought to `size × size` pixels, or of CIFAR-10's binaries.
    pub fn pictures(folder: &Path, size: usize, seed: u64) -> nn::Result<Self> {
        if folder.join("data_batch_1.bin").exists() {
            let (train, test) = ImageSet::from_cifar10(folder)?;
            return Ok(Data::from_sets(folder, train, test)?);
        }
        let set = ImageSet::from_folder(folder, [size, size])?;
        held_out(folder, set, 0.1, seed)
    }

    /// A file of four arrays: `np.save(path, (X_train, x_test, Y_train, y_test))`.
    pub fn numpy(path: &Path) -> nn::Result<Self> {
        Ok(Data::from_arrays(path, npy::load_objects(path)?)?)
    }

    fn from_sets(path: &Path, train: ImageSet, test: ImageSet) -> Result<Self, FileError> {
        let arrays = [
            train.images.into(),
            test.images.into(),
            train.labels.into(),
            test.labels.into(),
        ];
        Ok(Data {
            labels: train.classes,
            ..Data::from_arrays(path, arrays)?
        })
    }

    /// The arrays of the file at `path`, if the network can be trained on them.
    fn from_arrays(path: &Path, arrays: [Array; 4]) -> Result<Self, FileError> {
        let [x_train, x_test, y_train, y_test] = arrays;
        let largest = [
            Part::new(path, "training", &x_train).largest_label(&y_train)?,
            Part::new(path, "test", &x_test).largest_label(&y_test)?,
        ];
        let (size, other) = (&x_train.shape()[1..], &x_test.shape()[1..]);
        if size != other {
            let cause = format!(
                "the training pictures are {}, the test pictures {}",
                times(size),
                times(other)
            );
            return Err(FileError::new(path, cause).fix("bring all pictures to one size"));
        }
        if size[0] < SMALLEST || size[1] < SMALLEST || size[2] == 0 {
            let cause = format!(
                "the pictures are {} (height, width, channels), and the network needs at least \
                 {SMALLEST}×{SMALLEST}×1",
                times(size)
            );
            let error = FileError::new(path, cause);
            return Err(match size[0] {
                1 | 3 | 4 => {
                    error.fix("if the channels come first, move them: x = numpy.moveaxis(x, 1, -1)")
                }
                _ => error.fix("use larger pictures"),
            });
        }
        // More classes than pictures can only be a mistake, and takes memory for each.
        let pictures = x_train.shape()[0] + x_test.shape()[0];
        let most = largest[0].max(largest[1]);
        let classes = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        if classes > pictures {
            let cause = format!("has a label {most}, but only {pictures} pictures");
            return Err(FileError::new(path, cause).fix("number the classes from 0"));
        }
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Ok(Data {
            name: name.to_string_lossy().into_owned(),
            x_train,
            x_test,
            y_train,
            y_test,
            labels: (0..classes).map(|class| class.to_string()).collect(),
        })
    }
}

/// Keeps a fraction of the pictures for the test.
fn held_out(path: &Path, set: ImageSet, fraction: f64, seed: u64) -> nn::Result<Data> {
    if set.len() < 2 {
        let cause = "holds a single picture, which cannot be both trained and tested on";
        return Err(FileError::new(path, cause).fix("add pictures").into());
    }
    let (train, test) = set.split(fraction, seed)?;
    Ok(Data::from_sets(path, train, test)?)
}

/// One half of the data, for errors.
struct Part<'a> {
    path: &'a Path,
    name: &'a str,
    pictures: &'a Array,
}

impl<'a> Part<'a> {
    fn new(path: &'a Path, name: &'a str, pictures: &'a Array) -> Self {
        Part {
            path,
            name,
            pictures,
        }
    }

    fn error(&self, cause: String) -> FileError {
        FileError::new(self.path, cause).at(format!("the {} pictures", self.name))
    }

    /// The largest label, if these are pictures with one label each.
    fn largest_label(&self, labels: &Array) -> Result<i64, FileError> {
        let shape = self.pictures.shape();
        let &[count, ..] = &shape[..] else {
            return Err(self.error("a single number is no array of pictures".to_string()));
        };
        if shape.rank() != 4 {
            let cause = format!(
                "the array has the shape {shape}, and pictures have four axes: count, height, \
                 width, channels"
            );
            let error = self.error(cause);
            return Err(match shape.rank() {
                3 => error.fix("give grey pictures one channel: x = x[..., numpy.newaxis]"),
                _ => error.fix("save pictures, labels as (X_train, x_test, Y_train, y_test)"),
            });
        }
        if count == 0 {
            return Err(self.error("there are none".to_string()));
        }
        let one_each = matches!(labels.shape()[..], [_] | [_, 1]);
        if !one_each {
            let cause = format!("the labels have the shape {}, not one axis", labels.shape());
            return Err(self
                .error(cause)
                .fix("make labels of one-hot rows: y = y.argmax(axis=1)"));
        }
        if labels.len() != count {
            let cause = format!("{count} pictures have {} labels", labels.len());
            return Err(self.error(cause).fix("give one label a picture"));
        }
        let labels = labels
            .to_i64()
            .map_err(|error| self.error(error.to_string()))?;
        if let Some((picture, label)) = labels.iter().enumerate().find(|(_, label)| *label < 0) {
            let cause = format!("the label of picture {picture} is {label}");
            return Err(self.error(cause).fix("number the classes from 0"));
        }
        Ok(labels.iter().max().unwrap_or(0))
    }
}

/// `3×4×5`.
fn times(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join("×")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::prelude::*;

    fn pictures(shape: &[usize]) -> Array {
        Tensor::<u8>::zeros(shape).unwrap().into()
    }

    fn labels(labels: &[i64]) -> Array {
        Tensor::from(labels.to_vec()).into()
    }

    /// Two pictures to train on and one to test, but for what `change` makes of them.
    fn with(change: impl FnOnce(&mut [Array; 4])) -> Result<Data, FileError> {
        let mut arrays = [
            pictures(&[2, 12, 11, 3]),
            pictures(&[1, 12, 11, 3]),
            labels(&[0, 2]),
            labels(&[1]),
        ];
        change(&mut arrays);
        Data::from_arrays(Path::new("data/animals.npy"), arrays)
    }

    #[test]
    fn good_data_pass() {
        let data = with(|_| {}).unwrap();
        assert_eq!((&data.name[..], data.labels.len()), ("animals", 3));
        let column = Tensor::from([[0.0_f32], [2.0]]);
        assert_eq!(
            with(|arrays| arrays[2] = column.into())
                .unwrap()
                .labels
                .len(),
            3
        );
        assert_eq!(Data::digits(42).unwrap().labels.len(), 10);
    }

    #[test]
    fn bad_data_are_found_and_named() {
        type Change = fn(&mut [Array; 4]);
        let cases: [(Change, &str, &str); 14] = [
            (
                |a| a[1] = pictures(&[1, 11, 12, 3]),
                "training pictures are 12×11×3, the test pictures 11×12×3",
                "",
            ),
            (
                |a| a[3] = labels(&[1, 0]),
                "1 pictures have 2 labels",
                "the test pictures",
            ),
            (
                |a| a[2] = labels(&[1]),
                "2 pictures have 1 labels",
                "the training pictures",
            ),
            (
                |a| (a[0], a[2]) = (pictures(&[0, 12, 11, 3]), labels(&[])),
                "there are none",
                "the training pictures",
            ),
            (
                |a| (a[1], a[3]) = (pictures(&[0, 12, 11, 3]), labels(&[])),
                "there are none",
                "the test pictures",
            ),
            (
                |a| a[0] = pictures(&[2, 12, 11]),
                "numpy.newaxis",
                "the training pictures",
            ),
            (
                |a| a[1] = pictures(&[12, 11]),
                "four axes",
                "the test pictures",
            ),
            (
                |a| a[0] = pictures(&[]),
                "a single number",
                "the training pictures",
            ),
            (
                |a| a[2] = pictures(&[2, 6]),
                "argmax",
                "the training pictures",
            ),
            (
                |a| a[2] = labels(&[0, -1]),
                "the label of picture 1 is -1",
                "the training pictures",
            ),
            (
                |a| a[2] = Tensor::from([0.0_f32, 0.5]).into(),
                "0.5 is no whole number",
                "the training pictures",
            ),
            (
                |a| a[3] = labels(&[1_000_000_000]),
                "has a label 1000000000, but only 3 pictures",
                "",
            ),
            (|a| a[3] = labels(&[i64::MAX]), "9223372036854775807", ""),
            (|a| a[0] = pictures(&[2, 12, 11, 0]), "", ""),
        ];
        for (change, cause, place) in cases {
            let error = with(change).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("data/animals.npy: "), "{text}");
            assert!(text.contains(cause), "{text}");
            assert!(error.place().unwrap_or_default().contains(place), "{text}");
        }
        for (shape, words) in [
            ([3, 32, 32], "moveaxis"),
            ([12, 9, 3], "12×9×3"),
            ([12, 12, 0], "12×12×0"),
        ] {
            let [a, b, c] = shape;
            let change = |arrays: &mut [Array; 4]| {
                arrays[0] = pictures(&[2, a, b, c]);
                arrays[1] = pictures(&[1, a, b, c]);
            };
            let text = with(change).unwrap_err().to_string();
            assert!(text.contains(words) && text.contains("10×10×1"), "{text}");
        }
    }

    #[test]
    fn the_network_needs_pictures_of_the_smallest_size() {
        let builds = |height, width| examples::classifier(&[height, width, 1], 2, 1).is_ok();
        assert!(builds(SMALLEST, SMALLEST));
        assert!(!builds(SMALLEST - 1, SMALLEST) && !builds(SMALLEST, SMALLEST - 1));
    }
}
