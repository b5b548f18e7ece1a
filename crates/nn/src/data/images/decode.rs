//! One picture of a file, in memory that is bounded before it is asked for.

use std::io::BufReader;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::error::FileError;

/// What all pictures that are being decoded may take together, on however many threads: enough
/// for one of 89 million pixels.
const BUDGET: u64 = 1 << 30;

/// No picture is believed to have more than this many bytes for each of its file: deflate makes at
/// most 1032 bytes of one, and a byte of a PNG may be eight pixels of four bytes.
const MOST_EXPANSION: u64 = 1032 * 32;

/// Decodes pictures to three channels and one size, on several threads within one budget.
pub(super) struct Decoder {
    size: [u32; 2],
    left: Mutex<u64>,
    returned: Condvar,
}

impl Decoder {
    /// Pictures become `[height, width]`.
    pub(super) fn new(size: [u32; 2]) -> Self {
        Decoder {
            size,
            left: Mutex::new(BUDGET),
            returned: Condvar::new(),
        }
    }

    /// The picture in `path`.
    pub(super) fn decode(&self, path: &Path) -> Result<RgbImage, FileError> {
        let (file, length) = crate::files::open(path)?;
        let invalid = |error| {
            FileError::new(path, format!("cannot read the image: {error}"))
                .fix("replace or remove the file")
        };
        let mut reader = ImageReader::new(BufReader::new(file))
            .with_guessed_format()
            .map_err(|error| FileError::io(path, "read the image", error))?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(length.saturating_mul(MOST_EXPANSION).min(BUDGET));
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(invalid)?;
        let (width, height) = decoder.dimensions();
        let bytes = decoder.total_bytes();
        if bytes / MOST_EXPANSION > length {
            let cause = format!(
                "cannot read the image: {length} bytes cannot hold the {width}×{height} pixels \
                 that they promise"
            );
            return Err(FileError::new(path, cause).fix("replace or remove the file"));
        }
        let needed = self.memory(bytes, width, height);
        if needed > BUDGET {
            let cause = format!(
                "cannot read the image: decoding its {width}×{height} pixels takes \
                 {needed} bytes, and at most {BUDGET} are spent on it"
            );
            return Err(FileError::new(path, cause).fix("store it smaller, or remove the file"));
        }
        let _share = self.take(needed);
        let image = DynamicImage::from_decoder(decoder).map_err(invalid)?;
        let image = image.into_rgb8();
        let [rows, columns] = self.size;
        Ok(if image.dimensions() == (columns, rows) {
            image
        } else {
            imageops::resize(&image, columns, rows, FilterType::Triangle)
        })
    }

    /// An upper bound of what it takes to decode `bytes` bytes of pixels: beside themselves the
    /// coefficients of a progressive JPEG, which are 16-bit numbers, the same pixels in three
    /// channels, and as many rows as there will be of four floats a pixel.
    fn memory(&self, bytes: u64, width: u32, height: u32) -> u64 {
        let pixels = u64::from(width) * u64::from(height);
        let resized = u64::from(width) * u64::from(self.size[0]);
        let parts = [(bytes, 3), (pixels, 3), (resized, 16)];
        parts.iter().fold(0, |sum: u64, &(count, size)| {
            sum.saturating_add(count.saturating_mul(size))
        })
    }

    /// Waits until `amount` of the budget is left, and takes it.
    fn take(&self, amount: u64) -> Share<'_> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self
            .returned
            .wait_while(left, |left| *left < amount)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= amount;
        let owner = self;
        Share { owner, amount }
    }
}

/// A part of the budget, given back when it is dropped.
struct Share<'a> {
    owner: &'a Decoder,
    amount: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let left = self.owner.left.lock();
        *left.unwrap_or_else(PoisonError::into_inner) += self.amount;
        self.owner.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, Crc, write::ZlibEncoder};
    use std::io::Write;

    /// A PNG that promises `width × height` bytes and holds `rows` rows of zeros.
    fn png(width: u32, height: u32, rows: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8; 4], data: &[u8]| {
            let body = [kind, data].concat();
            let mut crc = Crc::new();
            crc.update(&body);
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(body);
            bytes.extend(crc.sum().to_be_bytes());
        };
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        chunk(b"IHDR", &[&size[..], &[8, 0, 0, 0, 0]].concat());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let row = vec![0; width as usize + 1];
        (0..rows).for_each(|_| zlib.write_all(&row).unwrap());
        chunk(b"IDAT", &zlib.finish().unwrap());
        chunk(b"IEND", &[]);
        bytes
    }

    #[test]
    fn a_picture_takes_no_more_than_its_file_can_hold_and_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let decode = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Decoder::new([8, 8]).decode(&path)
        };
        // All black, and so as small as a file can be.
        let black = decode(&png(2000, 1500, 1500)).unwrap();
        assert!(black.pixels().all(|pixel| pixel.0 == [0; 3]));
        let message = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        let bomb = png(18_000, 18_000, 0);
        assert!(bomb.len() < 164);
        let refused = message(&bomb);
        assert!(
            refused.contains("cannot hold the 18000×18000 pixels"),
            "{refused}"
        );
        // One row that would become eight of floats: 1.2 GB.
        let refused = message(&png(10_000_000, 1, 1));
        assert!(
            refused.contains("at most 1073741824 are spent"),
            "{refused}"
        );
    }

    #[test]
    fn shares_never_exceed_the_budget() {
        let decoder = Decoder::new([8, 8]);
        let most = std::sync::atomic::AtomicU64::new(u64::MAX);
        std::thread::scope(|scope| {
            for thread in 1..=6 {
                let (decoder, most) = (&decoder, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _share = decoder.take(BUDGET / 4 * thread.min(4));
                        let left = *decoder.left.lock().unwrap();
                        most.fetch_min(left, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(most.into_inner() <= BUDGET);
        assert_eq!(decoder.left.into_inner().unwrap(), BUDGET);
    }
}
