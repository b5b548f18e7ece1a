//! NumPy's `.npy` files: one array, or one object array that holds several.

mod header;
mod pickle;

use std::path::Path;

use npyz::WriterBuilder;
use tensor::{Element, Tensor};

use self::header::{Content, Header};
use super::array::{Array, with_tensor};
use super::source::Source;
use crate::error::{FileError, Result};
use crate::files::write_atomically;

/// Reads the array in `path`, as `numpy.load` does.
///
/// Every numeric type is read, in either byte order, row-major or Fortran order, into the smallest
/// type of [`Array`] that holds all its values: `int8`, `int16` and `uint16` become `i32`,
/// `uint32` and `uint64` become `i64`, `float16` becomes `f32`; the others stay what they are. An
/// object array of equally shaped arrays or numbers is stacked.
///
/// ```no_run
/// let images = nn::data::npy::load("images.npy")?;
/// let x = images.to_f32()? / 256.0;
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// Naming the file, the byte and the cause if it is no `.npy` file, is truncated, or holds
/// elements that are not numbers.
pub fn load(path: impl AsRef<Path>) -> Result<Array> {
    read(&mut Source::open(path.as_ref())?)
}

/// [`load`] from a file's contents.
///
/// # Errors
/// As [`load`].
pub fn from_bytes(bytes: &[u8]) -> Result<Array> {
    read(&mut Source::bytes(bytes, Path::new("the given bytes")))
}

/// [`load`] of an array that must have element type `T` and `RANK` axes.
///
/// ```
/// use nn::data::npy;
/// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
/// # let path = folder.path().join("x.npy");
/// npy::save(&path, &tensor::Tensor::<u8>::zeros([5, 28, 28, 1])?)?;
/// let images = npy::load_as::<u8, 4>(&path)?;
/// assert_eq!(*images.shape(), [5, 28, 28, 1]);
/// let error = npy::load_as::<f32, 2>(&path).unwrap_err().to_string();
/// assert!(error.contains("u8 [5, 28, 28, 1]"));
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// As [`load`], and if type or rank differ.
pub fn load_as<T: Element, const RANK: usize>(path: impl AsRef<Path>) -> Result<Tensor<T>> {
    let path = path.as_ref();
    checked::<T, RANK>(load(path)?, path)
}

/// `array`, read from `path`, if it has element type `T` and `RANK` axes.
pub(super) fn checked<T: Element, const RANK: usize>(
    array: Array,
    path: &Path,
) -> Result<Tensor<T>> {
    if array.dtype() != T::DTYPE || array.shape().rank() != RANK {
        return Err(FileError::new(
            path,
            format!(
                "holds {} {}, not an array of {} with {RANK} axes",
                array.dtype(),
                array.shape(),
                T::DTYPE
            ),
        )
        .fix("use npy::load, which reads any array, and convert")
        .into());
    }
    array.to()
}

/// The `N` arrays of an object array, as in `a, b = numpy.load(path, allow_pickle=True)`.
///
/// Such files come from `numpy.save(path, numpy.array([a, b], dtype=object))` and, in NumPy below
/// 1.24, `numpy.save(path, (a, b))`. NumPy pickles them; the reader here knows the pickles of
/// arrays, numbers and lists of them, from NumPy 1 and 2 in protocols 0 to 5, and refuses
/// everything else. It runs nothing that a file asks for. An item that is itself a list, or an
/// object array, of equally shaped items is stacked. A plain array is cut along its first axis.
///
/// ```no_run
/// use nn::data::npy;
/// let [x_train, x_test, y_train, y_test] = npy::load_objects("data/augumented_images.npy")?;
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// As [`load`]; if the file does not hold `N` items; if the items to stack have different shapes,
/// naming the item and both shapes; if the pickle asks for anything but NumPy arrays, naming what.
pub fn load_objects<const N: usize>(path: impl AsRef<Path>) -> Result<[Array; N]> {
    objects(&mut Source::open(path.as_ref())?)
}

/// [`load_objects`] from a file's contents.
///
/// # Errors
/// As [`load_objects`].
pub fn objects_from_bytes<const N: usize>(bytes: &[u8]) -> Result<[Array; N]> {
    objects(&mut Source::bytes(bytes, Path::new("the given bytes")))
}

/// Writes `array` to `path`, in row-major order, as `numpy.save` does.
///
/// The file appears whole or not at all.
///
/// ```
/// use nn::data::npy;
/// use tensor::Tensor;
/// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
/// # let path = folder.path().join("x.npy");
/// let x = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0], [2, 2])?;
/// npy::save(&path, &x)?;
/// assert_eq!(npy::load(&path)?.to_f32()?, x);
/// # Ok::<(), nn::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: impl AsRef<Path>, array: impl Into<Array>) -> Result<()> {
    let array = array.into();
    Ok(write_atomically(path, |file| write(file, &array))?)
}

/// Writes `array` in the format of `.npy` files.
pub(super) fn write(writer: impl std::io::Write, array: &Array) -> std::io::Result<()> {
    fn typed<T: Element + npyz::AutoSerialize>(
        writer: impl std::io::Write,
        tensor: &Tensor<T>,
    ) -> std::io::Result<()> {
        let shape: Vec<u64> = tensor.shape().iter().map(|&size| size as u64).collect();
        let mut npy = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&shape)
            .writer(writer)
            .begin_nd()?;
        match tensor.as_slice() {
            Some(elements) => npy.extend(elements.iter().copied())?,
            None => npy.extend(tensor.iter())?,
        }
        npy.finish()
    }
    with_tensor!(array, x => typed(writer, x))
}

/// Reads an array at the start of `source`.
pub(super) fn read(source: &mut Source<'_>) -> Result<Array> {
    let header = header::read(source)?;
    match header.content {
        Content::Plain(_) => plain(source, &header),
        Content::Objects => pickle::load(source),
    }
}

fn objects<const N: usize>(source: &mut Source<'_>) -> Result<[Array; N]> {
    let header = header::read(source)?;
    let items: Vec<Array> = match header.content {
        Content::Plain(_) => {
            let array = plain(source, &header)?;
            let count = array.shape().first().copied();
            if count != Some(N) {
                return Err(source
                    .error(format!(
                        "holds one array, {} {}, but {N} are asked for",
                        array.dtype(),
                        array.shape()
                    ))
                    .fix("read it with npy::load")
                    .into());
            }
            (0..N).map(|i| array.row(i)).collect::<Result<_>>()?
        }
        Content::Objects => pickle::load_items(source, N)?,
    };
    let count = items.len();
    items.try_into().map_err(|_| {
        source
            .error(format!("holds {count} items, but {N} are asked for"))
            .into()
    })
}

fn plain(source: &mut Source<'_>, header: &Header) -> Result<Array> {
    let Content::Plain(encoding) = header.content else {
        return pickle::load(source);
    };
    let bytes = encoding
        .bytes(&header.shape)
        .ok_or_else(|| source.error(format!("the shape {:?} is too large", header.shape)))?;
    source.expect(bytes, &format!("an array of shape {:?}", header.shape))?;
    let mut elements = encoding.elements();
    let count = bytes as usize / encoding.size();
    encoding.append(source, count, &mut elements)?;
    elements.into_array(&header.shape, header.fortran)
}
