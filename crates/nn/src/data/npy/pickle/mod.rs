//! Pickles of NumPy arrays, read by a machine that can do nothing else.
//!
//! A pickle is a program for a stack machine whose instructions include "import this name" and
//! "call that". Here the names are a closed list ([`value::Global`]) and the calls are matches on
//! it, so a file cannot make anything happen but arrays appear. The memory of an array is not
//! read when the machine meets it: it is passed over and its place noted, and read once its
//! element type is known, from the file into its final buffer.
//!
//! The format is described in CPython's `Lib/pickletools.py`, what NumPy makes of it in
//! `array_reduce`, `array_setstate` and `arraydescr_setstate` of its sources.

mod assemble;
mod blob;
mod machine;
mod numpy;
mod text;
mod value;

use self::assemble::Assembler;
use self::machine::Machine;
use crate::data::array::Array;
use crate::data::source::Source;
use crate::error::Result;

/// Reads a pickle at the position of `source` as one array; nested lists are stacked.
pub(super) fn load(source: &mut Source<'_>) -> Result<Array> {
    let (heap, root) = Machine::new(source).run()?;
    Assembler::new(source, &heap).value(root, "")
}

/// Reads a pickle at the position of `source` as the `count` items along its first axis.
pub(super) fn load_items(source: &mut Source<'_>, count: usize) -> Result<Vec<Array>> {
    let (heap, root) = Machine::new(source).run()?;
    Assembler::new(source, &heap).items(root, count)
}
