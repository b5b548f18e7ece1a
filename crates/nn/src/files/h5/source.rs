//! Reading HDF5 without trusting it.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use hdf5_pure::{AttrValue, DType, Dataset, File, Group};
use tensor::{Float, Shape, Tensor};

use super::checksum::take_checksum;
use crate::error::FileError;

/// The first bytes of every HDF5 file.
const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The largest factor by which deflate, the strongest of HDF5's usual filters, can shrink data.
const LARGEST_COMPRESSION: u64 = 1032;

/// An HDF5 file whose claims are checked before they are acted on.
pub(super) struct Source<'a> {
    path: &'a Path,
    file: File,
    /// Bytes of the file that no dataset has accounted for yet. A dataset that claims more than
    /// this cannot be in the file, and the sum of all claims is what reading allocates.
    unclaimed: Cell<u64>,
}

/// A group with its path in the file and its attributes.
pub(super) struct Node {
    path: String,
    group: Group,
    attributes: HashMap<String, AttrValue>,
}

/// Runs `read` on the HDF5 file at `path`.
pub(super) fn with_source<R>(
    path: &Path,
    read: impl FnOnce(&Source<'_>) -> Result<R, FileError>,
) -> Result<R, FileError> {
    let bytes = crate::files::read(path)?;
    // Old files carry no checksums, so a damaged one reaches every corner of the HDF5 reader. It
    // returns errors there as far as is known; should it panic instead, that is one more way for
    // it to say that the file is damaged. Nothing of what it worked on outlives the panic.
    catch_unwind(AssertUnwindSafe(|| {
        let source = Source::new(path, bytes)?;
        read(&source)
    }))
    .unwrap_or_else(|_| {
        Err(FileError::new(path, "is damaged: its structure contradicts itself").fix(COPY_AGAIN))
    })
}

const COPY_AGAIN: &str = "copy or save the file again";

impl<'a> Source<'a> {
    fn new(path: &'a Path, mut bytes: Vec<u8>) -> Result<Self, FileError> {
        if bytes.is_empty() {
            return Err(FileError::new(path, "the file is empty").fix(COPY_AGAIN));
        }
        if !bytes.starts_with(SIGNATURE) {
            let error = FileError::new(path, "is not an HDF5 file").at("byte 0");
            return Err(if bytes.starts_with(b"PK") {
                error.fix("it is an archive, perhaps of Keras's newer format: save as `.h5`")
            } else {
                error
            });
        }
        if !take_checksum(&mut bytes) {
            let cause = "is damaged: its checksum does not match";
            return Err(FileError::new(path, cause).fix(COPY_AGAIN));
        }
        let length = bytes.len() as u64;
        let damaged = |error: hdf5_pure::Error| {
            FileError::new(path, format!("is damaged: {error}")).fix(COPY_AGAIN)
        };
        let file = File::from_bytes(bytes).map_err(damaged)?;
        let promised = file.superblock().eof_address;
        if promised > length {
            let cause = format!("is cut off: it has {length} of {promised} bytes");
            return Err(FileError::new(path, cause).fix(COPY_AGAIN));
        }
        Ok(Source {
            path,
            file,
            unclaimed: Cell::new(length),
        })
    }

    pub(super) fn root(&self) -> Result<Node, FileError> {
        self.node(String::new(), self.file.root())
    }

    /// The group `name` in `parent`; none if there is no such group.
    pub(super) fn child(&self, parent: &Node, name: &str) -> Result<Option<Node>, FileError> {
        let path = format!("{}/{name}", parent.path);
        match parent.group.group(name) {
            Ok(group) => self.node(path, group).map(Some),
            Err(hdf5_pure::Error::Format(hdf5_pure::FormatError::PathNotFound(_))) => Ok(None),
            Err(error) => Err(self.damaged(&path, &error)),
        }
    }

    fn node(&self, path: String, group: Group) -> Result<Node, FileError> {
        let attributes = group.attrs().map_err(|error| self.damaged(&path, &error))?;
        Ok(Node {
            path,
            group,
            attributes,
        })
    }

    /// The string attribute `name` of `node`; none if there is no such attribute.
    pub(super) fn text<'n>(
        &self,
        node: &'n Node,
        name: &str,
    ) -> Result<Option<&'n str>, FileError> {
        match node.attributes.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| {
                self.error(format!("attribute `{name}` is not one string"))
                    .at(node.place())
            }),
        }
    }

    /// The JSON in the string attribute `name` of `node`.
    pub(super) fn json(
        &self,
        node: &Node,
        name: &str,
    ) -> Result<Option<serde_json::Value>, FileError> {
        let text = self.text(node, name)?;
        let parsed = text.map(serde_json::from_str).transpose();
        parsed.map_err(|error| {
            self.error(format!("attribute `{name}` is not valid JSON: {error}"))
                .at(node.place())
        })
    }

    /// The list of strings in attribute `name` of `node`, which Keras splits into `name0`,
    /// `name1`, … where it is long; none if there is no such attribute.
    pub(super) fn names(&self, node: &Node, name: &str) -> Result<Option<Vec<String>>, FileError> {
        if let Some(value) = node.attributes.get(name) {
            return self.strings(node, name, value).map(Some);
        }
        let mut names = Vec::new();
        for part in 0.. {
            let part_name = format!("{name}{part}");
            match node.attributes.get(&part_name) {
                Some(value) => names.extend(self.strings(node, &part_name, value)?),
                None if part == 0 => return Ok(None),
                None => break,
            }
        }
        Ok(Some(names))
    }

    fn strings(
        &self,
        node: &Node,
        name: &str,
        value: &AttrValue,
    ) -> Result<Vec<String>, FileError> {
        match value {
            // h5py writes an empty list as an array of no numbers.
            AttrValue::F64Array(none) if none.is_empty() => Ok(Vec::new()),
            _ => value.as_strings().map(<[String]>::to_vec).ok_or_else(|| {
                self.error(format!("attribute `{name}` is not a list of names"))
                    .at(node.place())
            }),
        }
    }

    /// The dataset at the path `name` under `node`.
    pub(super) fn dataset(&self, node: &Node, name: &str) -> Result<Dataset, FileError> {
        let path = format!("{}/{name}", node.path);
        node.group.dataset(name).map_err(|error| match error {
            hdf5_pure::Error::Format(hdf5_pure::FormatError::PathNotFound(_)) => self
                .error(format!("`{name}` is listed but missing"))
                .at(node.place()),
            error => self.damaged(&path, &error),
        })
    }

    /// The dataset at the path `name` under `node` as a tensor.
    pub(super) fn tensor<T: Float>(&self, node: &Node, name: &str) -> Result<Tensor<T>, FileError> {
        let path = format!("{}/{name}", node.path);
        let dataset = self.dataset(node, name)?;
        let shape = self.claim(&dataset, &path)?;
        let damaged = |error: hdf5_pure::Error| self.damaged(&path, &error);
        let elements: Vec<T> = match dataset.dtype().map_err(damaged)? {
            DType::F32 => {
                let stored = dataset.read_f32().map_err(damaged)?;
                stored.into_iter().map(|x| T::from_f64(x.into())).collect()
            }
            DType::F64 => {
                let stored = dataset.read_f64().map_err(damaged)?;
                stored.into_iter().map(T::from_f64).collect()
            }
            other => {
                return Err(self
                    .error(format!("holds elements of type {other}"))
                    .at(path)
                    .fix("save the model with weights in 32 or 64-bit floating point"));
            }
        };
        Tensor::from_vec(elements, shape).map_err(|error| self.error(error.to_string()).at(path))
    }

    /// The scalar at the path `name` under `node` as a number of steps.
    pub(super) fn count(&self, node: &Node, name: &str) -> Result<u64, FileError> {
        let path = format!("{}/{name}", node.path);
        let dataset = self.dataset(node, name)?;
        self.claim(&dataset, &path)?;
        let stored = match dataset.dtype() {
            Ok(DType::F32 | DType::F64) => dataset
                .read_f64()
                .map(|numbers| numbers.first().map(|&x| x as u64)),
            _ => dataset
                .read_i64()
                .map(|numbers| numbers.first().and_then(|&n| u64::try_from(n).ok())),
        };
        stored
            .map_err(|error| self.damaged(&path, &error))?
            .ok_or_else(|| self.error("is not a number of steps").at(path))
    }

    /// The shape of `dataset`, once it is certain that the file can hold that much.
    fn claim(&self, dataset: &Dataset, path: &str) -> Result<Shape, FileError> {
        let damaged = |error: hdf5_pure::Error| self.damaged(path, &error);
        let sizes = dataset.shape().map_err(damaged)?;
        let element = dataset.element_size().map_err(damaged)?;
        let bytes = |sizes: &[u64]| {
            sizes
                .iter()
                .try_fold(element, |product, &size| product.checked_mul(size))
        };
        let chunk = dataset.chunk_shape().map_err(damaged)?;
        let expansion = match dataset.filters()[..] {
            [] => 1,
            _ => LARGEST_COMPRESSION,
        };
        let needed = match &chunk {
            // A chunk is read as a whole, however little of it lies inside the dataset.
            Some(chunk) => bytes(&sizes).zip(bytes(chunk)).map(|(a, b)| a.max(b)),
            None => bytes(&sizes),
        };
        let unclaimed = self.unclaimed.get();
        let left = needed.and_then(|needed| unclaimed.checked_sub(needed.div_ceil(expansion)));
        let shape: Option<Vec<usize>> = sizes.iter().map(|&n| usize::try_from(n).ok()).collect();
        match left.zip(shape) {
            Some((left, shape)) => {
                self.unclaimed.set(left);
                Ok(Shape::from(&shape[..]))
            }
            None => Err(self
                .error(format!(
                    "claims the shape {sizes:?}, more than the file holds"
                ))
                .at(path)
                .fix(COPY_AGAIN)),
        }
    }

    #[cold]
    pub(super) fn error(&self, cause: impl Into<String>) -> FileError {
        FileError::new(self.path, cause)
    }

    #[cold]
    fn damaged(&self, place: &str, error: &hdf5_pure::Error) -> FileError {
        let place = if place.is_empty() { "/" } else { place };
        self.error(format!("is damaged: {error}"))
            .at(place)
            .fix(COPY_AGAIN)
    }
}

impl Node {
    /// The path in the file, for errors.
    pub(super) fn place(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }
}
