//! A folder of images per class.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tensor::Tensor;

use super::ImageSet;
use super::decode::Decoder;
use crate::error::{FileError, Result};

impl ImageSet {
    /// Reads `path/CLASS/NAME.jpg` (or `.jpeg`, `.png`) for all classes and names.
    ///
    /// Classes and images come in the order of their names, so that the result does not depend on
    /// the file system. Every image is brought to three channels and to `[height, width]`: with a
    /// triangle filter as wide as the change of size asks for, which is what Pillow calls bilinear,
    /// and without regard to its proportions. Files that begin with a dot or are no images by their
    /// names are passed over.
    ///
    /// Pictures that are being decoded take at most 1 GiB together, on however many threads. One
    /// that would need more, or that promises more pixels than its file can hold, is an error.
    ///
    /// ```no_run
    /// use nn::data::ImageSet;
    /// let set = ImageSet::from_folder("data/animals", [100, 100])?;
    /// println!("{} images of {:?}", set.len(), set.classes);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Naming the first image that cannot be read and why; if a folder cannot be listed, there are
    /// no classes, or a class has no images.
    pub fn from_folder(path: impl AsRef<Path>, [height, width]: [usize; 2]) -> Result<Self> {
        let path = path.as_ref();
        let (Ok(rows), Ok(columns)) = (u32::try_from(height), u32::try_from(width)) else {
            return Err(tensor::Error::value("from_folder", "the size is too large").into());
        };
        if rows == 0 || columns == 0 {
            return Err(
                tensor::Error::value("from_folder", "images of no pixels have no use")
                    .with("size", format!("[{height}, {width}]"))
                    .into(),
            );
        }
        let folders = entries(path, |entry| entry.is_dir())?;
        if folders.is_empty() {
            return Err(
                FileError::new(path, "holds no folders, so there are no classes")
                    .fix("put the images of each class into a folder named like it")
                    .into(),
            );
        }
        let (mut files, mut labels, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for folder in folders {
            let images = entries(&folder, is_image)?;
            if images.is_empty() {
                return Err(
                    FileError::new(&folder, "holds no .jpg, .jpeg or .png files")
                        .fix("remove the folder, or put the images of its class into it")
                        .into(),
                );
            }
            labels.resize(labels.len() + images.len(), classes.len() as i64);
            files.extend(images);
            let name = folder.file_name().unwrap_or_default();
            classes.push(name.to_string_lossy().into_owned());
        }

        let decoder = Decoder::new([rows, columns]);
        let mut images = Tensor::<u8>::zeros([files.len(), height, width, 3])?;
        let results: Vec<Result<(), FileError>> = images
            .make_mut()
            .par_chunks_exact_mut(height * width * 3)
            .zip(&files)
            .map(|(out, file)| {
                let image = decoder.decode(file)?;
                out.copy_from_slice(image.as_raw());
                Ok(())
            })
            .collect();
        // The first in order, whichever thread met its own first.
        results.into_iter().collect::<Result<(), _>>()?;
        let count = labels.len();
        ImageSet::new(images, Tensor::from_vec(labels, [count])?, classes)
    }
}

/// The entries of `folder` that `wanted` accepts, by name; hidden ones are left out.
fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, FileError> {
    let failed = |error| FileError::io(folder, "list the folder", error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["jpg", "jpeg", "png"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn folder_of_two() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for class in ["dogs", "cats", ".hidden"] {
            std::fs::create_dir(folder.path().join(class)).unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let plain = |r, g, b| RgbImage::from_pixel(6, 4, Rgb([r, g, b]));
        plain(10, 20, 30).save(at("dogs/0002.png")).unwrap();
        plain(40, 50, 60).save(at("dogs/0001.PNG")).unwrap();
        plain(200, 100, 50).save(at("cats/0001.jpg")).unwrap();
        GrayImage::from_pixel(4, 4, Luma([77]))
            .save(at("cats/0002.png"))
            .unwrap();
        std::fs::write(at("cats/notes.txt"), "no image").unwrap();
        folder
    }

    #[test]
    fn sorted_resized_and_in_three_channels() {
        let folder = folder_of_two();
        let set = ImageSet::from_folder(folder.path(), [2, 3]).unwrap();
        assert_eq!(*set.images.shape(), [4, 2, 3, 3]);
        assert_eq!(set.classes, ["cats", "dogs"]);
        assert_eq!(set.labels.to_vec(), [0, 0, 1, 1]);
        let pixel = |image: usize| [0, 1, 2].map(|c| set.images[[image, 1, 2, c]]);
        let distance = |a: [u8; 3], b: [u8; 3]| (0..3).map(|i| a[i].abs_diff(b[i])).max();
        assert!(
            distance(pixel(0), [200, 100, 50]) <= Some(2),
            "{:?}",
            pixel(0)
        );
        assert_eq!(pixel(1), [77; 3]);
        assert_eq!(pixel(2), [40, 50, 60]);
        assert_eq!(pixel(3), [10, 20, 30]);
    }

    #[test]
    fn an_image_that_cannot_be_read_is_named() {
        let folder = folder_of_two();
        let good = std::fs::read(folder.path().join("cats/0001.jpg")).unwrap();
        std::fs::write(folder.path().join("dogs/0003.jpg"), &good[..good.len() / 3]).unwrap();
        std::fs::write(folder.path().join("dogs/0004.jpg"), "no image").unwrap();
        let message = ImageSet::from_folder(folder.path(), [2, 3])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("0003.jpg: cannot read the image"),
            "{message}"
        );
    }

    #[test]
    fn folders_without_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = ImageSet::from_folder(folder.path(), [2, 3])
            .unwrap_err()
            .to_string();
        assert!(message.contains("no classes"), "{message}");
        std::fs::create_dir(folder.path().join("dogs")).unwrap();
        let message = ImageSet::from_folder(folder.path(), [2, 3])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("dogs") && message.contains(".jpg"),
            "{message}"
        );
        assert!(ImageSet::from_folder("no/such/folder", [2, 3]).is_err());
        assert!(ImageSet::from_folder(folder_of_two().path(), [0, 3]).is_err());
    }
}
