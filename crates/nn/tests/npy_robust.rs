//! Damaged files never panic, and never make the reader allocate more than they could hold.

use std::alloc::System;
use std::path::Path;

use cap::Cap;
use nn::data::npy;
use nn::data::npz::Npz;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The fixtures are at most 6 kB; the rest is the test runner's own.
const MOST_MEMORY: usize = 32 << 20;

const FILES: [&str; 11] = [
    "four_np1_p0.npy",
    "every_byte_p1.npy",
    "four_np1_p2.npy",
    "four_np2_p5.npy",
    "mixed_np1_p3.npy",
    "mixed_np2_p2.npy",
    "mixed_np2_p4.npy",
    "images_of_one_size.npy",
    "plain_u8.npy",
    "types.npz",
    "two.npz",
];

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
    std::fs::read(folder.join(name)).unwrap()
}

/// Reads `bytes` in every way there is; whatever comes back, it comes back.
fn try_to_read(bytes: &[u8]) {
    let _ = npy::from_bytes(bytes);
    let _ = npy::objects_from_bytes::<4>(bytes);
    let _ = npy::objects_from_bytes::<10>(bytes);
    if let Ok(mut archive) = Npz::from_bytes(bytes) {
        for name in archive.names().to_vec() {
            let _ = archive.array(&name);
        }
    }
    let most = ALLOCATOR.max_allocated();
    assert!(most < MOST_MEMORY, "{most} bytes were allocated at once");
}

#[test]
fn a_string_that_is_used_again_and_again_is_in_memory_once() {
    let text = "V".to_string() + &"a".repeat(1 << 20) + "\np0\n";
    let again = "0c_codecs\nencode\n(g0\nVlatin1\ntR".repeat(1 << 12);
    let mut bytes = read("images_of_one_size.npy")[..128].to_vec();
    bytes.extend((text + &again + ".").bytes());
    try_to_read(&bytes);
}

/// A picture that promises 18,000 × 18,000 grey pixels and holds a few black rows.
const BOMB: &[u8] =
    b"\x89PNG\x0d\x0a\x1a\x0a\0\0\0\x0dIHDR\0\0FP\0\0FP\x08\0\0\0\0\xb2\x5c>\x9e\0\0\0xIDA\
    Tx\xda\xed\xc11\x01\0\0\0\xc2\xa0\xf5Om\x0d\x0f\xa0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80W\
    \x03\x86\xaf\0\x01\x1a\x93\x0d\xdb\0\0\0\0IEND\xaeB`\x82";

#[test]
fn a_picture_takes_no_more_than_its_file_can_hold() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("class");
    std::fs::create_dir(&class).unwrap();
    for name in ["a.png", "b.png", "c.png"] {
        std::fs::write(class.join(name), BOMB).unwrap();
    }
    let error = nn::data::ImageSet::from_folder(folder.path(), [8, 8]).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("a.png: cannot read the image: "), "{error}");
    assert!(
        error.contains("cannot hold the 18000×18000 pixels"),
        "{error}"
    );
    let most = ALLOCATOR.max_allocated();
    assert!(most < MOST_MEMORY, "{most} bytes were allocated at once");
}

/// One way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
    /// Copies a piece of the file to another place in it.
    Copy(Index, Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    // Instructions of a pickle, and bytes that make lengths huge.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            select(&b"\x80\x95\x8e\x8d\x96\x94\x93(tleahjqrRb.]}cILFVSgp\n\\u\xff\x7f\x00"[..])
        ]
    };
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), prop::collection::vec(byte(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..9_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        at().prop_map(Damage::Cut),
        (at(), at(), 1..64_usize).prop_map(|(from, to, count)| Damage::Copy(from, to, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: Damage) {
    if bytes.is_empty() {
        return;
    }
    let end = |start: usize, count: usize| (start + count).min(bytes.len());
    match damage {
        Damage::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        Damage::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Damage::Insert(at, inserted) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, inserted);
        }
        Damage::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..end(at, count));
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Copy(from, to, count) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let piece = bytes[from..end(from, count)].to_vec();
            bytes.splice(to..to, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files(
        name in select(&FILES[..]),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let mut bytes = read(name);
        for damage in damages {
            apply(&mut bytes, damage);
        }
        try_to_read(&bytes);
    }

    #[test]
    fn pickles_of_random_instructions(
        program in prop::collection::vec(
            select(&b"\x80\x04\x95\x8e\x8d\x96\x94\x93((ttlleeaahjqrRRbb.]]}cK\x00\x01\x02NNN\x85\x86\x87012ILFVSgp\n\n\n"[..]),
            0..400,
        ),
    ) {
        let mut bytes = read("images_of_one_size.npy")[..128].to_vec();
        bytes.extend([0x80, 4]);
        bytes.extend(program);
        try_to_read(&bytes);
    }

    #[test]
    fn headers_of_random_text(
        text in r"\{'descr': '[<>|=]?[a-zA-Z]{0,2}[0-9]{0,3}', 'fortran_order': (True|False), 'shape': \([-0-9xob_,L e]{0,60}\), \}",
    ) {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend([0; 256]);
        try_to_read(&bytes);
    }
}
