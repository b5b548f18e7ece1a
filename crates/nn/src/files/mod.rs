//! Model files, checkpoints, and writing any file safely.

mod atomic;

pub use atomic::write_atomically;
