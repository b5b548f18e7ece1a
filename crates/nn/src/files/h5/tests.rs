//! Files as no version of Keras in the fixtures writes them, and damaged ones.

use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};
use proptest::prelude::*;
use tempfile::TempDir;
use tensor::{Shape, Tensor};

use super::{read_h5, write_h5};
use crate::files::{SavedLayer, SavedModel, SavedObject, SavedState, SavedTraining};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/keras")
        .join(name)
}

fn in_folder(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn text(text: &str) -> AttrValue {
    AttrValue::VarLenAsciiString(text.to_string())
}

const ONE_LAYER: &str = r#"{"class_name": "Sequential", "config": {"layers": [
    {"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [null, 3]}}]}}"#;

/// A file of one dense layer, whose group is filled by `fill`.
fn one_layer(fill: impl FnOnce(&mut GroupBuilder)) -> FileBuilder {
    let mut file = FileBuilder::new();
    file.set_attr("model_config", text(ONE_LAYER));
    let mut weights = file.create_group("model_weights");
    weights.set_attr("layer_names", AttrValue::AsciiStringArray(vec!["d".into()]));
    let mut layer = weights.create_group("d");
    fill(&mut layer);
    weights.add_group(layer.finish());
    file.add_group(weights.finish());
    file
}

fn read(file: FileBuilder) -> Result<SavedModel<f32>, String> {
    let (_folder, path) = in_folder("m.h5");
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    read_h5(&path).map_err(|error| {
        let error = error.to_string();
        assert!(error.contains("m.h5"), "{error}");
        error
    })
}

#[test]
fn fixed_strings_flat_names_and_f64_weights_are_read() {
    let model = read(one_layer(|layer| {
        let names = ["kernel:0", "bias:0"].map(String::from).to_vec();
        layer.set_attr("weight_names", AttrValue::AsciiStringArray(names));
        let kernel = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        let dataset = layer.create_dataset("kernel:0");
        dataset.with_f64_data(&kernel).with_shape(&[3, 2]);
        let dataset = layer.create_dataset("bias:0");
        dataset.with_f32_data(&[1.0, 2.0]).with_shape(&[2]);
    }))
    .unwrap();
    assert_eq!(model.input_shape, Some(Shape::from(3)));
    let [layer] = &model.layers[..] else {
        panic!("{model:?}")
    };
    assert_eq!((&*layer.class, &*layer.name), ("Dense", "d"));
    let [(kernel, k), (bias, b)] = &layer.weights[..] else {
        panic!("{layer:?}")
    };
    assert_eq!((&**kernel, &**bias), ("kernel", "bias"));
    assert_eq!(k.shape()[..], [3, 2]);
    assert_eq!(k.to_vec(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6_f32]);
    assert_eq!(b.to_vec(), [1.0, 2.0]);
}

#[test]
fn compressed_weights_are_read() {
    let model = read(one_layer(|layer| {
        layer.set_attr("weight_names", AttrValue::StringArray(vec!["w".into()]));
        let dataset = layer.create_dataset("w");
        dataset
            .with_f32_data(&[0.5; 100_000])
            .with_shape(&[100_000]);
        dataset.with_chunks(&[50_000]).with_deflate(9);
    }))
    .unwrap();
    assert_eq!(model.layers[0].weights[0].1.to_vec(), [0.5; 100_000]);
}

#[test]
fn long_lists_of_names_are_split_and_joined() {
    let layers: Vec<SavedLayer> = (0..9000)
        .map(|i| SavedLayer {
            class: "Dropout".into(),
            name: format!("a_layer_with_quite_a_long_name_{i}"),
            config: serde_json::Map::new(),
            weights: Vec::new(),
        })
        .collect();
    let model = SavedModel {
        name: "deep".into(),
        seed: 0,
        input_shape: Some(Shape::from([4, 4, 1])),
        layers,
        training: None,
        optimizer_state: None,
    };
    let file = super::write::build(&model).unwrap().finish().unwrap();
    let file = hdf5_pure::File::from_bytes(file).unwrap();
    let attributes = file.group("model_weights").unwrap().attrs().unwrap();
    assert!(!attributes.contains_key("layer_names"));
    let split = ["layer_names0", "layer_names1", "layer_names2"];
    let counts = split.map(|name| attributes[name].as_strings().unwrap().len());
    assert_eq!(counts.iter().sum::<usize>(), 9000);
}

#[test]
fn split_names_are_read() {
    let mut file = FileBuilder::new();
    file.set_attr("model_config", text(ONE_LAYER));
    let mut weights = file.create_group("model_weights");
    weights.set_attr("layer_names0", AttrValue::StringArray(vec!["x".into()]));
    weights.set_attr("layer_names1", AttrValue::StringArray(vec!["d".into()]));
    let mut layer = weights.create_group("d");
    for part in ["weight_names0", "weight_names1"] {
        layer.set_attr(part, AttrValue::StringArray(vec![format!("{part}/w")]));
        let mut group = layer.create_group(part);
        group.create_dataset("w").with_f32_data(&[1.0]);
        layer.add_group(group.finish());
    }
    weights.add_group(layer.finish());
    file.add_group(weights.finish());
    assert_eq!(read(file).unwrap().layers[0].weights.len(), 2);
}

#[test]
fn names_outside_ascii_survive() {
    let model = SavedModel {
        name: "netz".into(),
        seed: 0,
        input_shape: None,
        layers: vec![SavedLayer {
            class: "Dense".into(),
            name: "größe_✓_𝛼".into(),
            config: serde_json::Map::from_iter([("note".into(), "schön 𝛼".into())]),
            weights: vec![("kernel".into(), Tensor::<f32>::zeros([2, 3]).unwrap())],
        }],
        training: None,
        optimizer_state: None,
    };
    let (_folder, path) = in_folder("m.h5");
    write_h5(&path, &model).unwrap();
    let back: SavedModel = read_h5(&path).unwrap();
    assert_eq!(back.layers[0].name, model.layers[0].name);
    assert_eq!(back.layers[0].config["note"], "schön 𝛼");
    assert_eq!(back.layers[0].weights, model.layers[0].weights);
}

#[test]
fn f64_models_come_back_bit_for_bit() {
    let tensor = |seed: usize| {
        let value = |at: &[usize]| ((at[0] + seed) as f64).sqrt() / 3.0;
        Tensor::<f64>::from_fn([4], value).unwrap()
    };
    let object = |class: &str| SavedObject {
        class: class.into(),
        config: serde_json::Map::from_iter([("learning_rate".into(), 0.1.into())]),
    };
    let model = SavedModel {
        name: "m".into(),
        seed: 0,
        input_shape: None,
        layers: vec![SavedLayer {
            class: "Scale".into(),
            name: "s".into(),
            config: serde_json::Map::new(),
            weights: vec![("factor".into(), tensor(1))],
        }],
        training: Some(SavedTraining {
            loss: object("Huber"),
            metrics: vec!["accuracy".into()],
            optimizer: Some(object("Adam")),
        }),
        optimizer_state: Some(SavedState {
            iterations: 17,
            slot_names: vec!["momentum".into(), "velocity".into()],
            slots: vec![vec![tensor(2), tensor(3)]],
        }),
    };
    let (_folder, path) = in_folder("m.h5");
    write_h5(&path, &model).unwrap();
    let back: SavedModel<f64> = read_h5(&path).unwrap();
    assert_eq!(back.layers[0].weights, model.layers[0].weights);
    assert_eq!(back.training, model.training);
    let state = back.optimizer_state.unwrap();
    assert_eq!(state.iterations, 17);
    assert_eq!(state.slots, model.optimizer_state.unwrap().slots);
}

#[test]
fn each_kind_of_wrong_file_has_its_message() {
    let listed = |layer: &mut GroupBuilder| {
        layer.set_attr("weight_names", AttrValue::StringArray(vec!["w".into()]));
    };
    let no_config = {
        let mut file = FileBuilder::new();
        file.set_attr("layer_names", AttrValue::StringArray(vec!["d".into()]));
        file
    };
    let with_config = |config: &str| {
        let mut file = FileBuilder::new();
        file.set_attr("model_config", text(config));
        file
    };
    for (file, expected) in [
        (no_config, "holds no model"),
        (with_config("{"), "not valid JSON"),
        (
            with_config(r#"{"class_name": "Functional"}"#),
            "the model is `Functional`",
        ),
        (
            with_config(r#"{"class_name": "Sequential"}"#),
            "no list of layers",
        ),
        (
            with_config(r#"{"class_name": "Sequential", "config": [{"class_name": "Dense"}]}"#),
            "layer 0 has no class or no configuration",
        ),
        (with_config(ONE_LAYER), "there is no group `model_weights`"),
        (one_layer(listed), "`w` is listed but missing"),
        (
            one_layer(|layer| {
                listed(layer);
                layer.create_dataset("w").with_i32_data(&[1, 2]);
            }),
            "holds elements of type i32",
        ),
        (
            one_layer(|layer| layer.set_attr("weight_names", AttrValue::I64(3))),
            "attribute `weight_names` is not a list of names",
        ),
    ] {
        let error = read(file).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is() {
    // 2⁴⁰ chunks of one element compress to nothing, because none of them is stored.
    let mut bytes = one_layer(|layer| {
        layer.set_attr("weight_names", AttrValue::StringArray(vec!["w".into()]));
        let dataset = layer.create_dataset("w");
        dataset.with_f32_data(&[1.0; 12_345]).with_shape(&[12_345]);
    })
    .finish()
    .unwrap();
    let claimed = 12_345_u64.to_le_bytes();
    let at: Vec<usize> = (0..bytes.len() - 8)
        .filter(|&i| bytes[i..i + 8] == claimed)
        .collect();
    assert!(!at.is_empty());
    for &i in &at {
        bytes[i..i + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    }
    let (_folder, path) = in_folder("m.h5");
    std::fs::write(&path, &bytes).unwrap();
    // This writer seals its headers with checksums; files by Keras have none, as below.
    assert!(read_h5::<f32>(&path).is_err());

    let mut bytes = std::fs::read(fixture("keras_2_3_1.h5")).unwrap();
    // The dataspace [3, 3, 3, 4] of the first kernel.
    let shape: Vec<u8> = [3_u64, 3, 3, 4]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let at = bytes
        .windows(32)
        .position(|window| window == shape)
        .unwrap();
    bytes[at..at + 8].copy_from_slice(&(1_u64 << 50).to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = read_h5::<f32>(&path).unwrap_err();
    assert!(
        error.cause().contains("more than the file holds"),
        "{error}"
    );
    assert!(error.place().unwrap().ends_with("kernel:0"), "{error}");
}

#[test]
fn one_dataset_listed_many_times_is_refused() {
    let error = read(one_layer(|layer| {
        let names = vec!["w".to_string(); 3000];
        layer.set_attr("weight_names", AttrValue::VarLenStringArray(names));
        let dataset = layer.create_dataset("w");
        dataset.with_f32_data(&[1.0; 10_000]).with_shape(&[10_000]);
    }))
    .unwrap_err();
    assert!(error.contains("more than the file holds"), "{error}");
}

#[test]
fn cut_and_foreign_files_are_told_apart() {
    let (_folder, path) = in_folder("m.h5");
    let whole = std::fs::read(fixture("keras_2_15_0.h5")).unwrap();
    for length in [0, 7, 8, 50, 96, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read_h5::<f32>(&path).unwrap_err();
        let cause = error.cause();
        match length {
            0 => assert_eq!(cause, "the file is empty"),
            1..8 => assert_eq!(cause, "is not an HDF5 file"),
            8..96 => assert!(cause.starts_with("is damaged"), "{error}"),
            _ => assert!(cause.starts_with("is cut off") || length < 1000, "{error}"),
        }
    }
    let error = read_h5::<f32>(fixture("keras_3_15_1.keras")).unwrap_err();
    assert!(error.to_string().contains("is not an HDF5 file"), "{error}");
    let error = read_h5::<f32>(fixture("keras_3_15_1.weights.h5")).unwrap_err();
    assert!(error.to_string().contains("holds no model"), "{error}");
    let error = read_h5::<f32>(fixture("no_such_file.h5")).unwrap_err();
    assert!(error.cause().starts_with("cannot open"), "{error}");
}

#[test]
fn names_that_hdf5_cannot_hold_are_refused_and_nothing_is_written() {
    let named = |name: &str| SavedLayer {
        class: "Dropout".into(),
        name: name.into(),
        config: serde_json::Map::new(),
        weights: Vec::new(),
    };
    let (folder, path) = in_folder("m.h5");
    for (layers, expected) in [
        (vec![named("a/b")], "the layer name \"a/b\" cannot be"),
        (vec![named("")], "the layer name \"\" cannot be"),
        (
            vec![named("."), named("b")],
            "the layer name \".\" cannot be",
        ),
        (
            vec![named("a"), named("a")],
            "the layer name `a` occurs twice",
        ),
    ] {
        let model = SavedModel::<f32> {
            name: "m".into(),
            seed: 0,
            input_shape: None,
            layers,
            training: None,
            optimizer_state: None,
        };
        let error = write_h5(&path, &model).unwrap_err();
        assert!(error.cause().contains(expected), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Damage anywhere gives an error or a model, and never takes the process down.
    #[test]
    fn damage_is_survived(
        old in any::<bool>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        wide in any::<bool>(),
    ) {
        let name = if old { "keras_2_2_2.h5" } else { "keras_3_15_1_without_optimizer.h5" };
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (place, byte) in places {
            let at = place.index(bytes.len() - 8);
            let length = if wide { 8 } else { 1 };
            bytes[at..at + length].fill(byte);
        }
        let (_folder, path) = in_folder("m.h5");
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read_h5::<f32>(&path) {
            prop_assert!(error.to_string().contains("m.h5"));
        }
    }
}
