//! The bytes of an array inside a pickle, wherever and however they lie.

use super::value::{Blob, Content};
use crate::data::elements::Input;
use crate::data::source::Source;
use crate::error::{Error, Result};

/// Reads a [`Blob`] from its start.
pub(super) struct BlobInput<'b, 's, 'a> {
    source: &'s mut Source<'a>,
    raw: Raw<'b>,
    latin1: Option<Latin1>,
}

/// What is left of the blob as it is stored.
enum Raw<'b> {
    Inline(&'b [u8]),
    /// The source stands at the next byte of the blob.
    Span {
        left: u64,
    },
}

impl<'b, 's, 'a> BlobInput<'b, 's, 'a> {
    /// Checks that `blob` can hold `bytes` bytes, so that nothing is allocated for a size that
    /// only a shape claims.
    pub(super) fn new(source: &'s mut Source<'a>, blob: &'b Blob, bytes: u64) -> Result<Self> {
        let (raw, stored) = match &blob.content {
            Content::Inline(bytes) => (Raw::Inline(bytes), bytes.len() as u64),
            &Content::Span { start, length } => {
                source.seek(start)?;
                (Raw::Span { left: length }, length)
            }
        };
        // Characters from 128 to 255 take two bytes in UTF-8.
        let fits = if blob.latin1 {
            (stored.div_ceil(2)..=stored).contains(&bytes)
        } else {
            stored == bytes
        };
        let latin1 = blob.latin1.then(Latin1::new);
        let input = BlobInput {
            source,
            raw,
            latin1,
        };
        if fits {
            Ok(input)
        } else {
            Err(input.fault(format!(
                "the array needs {bytes} bytes, but {stored} are stored"
            )))
        }
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<()> {
        let left = match &self.raw {
            Raw::Inline(bytes) => bytes.len() as u64,
            Raw::Span { left } => *left,
        };
        let pending = self.latin1.as_ref().map_or(0, Latin1::pending);
        match left + pending {
            0 => Ok(()),
            extra => Err(self.fault(format!("{extra} bytes are left over behind the array"))),
        }
    }
}

impl Input for BlobInput<'_, '_, '_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let BlobInput {
            source,
            raw,
            latin1,
        } = self;
        match latin1 {
            None => raw.fill(source, buffer),
            Some(latin1) => latin1.fill(source, raw, buffer),
        }
    }

    fn fault(&self, cause: String) -> Error {
        self.source.error_at(self.source.position(), cause).into()
    }
}

impl Raw<'_> {
    fn fill(&mut self, source: &mut Source<'_>, buffer: &mut [u8]) -> Result<()> {
        let count = buffer.len();
        let too_short = |source: &Source<'_>| {
            source.error_at(source.position(), "the array's bytes end too early")
        };
        match self {
            Raw::Inline(bytes) => {
                let (now, later) = bytes
                    .split_at_checked(count)
                    .ok_or_else(|| too_short(source))?;
                buffer.copy_from_slice(now);
                *bytes = later;
            }
            Raw::Span { left } => {
                *left = left
                    .checked_sub(count as u64)
                    .ok_or_else(|| too_short(source))?;
                source.fill(buffer, "the array")?;
            }
        }
        Ok(())
    }

    fn left(&self) -> u64 {
        match self {
            Raw::Inline(bytes) => bytes.len() as u64,
            Raw::Span { left } => *left,
        }
    }
}

/// Turns UTF-8 of the characters 0 to 255 into one byte each, a block at a time.
struct Latin1 {
    /// The last byte of the block before, then a block as it is stored.
    stored: Box<[u8; 1 + BLOCK]>,
    /// What the character is whose last byte is at the same place of `stored` but for the first.
    characters: Box<[u8; BLOCK]>,
    /// Decoded bytes that nobody has taken yet: `decoded[taken..ready]`.
    decoded: Box<[u8; BLOCK]>,
    taken: usize,
    ready: usize,
}

const BLOCK: usize = 1 << 15;

impl Latin1 {
    fn new() -> Self {
        Latin1 {
            stored: Box::new([0; 1 + BLOCK]),
            characters: Box::new([0; BLOCK]),
            decoded: Box::new([0; BLOCK]),
            taken: 0,
            ready: 0,
        }
    }

    /// Bytes that are decoded and not taken, and one for a character that is not complete.
    fn pending(&self) -> u64 {
        (self.ready - self.taken) as u64 + u64::from(self.stored[0] >= 0xc0)
    }

    fn fill(
        &mut self,
        source: &mut Source<'_>,
        raw: &mut Raw<'_>,
        mut buffer: &mut [u8],
    ) -> Result<()> {
        while !buffer.is_empty() {
            if self.taken == self.ready {
                let count = raw.left().clamp(1, BLOCK as u64) as usize;
                raw.fill(source, &mut self.stored[1..=count])?;
                let decoded = self.decode(count);
                self.ready = decoded.ok_or_else(|| {
                    source.error_at(
                        source.position(),
                        "the array's bytes are no latin-1 text, as protocols 0 to 2 store them",
                    )
                })?;
                self.taken = 0;
            }
            let count = buffer.len().min(self.ready - self.taken);
            let (now, later) = buffer.split_at_mut(count);
            now.copy_from_slice(&self.decoded[self.taken..][..count]);
            self.taken += count;
            buffer = later;
        }
        Ok(())
    }

    /// Decodes the `count` bytes of a block; how many bytes that makes, or `None` if they are no
    /// UTF-8 of the characters 0 to 255.
    ///
    /// Free of branches, since in image data every other one would be guessed wrong, and in two
    /// passes, since the compiler turns the first into vector instructions.
    fn decode(&mut self, count: usize) -> Option<usize> {
        let (before, bytes) = (&self.stored[..count], &self.stored[1..=count]);
        let characters = &mut self.characters[..count];
        let mut wrong = 0;
        for ((&before, &byte), character) in before.iter().zip(bytes).zip(&mut *characters) {
            let follows_lead = u8::from(before & 0xfe == 0xc2);
            let continues = u8::from(byte & 0xc0 == 0x80);
            wrong |= (u8::from(before >= 0xc0) ^ follows_lead) | (continues ^ follows_lead);
            *character = if continues == 1 {
                before << 6 | byte & 0x3f
            } else {
                byte
            };
        }
        let mut written = 0;
        for (&byte, &character) in bytes.iter().zip(&*characters) {
            // A lead byte writes too, and is overwritten by the next.
            self.decoded[written & (BLOCK - 1)] = character;
            written += usize::from(byte < 0xc0);
        }
        self.stored[0] = self.stored[count];
        (wrong == 0).then_some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(stored: &[u8], count: usize) -> Result<Vec<u8>> {
        let mut source = Source::bytes(stored, Path::new("test"));
        let blob = Blob {
            content: Content::Span {
                start: 0,
                length: stored.len() as u64,
            },
            latin1: true,
        };
        let mut input = BlobInput::new(&mut source, &blob, count as u64)?;
        let mut out = vec![0; count];
        // Uneven pieces, so that characters and blocks are cut everywhere.
        for (i, piece) in out.chunks_mut(977).enumerate() {
            let (a, b) = piece.split_at_mut(i % piece.len().max(1));
            input.fill(a)?;
            input.fill(b)?;
        }
        input.finish()?;
        Ok(out)
    }

    #[test]
    fn latin1_decodes_every_byte_across_blocks() {
        let bytes: Vec<u8> = (0..200_000_u32)
            .map(|i| (i % 257 * (i % 257) + i / 1000) as u8)
            .collect();
        let text: String = bytes.iter().map(|&b| char::from(b)).collect();
        assert_eq!(read(text.as_bytes(), bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn what_is_no_latin1_is_refused() {
        for wrong in [
            &b"\xc2"[..],
            b"\xc2a",
            b"\x80a",
            b"\xc4\x80",
            b"a\xff",
            b"\xc2\xc2\x80",
        ] {
            for count in 1..=wrong.len() {
                assert!(read(wrong, count).is_err(), "{wrong:x?} as {count}");
            }
        }
    }
}
