//! Data sets: reading them, and cutting them into batches.
//!
//! | what | from | by |
//! |---|---|---|
//! | one array | `.npy` | [`npy::load`] |
//! | several arrays in one object array | `.npy` | [`npy::load_objects`] |
//! | named arrays | `.npz` | [`npz::Npz`] |
//! | a folder of images per class | `.jpg`, `.png` | [`ImageSet::from_folder`] |
//! | CIFAR-10 | `.bin` | [`ImageSet::from_cifar10`] |
//! | MNIST and its relatives | IDX | [`ImageSet::from_idx`] |
//!
//! Images are bytes `[count, height, width, channels]`, and stay bytes until [`Batches`] converts
//! the few that a step of training needs, on another thread. There [`Augment`] changes them, if
//! [`Fit::augment`](crate::training::Fit::augment) says so.
//!
//! # Memory
//!
//! No size that a file claims is believed, so a small file cannot take much memory. At most,
//! besides the array that comes out,
//!
//! | reading | takes |
//! |---|---|
//! | a plain `.npy` | some buffers: the bytes that a header promises must be there |
//! | a pickled `.npy` | 100 times the file, for its objects; arrays that it repeats may come out 64 times as large as the file and 1 MiB |
//! | an array of an `.npz`, a gzipped IDX file | its unpacked bytes, which are at most 1032 times the packed ones |
//! | a folder of images | 1 GiB for all that are being decoded, on however many threads; and for one image 33,024 bytes of pixels for each of its file |

mod ahead;
mod array;
mod augment;
mod batches;
mod categorical;
mod elements;
mod images;
pub mod npy;
pub mod npz;
mod rows;
mod source;

pub use array::Array;
pub(crate) use array::with_tensor;
pub use augment::{Augment, Fill, RandomFlip, RandomTranslation};
pub use batches::{Ahead, Batch, Batches};
pub use categorical::to_categorical;
pub use images::{ImageSet, load_idx};
pub use rows::{Split, permutation, take_rows, train_test_split};
