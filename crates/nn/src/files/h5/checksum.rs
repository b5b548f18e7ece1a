//! The checksum at the end of an `.h5` of this crate: `CRC-32` and eight digits.
//!
//! HDF5 says at the start of a file where its contents end, and ignores what follows. A program that
//! changes the file by the HDF5 library cuts the checksum off, and the file is one without.

use std::io::{self, Write};

use flate2::{Crc, CrcWriter};

/// What stands before the digits.
const MARK: &[u8] = b"\nCRC-32 ";
/// The number of digits.
const DIGITS: usize = 8;

/// Writes what `write` writes, and its checksum.
pub(super) fn write_with_checksum<W: Write>(
    out: W,
    write: impl FnOnce(&mut CrcWriter<W>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = CrcWriter::new(out);
    write(&mut out)?;
    let sum = digits(out.crc());
    let mut out = out.into_inner();
    out.write_all(MARK)?;
    out.write_all(sum.as_bytes())
}

/// Takes the checksum off the end of a file; whether it is right, and true if there is none.
pub(super) fn take_checksum(bytes: &mut Vec<u8>) -> bool {
    let contents = bytes.len().saturating_sub(MARK.len() + DIGITS);
    let Some(stored) = bytes[contents..].strip_prefix(MARK) else {
        return true;
    };
    let mut crc = Crc::new();
    crc.update(&bytes[..contents]);
    let intact = digits(&crc).as_bytes() == stored;
    bytes.truncate(contents);
    intact
}

fn digits(crc: &Crc) -> String {
    format!("{:0DIGITS$x}", crc.sum())
}
