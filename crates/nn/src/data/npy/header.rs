//! The header of a `.npy` file.

use npyz::{DType, NpyHeader, Order};

use crate::data::elements::Encoding;
use crate::data::source::Source;
use crate::error::Result;

/// What a header says about the bytes that follow it.
pub(super) struct Header {
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// The elements themselves.
    Plain(Encoding),
    /// A pickle of an array of Python objects.
    Objects,
}

/// The longest header that is read. NumPy writes ten times less for its largest record types and
/// refuses to read more than 10,000 bytes.
const LONGEST: u64 = 1 << 16;
/// Brackets in a header: plain arrays have three or four.
const MOST_BRACKETS: usize = 64;

/// Reads the header at the start of `source` and stops behind it.
pub(super) fn read(source: &mut Source<'_>) -> Result<Header> {
    let start = source.position();
    let invalid = |source: &Source<'_>, cause: String| {
        source
            .error_at(start, cause)
            .fix("write the file with numpy.save")
    };
    let magic: [u8; 8] = if source.remaining() < 8 {
        Err(invalid(
            source,
            "not a .npy file: it is too short for a header".into(),
        ))?
    } else {
        source.array("the header")?
    };
    if magic[..6] != *b"\x93NUMPY" {
        let (found, fix) = match &magic {
            [b'P', b'K', 3, 4, ..] => (
                "a zip archive, as .npz files are",
                "read its arrays with npz::Npz, or write one array with numpy.save",
            ),
            [0x80, 2..=5, ..] => ("a bare pickle", "write the file with numpy.save"),
            _ => ("something else", "write the file with numpy.save"),
        };
        let cause = format!("not a .npy file: it does not begin with \\x93NUMPY but is {found}");
        Err(source.error_at(start, cause).fix(fix))?;
    }
    let length_bytes: u64 = if magic[6] == 1 { 2 } else { 4 };
    let mut length = [0; 4];
    source.fill(&mut length[..length_bytes as usize], "the header's length")?;
    let length = u64::from(u32::from_le_bytes(length));
    if length > LONGEST {
        Err(invalid(
            source,
            format!("the header claims {length} bytes; at most {LONGEST} are read"),
        ))?;
    }
    let text = source.vec(length, "the header")?;
    check(&text).map_err(|cause| invalid(source, cause))?;

    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&(length as u32).to_le_bytes()[..length_bytes as usize]);
    bytes.extend_from_slice(&text);
    let header = NpyHeader::from_reader(&bytes[..])
        .map_err(|error| invalid(source, format!("the header is damaged: {error}")))?;

    let unsupported = |descr: String| {
        source
            .error_at(start, format!("elements of type {descr} are not read"))
            .fix("convert with .astype to a bool, integer or float type in NumPy")
    };
    let content = if header.uses_pickled_array() {
        match header.dtype() {
            DType::Plain(_) => Content::Objects,
            record => return Err(unsupported(record.descr()).into()),
        }
    } else {
        match header.dtype() {
            DType::Plain(descr) => Content::Plain(
                Encoding::of(&descr).ok_or_else(|| unsupported(format!("'{descr}'")))?,
            ),
            record => return Err(unsupported(record.descr()).into()),
        }
    };
    let shape = header
        .shape()
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(source, format!("the shape is too large: {error}")))?;
    Ok(Header {
        shape,
        fortran: header.order() == Order::Fortran,
        content,
    })
}

/// Refuses texts that the parser behind [`NpyHeader`] could not survive: it recurses into
/// brackets and multiplies the sizes unchecked.
fn check(text: &[u8]) -> Result<(), String> {
    let brackets = text.iter().filter(|b| b"([{".contains(b)).count();
    if brackets > MOST_BRACKETS {
        return Err(format!(
            "the header nests or lists {brackets} brackets; records are not read"
        ));
    }
    let words = text.split(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    let mut product = 1_u64;
    for word in words.filter(|word| word.first().is_some_and(u8::is_ascii_digit)) {
        let number = std::str::from_utf8(word)
            .ok()
            .and_then(|word| word.parse().ok());
        product = number
            .and_then(|number: u64| product.checked_mul(number.max(1)))
            .ok_or_else(|| {
                format!(
                    "the header's sizes are too large: {:.120}",
                    String::from_utf8_lossy(text).trim_end()
                )
            })?;
    }
    Ok(())
}
