//! One flipped bit in a model file is noticed, wherever it is.
#![cfg(all(feature = "hdf5", feature = "safetensors"))]

use std::collections::BTreeSet;
use std::path::Path;

use nn::files::{SaveOptions, read_checkpoint, read_h5};
use nn::prelude::*;

fn trained() -> Sequential {
    let mut model = Sequential::new().seed(3);
    model.add(Conv2d::new(2, [3, 3]).input_shape(&[5, 5, 1]));
    model.add(Flatten::new());
    model.add(Dense::new(3).activation(ActivationFunction::Softmax));
    model
        .compile(
            CategoricalCrossentropy::new(),
            Adam::default(),
            [Accuracy::new()],
        )
        .unwrap();
    let x = Tensor::from_fn([8, 5, 5, 1], |at| {
        ((at[0] * 7 + at[1] * 3 + at[2]) % 5) as f32
    })
    .unwrap();
    let y = Tensor::from_fn([8, 3], |at| f32::from(u8::from(at[0] % 3 == at[1]))).unwrap();
    model.train_on_batch(&x, &y).unwrap();
    model
}

/// Reads `path` with each of many bits flipped; `read` must fail, or give what it gave before for at
/// most `unseen` of them.
fn flip<R: PartialEq>(path: &Path, unseen: usize, read: impl Fn() -> Result<R, nn::FileError>) {
    let bytes = std::fs::read(path).unwrap();
    let whole = read().ok().unwrap();
    let bits = 8 * bytes.len();
    // Every bit of the first and last bytes, and every 101st of the others: 101 is coprime to 8.
    let ends = (0..8 * 64).chain(bits - 8 * 64..bits);
    let chosen: BTreeSet<usize> = ends.chain((0..bits).step_by(101)).collect();
    let mut same = 0;
    for &bit in &chosen {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, &damaged).unwrap();
        if let Ok(read) = read() {
            assert!(read == whole, "bit {bit} of {bits} changes what is read");
            same += 1;
        }
    }
    println!("{}: {same} of {} are read", path.display(), chosen.len());
    assert!(
        same <= unseen,
        "{same} bits of {} are not seen",
        chosen.len()
    );
}

#[test]
fn single_bits_of_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    trained().save_checkpoint(&path, 1).unwrap();
    flip(&path, 0, || read_checkpoint::<f32>(&path));
}

#[test]
fn single_bits_of_h5() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    let options = SaveOptions::new().optimizer_state(true);
    trained().save_with(&path, options).unwrap();
    // The eight bytes before the digits say that there is a checksum, and nothing else.
    flip(&path, 8 * 8, || read_h5::<f32>(&path));
}

#[test]
fn checksums_are_those_that_the_documentation_names() {
    let folder = tempfile::tempdir().unwrap();
    let crc = |parts: &[&[u8]]| {
        let mut crc = flate2::Crc::new();
        parts.iter().for_each(|part| crc.update(part));
        format!("{:08x}", crc.sum())
    };
    let path = folder.path().join("model.h5");
    trained().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (contents, end) = bytes.split_at(bytes.len() - 16);
    assert_eq!(end, format!("\nCRC-32 {}", crc(&[contents])).as_bytes());
    // A file without, as Keras writes it, is read all the same.
    std::fs::write(&path, contents).unwrap();
    assert_eq!(
        Sequential::load(&path).unwrap().weights(),
        trained().weights()
    );

    let path = folder.path().join("run.safetensors");
    trained().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let before = br#"{"__metadata__":{"checkpoint":"{\"checksum\":\""#;
    let digits = 8 + before.len();
    assert_eq!(&bytes[8..digits], before);
    let sum = crc(&[&bytes[..digits], b"00000000", &bytes[digits + 8..]]);
    assert_eq!(&bytes[digits..digits + 8], sum.as_bytes());
}

#[test]
fn checkpoints_of_the_first_format_had_no_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    trained().save_checkpoint(&path, 4).unwrap();
    let written = read_checkpoint::<f32>(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let mut replace = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        let at = at.unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
    };
    replace("\\\"checksum\\\"", "\\\"checksux\\\"");
    assert!(read_checkpoint::<f32>(&path).is_err());
    replace("\\\"format\\\":2", "\\\"format\\\":1");
    assert_eq!(read_checkpoint::<f32>(&path).unwrap(), written);
}
