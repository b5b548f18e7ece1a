//! Files that NumPy wrote (`fixtures/data/make_npy.py`), and files that nobody should read.

use std::path::{Path, PathBuf};

use nn::data::npz::{self, Npz};
use nn::data::{Array, npy};
use tensor::{DType, Element, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/data")
        .join(name)
}

/// The images that the script makes: element i is (37 i + 11) mod 256.
fn images<T: Element>(shape: &[usize]) -> Tensor<T> {
    let count: usize = shape.iter().product();
    let elements = (0..count).map(|i| T::from_i64((37 * i as i64 + 11) % 256));
    Tensor::from_vec(elements.collect(), shape).unwrap()
}

#[track_caller]
fn same<T: Element>(array: &Array, expected: &Tensor<T>) {
    assert_eq!(array.dtype(), T::DTYPE);
    assert_eq!(array.to::<T>().unwrap(), *expected);
}

#[track_caller]
fn vector<T: Element>(array: &Array, expected: &[T]) {
    assert_eq!(array.dtype(), T::DTYPE);
    assert_eq!(array.to::<T>().unwrap().to_vec(), expected);
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: nn::Result<T>, words: &[&str]) {
    let error = result.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is missing from: {error}");
    }
}

#[test]
fn four_arrays_from_every_protocol_and_numpy() {
    for numpy in ["np1", "np2"] {
        for protocol in ["p0", "p1", "p2", "p3", "p4", "p5", "save"] {
            let path = fixture(&format!("four_{numpy}_{protocol}.npy"));
            let [x_train, x_test, y_train, y_test] = npy::load_objects(path).unwrap();
            if protocol == "save" {
                same(&x_train, &images::<f32>(&[3, 8, 8, 3]));
                same(&x_test, &images::<f32>(&[2, 8, 8, 3]));
            } else {
                same(&x_train, &images::<u8>(&[3, 8, 8, 3]));
                same(&x_test, &images::<u8>(&[2, 8, 8, 3]));
            }
            vector(&y_train, &[2_i64, 0, 5]);
            vector(&y_test, &[1_i64, 4]);
        }
    }
}

#[test]
fn items_of_every_kind() {
    for numpy in ["np1", "np2"] {
        for protocol in 0..=5 {
            let path = fixture(&format!("mixed_{numpy}_p{protocol}.npy"));
            let items: [Array; 10] = npy::load_objects(path).unwrap();
            same(&items[0], &images::<f64>(&[3, 4, 5]));
            same(&items[1], &images::<i32>(&[3, 4]));
            same(&items[2], &images::<f32>(&[2, 3]));
            vector(&items[3], &[2_i64, 0, 5, 70000, -1, 1 << 40]);
            vector(&items[4], &[3_i64, -4]);
            vector(&items[5], &[0.5_f64, 1.5, 2.0]);
            vector(&items[6], &[true, false, false, true]);
            assert_eq!(*items[6].shape(), [2, 2]);
            assert_eq!(*items[7].shape(), [2, 20, 20]);
            let (first, second) = (items[7].row(0).unwrap(), items[7].row(1).unwrap());
            same(&first, &images::<u8>(&[20, 20]));
            assert_eq!(second.to_u8().unwrap()[[0, 0]], 12);
            assert_eq!(
                (items[8].dtype(), items[8].shape()),
                (DType::U8, &[0, 4].into())
            );
            assert_eq!(*items[9].shape(), [2, 2, 2]);
        }
    }
}

#[test]
fn bytes_and_numbers_as_text() {
    for protocol in ["p0", "p1"] {
        let path = fixture(&format!("every_byte_{protocol}.npy"));
        let [bytes, float, int, truth, single] = npy::load_objects(path).unwrap();
        let expected: Vec<u8> = (0..=255).flat_map(|byte| [byte; 3]).collect();
        vector(&bytes, &expected);
        vector(&float, &[2.5_f64]);
        vector(&int, &[-(1_i64 << 62)]);
        vector(&truth, &[true]);
        vector(&single, &[f64::from(0.1_f32)]);
    }
}

#[test]
fn objects_of_one_shape_stack() {
    let stacked = npy::load(fixture("images_of_one_size.npy")).unwrap();
    assert_eq!(
        (stacked.dtype(), stacked.shape()),
        (DType::U8, &[3, 4, 5, 3].into())
    );
    same(&stacked.row(2).unwrap(), &images::<u8>(&[4, 5, 3]));

    let [a, b] = npy::load_objects(fixture("labels_beside_equal_lists.npy")).unwrap();
    vector(&a, &[1_i64, 2, 3]);
    vector(&b, &[4_i64, 5, 6]);
}

#[test]
fn images_of_different_sizes_are_named() {
    let words = ["element [2]", "[5, 4, 3]", "[4, 5, 3]", "one size"];
    refuses(npy::load(fixture("images_of_two_sizes.npy")), &words);
    let path = fixture("four_with_images_of_two_sizes.npy");
    let words = [
        "two_sizes.npy",
        "item 0, element [1]",
        "[5, 4, 3]",
        "[4, 5, 3]",
    ];
    refuses(npy::load_objects::<4>(path), &words);
}

#[test]
fn a_pickle_of_anything_else_is_refused() {
    for protocol in [0, 1, 2, 4] {
        let path = fixture(&format!("evil_p{protocol}.npy"));
        refuses(
            npy::load_objects::<2>(path),
            &["posix.system", "nothing was run", "byte "],
        );
    }
    refuses(npy::load(fixture("object_dict.npy")), &["a dict"]);
    refuses(
        npy::load_objects::<2>(fixture("object_none.npy")),
        &["item 1", "None"],
    );
    refuses(
        npy::load_objects::<2>(fixture("object_with_names.npy")),
        &["item 1", "U4"],
    );
}

#[test]
fn a_wrong_number_of_items_is_named() {
    refuses(
        npy::load_objects::<3>(fixture("four_np2_p4.npy")),
        &["4 items", "3 are asked for"],
    );
    refuses(
        npy::load_objects::<4>(fixture("plain_u8.npy")),
        &["u8 [3, 4, 5, 3]", "4 are asked for"],
    );
    refuses(
        npy::load(fixture("four_np2_p4.npy")),
        &["different shapes", "element [1]", "npy::load_objects"],
    );
    refuses(
        npy::load(fixture("mixed_np2_p4.npy")),
        &["different shapes", "npy::load_objects"],
    );
}

#[test]
fn a_plain_array_is_cut_along_its_first_axis() {
    let [_, middle, _] = npy::load_objects(fixture("plain_u8.npy")).unwrap();
    assert_eq!(*middle.shape(), [4, 5, 3]);
    assert_eq!(
        middle.to_u8().unwrap()[[0, 0, 0]],
        ((37 * 60 + 11) % 256) as u8
    );
}

#[test]
fn every_type_in_both_byte_orders() {
    let mut types = Npz::open(fixture("types.npz")).unwrap();
    let subnormal = |code| match code {
        "f2" => 2.0_f64.powi(-24),
        "f4" => f64::from(f32::from_bits(1)),
        _ => f64::from_bits(1),
    };
    for order in ["le", "be"] {
        let mut read = |code: &str| {
            let array = types.array(&format!("{order}_{code}")).unwrap();
            assert_eq!(*array.shape(), [2, 3], "{order}_{code}");
            array
        };
        vector(&read("b1"), &[false, true, true, false, false, true]);
        vector(&read("u1"), &[0_u8, 1, 0, 255, 100, 7]);
        vector(&read("i1"), &[0, 1, -128, 127, 100, 7]);
        vector(&read("i2"), &[0, 1, -32768, 32767, 100, 7]);
        vector(&read("u2"), &[0, 1, 0, 65535, 100, 7]);
        vector(&read("i4"), &[0, 1, i32::MIN, i32::MAX, 100, 7]);
        vector(&read("u4"), &[0, 1, 0, i64::from(u32::MAX), 100, 7]);
        vector(&read("i8"), &[0, 1, i64::MIN, i64::MAX, 100, 7]);
        vector(&read("u8"), &[0, 1, 0, i64::MAX, 100, 7]);
        for (code, dtype, most) in [
            ("f2", DType::F32, 65504.0),
            ("f4", DType::F32, f64::from(f32::MAX)),
            ("f8", DType::F64, f64::MAX),
        ] {
            let array = read(code);
            assert_eq!(array.dtype(), dtype);
            let expected = [0.0, -1.5, f64::INFINITY, most, subnormal(code), 3.0];
            assert_eq!(array.to_f64().unwrap().to_vec(), expected, "{order}_{code}");
        }
    }
}

#[test]
fn orders_and_shapes() {
    let mut types = Npz::open(fixture("types.npz")).unwrap();
    same(
        &types.array("fortran_f4").unwrap(),
        &images::<f32>(&[2, 3, 4]),
    );
    same(
        &types.array("fortran_be_i2").unwrap(),
        &images::<i32>(&[2, 3, 4]),
    );
    assert_eq!(
        types.array_as::<f64, 0>("zero_d").unwrap().item().unwrap(),
        2.5
    );
    assert_eq!(
        *types.array_as::<i32, 3>("empty").unwrap().shape(),
        [3, 0, 2]
    );
    same(
        &npy::load(fixture("header_version_2.npy")).unwrap(),
        &images::<u8>(&[3, 4]),
    );
}

#[test]
fn types_that_no_tensor_holds_are_named() {
    let mut archive = Npz::open(fixture("refused.npz")).unwrap();
    for (name, words) in [
        ("complex", "<c8"),
        ("text", "<U4"),
        ("bytes", "|S4"),
        ("record", "'a'"),
        ("record_plain", "'b'"),
        ("date", "<M8[s]"),
        ("long", "<f16"),
        ("beyond_i64", "element 1 is 9223372036854775808"),
    ] {
        refuses(archive.array(name), &[words, &format!("{name}.npy")]);
    }
}

#[test]
fn npz_by_name() {
    let mut two = Npz::open(fixture("two.npz")).unwrap();
    assert_eq!(two.names(), ["labels", "arr_0"]);
    same(&two.array("arr_0").unwrap(), &images::<u8>(&[3, 8, 8]));
    vector(&two.array("labels").unwrap(), &[2_i64, 0, 5]);
    refuses(two.array("images"), &["\"images\"", "arr_0", "labels"]);
    refuses(
        two.array_as::<f32, 3>("arr_0"),
        &["u8 [3, 8, 8]", "f32", "3 axes"],
    );

    let bytes = std::fs::read(fixture("two.npz")).unwrap();
    let mut in_memory = Npz::from_bytes(&bytes).unwrap();
    vector(&in_memory.array("labels").unwrap(), &[2_i64, 0, 5]);
    let all = npz::load(fixture("two.npz")).unwrap();
    assert_eq!(all.len(), 2);
    refuses(
        npz::load(fixture("plain_u8.npy")),
        &["plain_u8.npy", "not a .npz file", "npy::load"],
    );
}

#[test]
fn a_damaged_archive_is_refused() {
    let bytes = std::fs::read(fixture("two.npz")).unwrap();
    assert!(Npz::from_bytes(&bytes[..bytes.len() - 30]).is_err());
    // A stored array with one byte flipped fails its checksum.
    let mut flipped = bytes.clone();
    let payload = images::<u8>(&[8]).to_vec();
    let at = flipped.windows(8).position(|w| w == payload).unwrap();
    flipped[at] ^= 1;
    refuses(
        Npz::from_bytes(&flipped).unwrap().array("arr_0"),
        &["arr_0.npy", "unpack"],
    );
    // Both entries of the table of contents lead to the same bytes.
    let mut overlapping = bytes.clone();
    let entries: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&at| bytes[at..].starts_with(b"PK\x01\x02"))
        .collect();
    overlapping.copy_within(entries[0] + 42..entries[0] + 46, entries[1] + 42);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    std::fs::write(&path, overlapping).unwrap();
    refuses(npz::load(&path), &["x.npz", "lie over one another"]);
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    for name in [
        "plain_u8.npy",
        "four_np1_p0.npy",
        "four_np2_p1.npy",
        "four_np2_p2.npy",
        "four_np1_p5.npy",
        "mixed_np2_p4.npy",
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for length in 0..bytes.len() {
            let error = npy::from_bytes(&bytes[..length]).unwrap_err().to_string();
            assert!(error.contains("byte "), "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn what_is_no_npy_file_is_named() {
    refuses(npy::load("no/such/file.npy"), &["no/such/file.npy", "open"]);
    refuses(npy::load(fixture("")), &["not a file"]);
    let words = ["two.npz", "zip archive", "npz::Npz"];
    refuses(npy::load(fixture("two.npz")), &words);
    refuses(
        npy::load(fixture("make_npy.py")),
        &["make_npy.py", "not a .npy file"],
    );
    refuses(npy::from_bytes(b""), &["too short"]);
    refuses(
        npy::load_as::<f32, 4>(fixture("plain_u8.npy")),
        &["plain_u8.npy", "u8 [3, 4, 5, 3]", "f32 with 4 axes"],
    );
    refuses(
        npy::load_as::<u8, 3>(fixture("plain_u8.npy")),
        &["u8 [3, 4, 5, 3]", "u8 with 3 axes"],
    );
}

/// A version 1 file with this header text and nothing behind it.
fn with_header(text: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn hostile_headers_are_errors() {
    let nested = "(".repeat(60_000);
    for text in [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 8), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }",
        "{'descr': '<f8', 'fortran_order': True, 'shape': (99999999999999999999999,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0x7fffffffffffffff, 99), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, }",
        "{'descr': '<f99', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '', 'fortran_order': False, 'shape': (1,), }",
        "[]",
        "",
        &nested,
    ] {
        assert!(npy::from_bytes(&with_header(text)).is_err(), "{text:.100}");
    }
    let mut long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
    long.extend([b' '; 100]);
    refuses(npy::from_bytes(&long), &["4294967295 bytes"]);
}

/// A file whose pickle is `program`.
fn with_pickle(program: &[u8]) -> Vec<u8> {
    let mut bytes = with_header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }");
    bytes.extend(program);
    bytes
}

#[test]
fn hostile_pickles_are_errors() {
    // Lists of ten references to the list before: 10^30 items from 600 bytes.
    let mut bomb = b"\x80\x04]K\x01aq\x00".to_vec();
    for key in 1..30 {
        bomb.extend([b']', b'(']);
        bomb.extend([b'h', key - 1].repeat(10));
        bomb.extend([b'e', b'q', key]);
    }
    bomb.push(b'.');
    refuses(
        npy::from_bytes(&with_pickle(&bomb)),
        &["more than 64 times"],
    );
    // Empty lists in empty lists, which hold nothing at all, take time all the same.
    bomb[3..6].copy_from_slice(b"]0N");
    assert!(npy::from_bytes(&with_pickle(&bomb)).is_err());

    let deep = [
        b"\x80\x04".to_vec(),
        vec![b']'; 100_000],
        vec![b'a'; 99_999],
        b".".to_vec(),
    ];
    refuses(
        npy::from_bytes(&with_pickle(&deep.concat())),
        &["too deeply"],
    );
    refuses(
        npy::from_bytes(&with_pickle(b"\x80\x04]q\x00h\x00a.")),
        &["too deeply"],
    );

    for (program, words) in [
        (
            &b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff."[..],
            "truncated",
        ),
        (b"\x80\x04B\xff\xff\xff\xff.", "truncated"),
        (b"\x80\x04\x8b\xff\xff\xff\xff.", "truncated"),
        (
            b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
            "truncated",
        ),
        (b"\x80\x04\x8a\x09\0\0\0\0\0\0\0\0\x01.", "beyond 64 bits"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x80\x04}.", "a dict"),
        (b"\x80\x04h\x00.", "nothing is remembered"),
        (b"\x80\x04a.", "stack is empty"),
        (b"\x80\x04(a.", "stack is empty"),
        (b"\x80\x04t.", "a mark is missing"),
        (b"\x80\x04K\x01K\x02a.", "appends to an int"),
        (b"\x80\x04K\x01)R.", "calls an int"),
        (b"\x80\x04cos\nsystem\n)R.", "os.system"),
        (b"\x80\x04cnumpy\nndarray\n)R.", "NdArray"),
        (b"\x80\x04cnumpy\nload\n)R.", "numpy.load"),
        (b"\x80\x04N.", "None"),
        (b"Ione\n.", "\"one\" is no number of 64 bits"),
        (b"I9223372036854775808\n.", "no number of 64 bits"),
        (b"L9223372036854775808L\n.", "no number of 64 bits"),
        (b"Fone\n.", "\"one\" is no number"),
        (b"F1.5", "truncated"),
        (b"Vabc", "truncated"),
        (b"V\\x\n.", "unknown escapes"),
        (b"Sabc\n.", "unknown escapes"),
        (b"g0\n.", "nothing is remembered as 0"),
        (b"g-1\n.", "\"-1\" is no key"),
        (b"I1\np4294967296\n.", "is no key"),
        (b"cos\nsystem\n(tR.", "os.system"),
        (b"(dI1\nI2\ns.", "a dict"),
        (b"i", "an object of a class"),
        (b"\xff", "no instruction"),
    ] {
        refuses(npy::from_bytes(&with_pickle(program)), &[words]);
    }
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let check = |array: Array| {
        npy::save(&path, &array).unwrap();
        let back = npy::load(&path).unwrap();
        assert_eq!((back.dtype(), back.shape()), (array.dtype(), array.shape()));
        assert_eq!(back.to_f64().unwrap(), array.to_f64().unwrap());
        npz::save(
            folder.path().join("x.npz"),
            [("a", array.clone()), ("b", array.clone())],
        )
        .unwrap();
        let back = npz::load(folder.path().join("x.npz")).unwrap();
        assert_eq!(back[1].0, "b");
        assert_eq!(back[1].1.to_f64().unwrap(), array.to_f64().unwrap());
    };
    let x = images::<f32>(&[3, 4, 5]);
    check(x.clone().into());
    check(x.permute(&[2, 0, 1]).unwrap().into());
    check(x.cast::<f64>().into());
    check(x.cast::<u8>().into());
    check(x.cast::<i32>().into());
    check(x.cast::<i64>().into());
    check(x.cast::<bool>().into());
    check(Tensor::<f32>::zeros([0, 3]).unwrap().into());
    check(Tensor::scalar(2.5_f64).into());
    let error = npy::save(folder.path().join("no/x.npy"), &x).unwrap_err();
    assert!(error.to_string().contains("does not exist"));
}
