//! Saves that are cut short: the file is the old or the new one, and nothing is left beside it.
//!
//! The tests start this program again as a child that they can kill or starve.
#![cfg(unix)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nn::prelude::*;

/// Where the child saves.
const FOLDER: &str = "SAVING_TEST_FOLDER";
/// What the child says when all files are there.
const SAVED: &str = "#";
const FILES: [&str; 3] = ["model.h5", "model.safetensors", "arrays.npz"];

/// One of two models, whose weights are all `value`.
fn model(value: f32) -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(100).input_shape(&[200]));
    model.build().unwrap();
    let filled = |weight: &Tensor<f32>| Tensor::full(weight.shape(), value).unwrap();
    let weights = model.weights().iter().map(filled).collect();
    model.set_weights(weights).unwrap();
    model
}

fn save(folder: &Path, file: &str, model: &Sequential) -> nn::Result<()> {
    let path = folder.join(file);
    match file {
        "arrays.npz" => nn::data::npz::save(&path, [("weights", (&model.weights()[0]).into())]),
        _ => model.save(&path),
    }
}

/// The value of all weights in `file`.
#[track_caller]
fn value_in(folder: &Path, file: &str) -> f32 {
    let path = folder.join(file);
    let weights = match file {
        "arrays.npz" => nn::data::npz::load(&path).unwrap()[0].1.to_f32().unwrap(),
        _ => Sequential::load(&path).unwrap().weights()[0].clone(),
    };
    let value = weights[[0, 0]];
    assert!(weights.iter().all(|other| other == value));
    value
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the child runs: it saves the two models in turn, again and again.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let models = [model(1.0), model(2.0)];
    loop {
        for model in &models {
            for file in FILES {
                save(&folder, file, model).unwrap();
            }
        }
        println!("{SAVED}");
    }
}

fn start_child(folder: &Path, command: &mut Command) -> Child {
    command
        .args(["child", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_save_leaves_the_old_or_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let program = std::env::current_exe().unwrap();
    for file in FILES {
        save(folder, file, &model(1.0)).unwrap();
    }
    let mut most = 0;
    for round in 0..40 {
        let mut child = start_child(folder, &mut Command::new(&program));
        let mut output = child.stdout.take().unwrap();
        let mut byte = [0];
        while byte != SAVED.as_bytes() {
            output.read_exact(&mut byte).unwrap();
        }
        std::thread::sleep(Duration::from_micros(round * 379 % 10_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for file in FILES {
            let value = value_in(folder, file);
            assert!(value == 1.0 || value == 2.0, "{file} holds {value}");
        }
        most = most.max(files_in(folder).len() - FILES.len());
    }
    // The next save removes what the killed one has left.
    assert!(most <= 1, "{most} temporary files at once");
    save(folder, FILES[0], &model(1.0)).unwrap();
    assert_eq!(files_in(folder).len(), FILES.len());
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let program = std::env::current_exe().unwrap();
    // Files may grow to this many blocks of 512 bytes; the models have 80 kB.
    for blocks in [0, 1, 20, 100, 150] {
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            save(folder.path(), file, &model(3.0)).unwrap();
        }
        // Without the signal, writing beyond the limit is an error, as on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(&program);
        let child = start_child(folder.path(), &mut shell);
        let output = child.wait_with_output().unwrap();
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.contains("FAILED"), "{output}");
        let mut expected = FILES.map(String::from).to_vec();
        expected.sort();
        assert_eq!(files_in(folder.path()), expected);
        assert_eq!(value_in(folder.path(), "model.h5"), 3.0);
    }
}

/// Every way to read a file, by the name that it asks for.
fn read_as(path: &Path) -> nn::Result<()> {
    use nn::data::{ImageSet, load_idx, npy, npz::Npz};
    let folder = path.parent().unwrap();
    match path.file_name().unwrap().to_str().unwrap() {
        "x.npy" => npy::load(path).map(drop),
        "y.npy" => npy::load_objects::<4>(path).map(drop),
        "x.npz" => Npz::open(path).map(drop),
        "x.idx" => load_idx(path).map(drop),
        "batches.meta.txt" => ImageSet::from_cifar10(folder).map(drop),
        "x.png" => ImageSet::from_folder(folder.parent().unwrap(), [8, 8]).map(drop),
        _ => Sequential::load(path).map(drop),
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("class");
    fs::create_dir(&class).unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let names = [
        "x.npy",
        "y.npy",
        "x.npz",
        "x.idx",
        "batches.meta.txt",
        "x.png",
        "x.h5",
        "x.safetensors",
    ];
    for name in names {
        let path = class.join(name);
        for (target, kind) in [
            (&*pipe, "is a named pipe, not a file"),
            (Path::new("/dev/zero"), "is a device, not a file"),
            (folder.path(), "is a folder, not a file"),
        ] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            let error = read_as(&path).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{}: ", path.display())),
                "{error}"
            );
            assert!(error.contains(kind), "{error}");
            fs::remove_file(&path).unwrap();
        }
        let error = read_as(&path).unwrap_err().to_string();
        assert!(name == "x.png" || error.contains("cannot open"), "{error}");
    }
}
