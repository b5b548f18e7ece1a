//! NumPy's `.npz` files: arrays by name in a zip archive.

use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use tensor::{Element, Tensor};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::array::Array;
use super::npy;
use super::source::Source;
use crate::error::{FileError, Result};
use crate::files::write_atomically;

trait ReadSeek: Read + Seek + Send {}
impl<R: Read + Seek + Send> ReadSeek for R {}

/// An open `.npz` file; each array is read when it is asked for.
///
/// ```
/// use nn::data::npz::{self, Npz};
/// use tensor::Tensor;
/// # let folder = tempfile::tempdir().map_err(|e| nn::FileError::io("", "create", e))?;
/// # let path = folder.path().join("digits.npz");
/// let images = Tensor::<u8>::zeros([10, 28, 28, 1])?;
/// let labels = Tensor::<i64>::arange(0, 10, 1)?;
/// npz::save(&path, [("images", (&images).into()), ("labels", (&labels).into())])?;
///
/// let mut digits = Npz::open(&path)?;
/// assert_eq!(digits.names(), ["images", "labels"]);
/// assert_eq!(digits.array("labels")?.to_i64()?, labels);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Npz<'a> {
    path: PathBuf,
    names: Vec<String>,
    archive: ZipArchive<Box<dyn ReadSeek + 'a>>,
}

/// No array is believed to unpack to more than this many times its stored size: deflate cannot.
const MOST_COMPRESSION: u64 = 1032;

impl Npz<'static> {
    /// Opens the archive at `path` and reads its table of contents.
    ///
    /// # Errors
    /// If there is no such file or it is no zip archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, _) = crate::files::open(path)?;
        Npz::new(path, Box::new(BufReader::new(file)))
    }
}

impl<'a> Npz<'a> {
    /// An archive in memory, such as one that `include_bytes!` puts into the program.
    ///
    /// # Errors
    /// If `bytes` are no zip archive.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        Npz::new(Path::new("the given bytes"), Box::new(Cursor::new(bytes)))
    }

    fn new(path: &Path, mut reader: Box<dyn ReadSeek + 'a>) -> Result<Self> {
        let mut magic = [0; 6];
        let is_npy = reader.read_exact(&mut magic).is_ok() && magic == *b"\x93NUMPY";
        if is_npy {
            let cause = "not a .npz file but a .npy file, which holds one array";
            return Err(FileError::new(path, cause)
                .fix("read it with npy::load")
                .into());
        }
        let invalid = |error| {
            FileError::new(path, format!("not a .npz file: {error}"))
                .fix("write the file with numpy.savez or numpy.savez_compressed")
        };
        let archive = ZipArchive::new(reader).map_err(invalid)?;
        let mut names = Vec::new();
        for index in 0..archive.len() {
            let file = archive.name_for_index(index).transpose().map_err(invalid)?;
            let name = file
                .as_deref()
                .and_then(npyz::npz::array_name_from_file_name);
            names.extend(name.map(str::to_string));
        }
        Ok(Npz {
            path: path.to_path_buf(),
            names,
            archive,
        })
    }

    /// The names of the arrays, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads the array called `name`, as [`npy::load`] does.
    ///
    /// # Errors
    /// If there is no such array (listing those that there are), or it is damaged.
    pub fn array(&mut self, name: &str) -> Result<Array> {
        let (bytes, place) = self.unpack(name)?;
        npy::read(&mut Source::bytes(&bytes, &place))
    }

    /// Reads the array called `name`, which must have element type `T` and `RANK` axes.
    ///
    /// # Errors
    /// As [`Npz::array`], and if type or rank differ.
    pub fn array_as<T: Element, const RANK: usize>(&mut self, name: &str) -> Result<Tensor<T>> {
        let array = self.array(name)?;
        npy::checked::<T, RANK>(array, &self.path.join(name))
    }

    /// The `.npy` file called `name`, and a path for errors about it.
    fn unpack(&mut self, name: &str) -> Result<(Vec<u8>, PathBuf)> {
        let Npz {
            path,
            names,
            archive,
        } = self;
        let place = path.join(npyz::npz::file_name_from_array_name(name));
        let mut entry = match archive.by_name(&npyz::npz::file_name_from_array_name(name)) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => {
                return Err(FileError::new(&*path, format!("holds no array {name:?}"))
                    .fix(format!("it holds {names:?}"))
                    .into());
            }
            Err(error) => {
                return Err(FileError::new(place, format!("cannot unpack: {error}")).into());
            }
        };
        let size = entry.size();
        if size / MOST_COMPRESSION > entry.compressed_size() {
            return Err(FileError::new(
                place,
                format!(
                    "the archive is damaged: {size} bytes cannot come from {}",
                    entry.compressed_size()
                ),
            )
            .into());
        }
        // The claimed size is believed only up to 16 MiB ahead of the bytes.
        let mut bytes = Vec::with_capacity(size.min(1 << 24) as usize);
        entry
            .by_ref()
            .take(size)
            .read_to_end(&mut bytes)
            .map_err(|error| FileError::io(&*place, "unpack", error))?;
        // One more read lets the checksum be compared.
        entry
            .read(&mut [0])
            .map_err(|error| FileError::io(&*place, "unpack", error))?;
        drop(entry);
        Ok((bytes, place))
    }
}

/// Reads every array of the `.npz` file at `path`, with its name, in the order of the file.
///
/// # Errors
/// As [`Npz::open`] and [`Npz::array`].
pub fn load(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    let path = path.as_ref();
    let mut archive = Npz::open(path)?;
    // Arrays that share their bytes could be any number of times what the file can hold.
    if archive.archive.has_overlapping_files().unwrap_or(true) {
        let cause = "the archive is damaged: arrays lie over one another";
        return Err(FileError::new(path, cause).into());
    }
    let names = archive.names().to_vec();
    names
        .into_iter()
        .map(|name| Ok((name.clone(), archive.array(&name)?)))
        .collect()
}

/// Writes `arrays` with their names to `path`, compressed, as `numpy.savez_compressed` does.
///
/// The file appears whole or not at all.
///
/// # Errors
/// If the file cannot be written, or a name occurs twice.
pub fn save<'n>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'n str, Array)>,
) -> Result<()> {
    let path = path.as_ref();
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .large_file(true);
    Ok(write_atomically(path, |file| {
        let mut archive = ZipWriter::new(file);
        for (name, array) in arrays {
            archive.start_file(npyz::npz::file_name_from_array_name(name), options)?;
            npy::write(&mut archive, &array)?;
        }
        archive.finish()?;
        Ok(())
    })?)
}
