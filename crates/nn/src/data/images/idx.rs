//! IDX, the format of MNIST (LeCun, Cortes, Burges): big-endian arrays behind a small header.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use npyz::TypeStr;

use super::ImageSet;
use crate::data::array::Array;
use crate::data::elements::Encoding;
use crate::data::source::Source;
use crate::error::{FileError, Result};

impl ImageSet {
    /// Reads a file of grey images and the file of their labels, each plain or gzipped: the four
    /// files of MNIST, Fashion-MNIST and their relatives are two such pairs.
    ///
    /// The images become `[count, height, width, 1]`; classes are called `"0"`, `"1"`, ….
    ///
    /// ```no_run
    /// use nn::data::ImageSet;
    /// let train = ImageSet::from_idx("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")?;
    /// assert_eq!(*train.images.shape(), [60_000, 28, 28, 1]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load_idx`](crate::data::load_idx), if the images are no bytes with three axes, and as
    /// [`ImageSet::new`].
    pub fn from_idx(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self> {
        let (path, labels) = (images.as_ref(), load(labels)?.to_i64()?);
        let Array::U8(images) = load(path)? else {
            return Err(FileError::new(path, "holds no bytes, so no images").into());
        };
        let &[count, height, width] = &images.shape()[..] else {
            return Err(FileError::new(
                path,
                format!("holds an array of shape {}, not images", images.shape()),
            )
            .fix("name the file of images first, then that of labels")
            .into());
        };
        let images = images.reshape([count, height, width, 1])?;
        let most = labels.iter().max().unwrap_or(-1);
        let classes = (most.max(-1) + 1).min(256);
        ImageSet::new(images, labels, (0..classes).map(|class| class.to_string()))
    }
}

/// Reads an IDX file of any type and shape, plain or gzipped.
///
/// # Errors
/// If there is no such file, its header is no IDX header, or it is truncated.
pub fn load(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    let mut file = Source::open(path)?;
    let zipped = file.remaining() > 2 && file.array::<2>("the header")? == [0x1f, 0x8b];
    file.seek(0)?;
    if !zipped {
        return read(&mut file);
    }
    let compressed = file.vec(file.remaining(), "the file")?;
    let mut bytes = Vec::new();
    // Grows with what is there: deflate makes at most 1032 bytes of one.
    GzDecoder::new(&compressed[..])
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::io(path, "unpack", error))?;
    read(&mut Source::bytes(&bytes, path))
}

fn read(source: &mut Source<'_>) -> Result<Array> {
    let invalid =
        |source: &Source<'_>, cause: &str| source.error_at(0, format!("not an IDX file: {cause}"));
    let [zero, also_zero, code, rank] = source.array("the header")?;
    if (zero, also_zero) != (0, 0) {
        return Err(invalid(source, "it does not begin with two zero bytes").into());
    }
    let encoding = match code {
        0x08 => ">u1",
        0x09 => ">i1",
        0x0b => ">i2",
        0x0c => ">i4",
        0x0d => ">f4",
        0x0e => ">f8",
        _ => "",
    };
    let encoding = encoding
        .parse::<TypeStr>()
        .ok()
        .and_then(|descr| Encoding::of(&descr))
        .ok_or_else(|| invalid(source, "its element type is not known"))?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        let size = u32::from_be_bytes(source.array("the header")?);
        shape.push(size as usize);
    }
    let bytes = encoding
        .bytes(&shape)
        .ok_or_else(|| invalid(source, "its shape is too large"))?;
    source.expect(bytes, &format!("an array of shape {shape:?}"))?;
    let mut elements = encoding.elements();
    encoding.append(source, bytes as usize / encoding.size(), &mut elements)?;
    elements.into_array(&shape, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const IMAGES: &[u8] = b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x03\x01\x02\x03\xfd\xfe\xff";
    const LABELS: &[u8] = b"\0\0\x08\x01\0\0\0\x02\x01\x00";

    #[test]
    fn images_and_labels_plain_and_gzipped() {
        let folder = tempfile::tempdir().unwrap();
        let (images, labels) = (
            folder.path().join("images.gz"),
            folder.path().join("labels"),
        );
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(IMAGES).unwrap();
        std::fs::write(&images, gzip.finish().unwrap()).unwrap();
        std::fs::write(&labels, LABELS).unwrap();
        let set = ImageSet::from_idx(&images, &labels).unwrap();
        assert_eq!(*set.images.shape(), [2, 1, 3, 1]);
        assert_eq!(set.images.to_vec(), [1, 2, 3, 253, 254, 255]);
        assert_eq!((set.labels.to_vec(), set.classes.len()), (vec![1, 0], 2));
        let message = ImageSet::from_idx(&labels, &images)
            .unwrap_err()
            .to_string();
        assert!(message.contains("labels"), "{message}");
    }

    #[test]
    fn types_are_big_endian() {
        let bytes = b"\0\0\x0d\x01\0\0\0\x02\x3f\x80\0\0\xc0\0\0\0";
        let array = read(&mut Source::bytes(bytes, Path::new("x"))).unwrap();
        assert_eq!(array.to_f32().unwrap().to_vec(), [1.0, -2.0]);
    }

    #[test]
    fn damaged_files_are_errors() {
        for length in 0..IMAGES.len() {
            assert!(read(&mut Source::bytes(&IMAGES[..length], Path::new("x"))).is_err());
        }
        for (at, byte) in [(0, 1), (2, 7), (3, 255), (4, 255)] {
            let mut bytes = IMAGES.to_vec();
            bytes[at] = byte;
            assert!(
                read(&mut Source::bytes(&bytes, Path::new("x"))).is_err(),
                "{at}"
            );
        }
    }
}
