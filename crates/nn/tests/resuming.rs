//! A training that is stopped and resumed ends as if it had never been stopped.
#![cfg(feature = "safetensors")]

use std::path::{Path, PathBuf};

use nn::prelude::*;
use nn::training::{
    Callback, Control, CsvLogger, EpochRecord, LearningRateSchedule, ModelCheckpoint,
};
use tensor::Float;

const EPOCHS: usize = 5;

fn quiet<'a, T: Float>() -> Fit<'a, T> {
    Fit::new().batch_size(16).verbosity(Verbosity::Silent)
}

fn pictures() -> (Tensor<f32>, Tensor<f32>) {
    let pixel = |at: &[usize]| {
        let mix = at[0] * 31 + at[1] * 7 + at[2] * (at[0] % 4 + 1) * 3 + at[3];
        (mix as f32).sin()
    };
    let x = Tensor::from_fn([50, 6, 6, 2], pixel).unwrap();
    let one_hot = |at: &[usize]| f32::from(u8::from(at[0] % 4 == at[1]));
    (x, Tensor::from_fn([50, 4], one_hot).unwrap())
}

fn network<T: Float>(seed: u64) -> Sequential<T> {
    let mut model = Sequential::<T>::default().seed(seed);
    model.add(Conv2d::new(4, [3, 3]).input_shape(&[6, 6, 2]));
    model.add(Activation::relu());
    model.add(Dropout::new(0.25));
    model.add(Flatten::new());
    model.add(Dense::new(8));
    model.add(Dropout::new(0.5));
    model.add(Dense::new(4).activation(ActivationFunction::Softmax));
    model
}

fn compiled<T: Float>(seed: u64) -> Sequential<T> {
    let mut model = network(seed);
    let loss = CategoricalCrossentropy::new();
    let adam = Adam::new(0.01 / 3.0).weight_decay(0.001);
    model.compile(loss, adam, [Accuracy::new()]).unwrap();
    model
}

/// Where a program is stopped.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Never,
    AtTheBeginning,
    /// Before this epoch.
    Before(usize),
    /// After this epoch, but before it is kept.
    After(usize),
}

/// Stops the program, which an error does as well as a power cut.
struct PowerCut(Stop);

fn power_cut() -> nn::Result<()> {
    Err(tensor::Error::value("power", "cut").into())
}

impl<T: Float> Callback<T> for PowerCut {
    fn train_begin(&mut self, _: &mut Model<T>) -> nn::Result<()> {
        match self.0 {
            Stop::AtTheBeginning => power_cut(),
            _ => Ok(()),
        }
    }
    fn epoch_begin(&mut self, epoch: usize, _: &mut Model<T>) -> nn::Result<()> {
        match self.0 == Stop::Before(epoch) {
            true => power_cut(),
            false => Ok(()),
        }
    }
    fn epoch_end(&mut self, record: &EpochRecord, _: &mut Model<T>) -> nn::Result<Control> {
        if self.0 == Stop::After(record.epoch) {
            power_cut()?;
        }
        Ok(Control::Continue)
    }
}

fn bits<T: Float>(tensors: &[Tensor<T>]) -> Vec<u64> {
    let elements = tensors.iter().flat_map(Tensor::to_vec);
    elements.map(|x| x.to_f64().to_bits()).collect()
}

/// Epoch, named values, and the bits of the learning rate.
type Record = (usize, Vec<(String, u64)>, u64);

/// All that a program leaves behind, but times.
#[derive(Debug, PartialEq)]
struct Outcome {
    weights: Vec<u64>,
    state: Vec<u64>,
    iterations: u64,
    best: Vec<u64>,
    records: Vec<Record>,
    csv: Vec<String>,
}

/// One start of a program that trains with all that there is.
fn program<T: Float>(folder: &Path, stop: Stop) -> nn::Result<Outcome> {
    let (x, y) = pictures();
    let mut model = compiled::<T>(7);
    let best = folder.join("best.safetensors");
    let keep = |model: &Model<T>| model.save(&best);
    let early = EarlyStopping::new("loss")
        .patience(100)
        .restore_best_weights();
    let csv = folder.join("log.csv");
    let fit = quiet()
        .epochs(EPOCHS)
        .resume(folder.join("run.safetensors"))
        .augment(RandomFlip::horizontal())
        .augment(RandomTranslation::new([0.2, 0.2]))
        .validation_split(0.2)
        .callback(LearningRateSchedule::new(|epoch, rate| {
            rate / (1.0 + epoch as f64)
        }))
        .callback(CsvLogger::new(&csv))
        .callback(ModelCheckpoint::new("val_loss", keep))
        .callback(early)
        .callback(PowerCut(stop));
    let history = model.fit(&x, &y, fit)?;
    let state = model.compiled().unwrap().state();
    let log = std::fs::read_to_string(csv).unwrap();
    let without_seconds = |line: &str| line.rsplit_once(',').unwrap().0.to_string();
    let record = |record: &EpochRecord| {
        let values = record.values.iter();
        let values = values.map(|(name, value)| (name.clone(), value.to_bits()));
        (
            record.epoch,
            values.collect(),
            record.learning_rate.to_bits(),
        )
    };
    let mut kept = network::<T>(0);
    kept.load_weights(&best)?;
    Ok(Outcome {
        weights: bits(&model.weights()),
        state: bits(&state.slots.concat()),
        iterations: state.iterations,
        best: bits(&kept.weights()),
        records: history.epochs.iter().map(record).collect(),
        csv: log.lines().map(without_seconds).collect(),
    })
}

#[test]
fn wherever_it_is_stopped_it_ends_the_same() {
    fn check<T: Float>() {
        let folder = tempfile::tempdir().unwrap();
        let expected = program::<T>(folder.path(), Stop::Never).unwrap();
        assert_eq!(expected.records.len(), EPOCHS);
        assert_eq!(expected.csv.len(), EPOCHS + 1);
        // Once more: nothing is left to do, and all is there.
        assert_eq!(program::<T>(folder.path(), Stop::Never).unwrap(), expected);

        let mut stops = vec![Stop::AtTheBeginning];
        stops.extend((0..EPOCHS).flat_map(|epoch| [Stop::Before(epoch), Stop::After(epoch)]));
        for &stop in &stops {
            let folder = tempfile::tempdir().unwrap();
            assert!(program::<T>(folder.path(), stop).is_err());
            assert_eq!(program::<T>(folder.path(), Stop::Never).unwrap(), expected);
        }
        // All of them, one after the other.
        let folder = tempfile::tempdir().unwrap();
        for stop in stops {
            assert!(program::<T>(folder.path(), stop).is_err());
        }
        assert_eq!(program::<T>(folder.path(), Stop::Never).unwrap(), expected);
    }
    check::<f32>();
    check::<f64>();
}

/// Training without a file, in one go.
fn straight(epochs: usize) -> Vec<u64> {
    let (x, y) = pictures();
    let mut model = compiled::<f32>(7);
    model.fit(&x, &y, quiet().epochs(epochs)).unwrap();
    bits(&model.weights())
}

fn run_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("run.safetensors")
}

#[test]
fn more_epochs_later_are_the_epochs_of_one_training() {
    let (x, y) = pictures();
    let folder = tempfile::tempdir().unwrap();
    let fit = |epochs: usize| quiet().epochs(epochs).resume(run_file(&folder));
    let mut model = compiled::<f32>(7);
    model.fit(&x, &y, fit(2)).unwrap();
    // In memory, and in a new program.
    let history = model.fit(&x, &y, fit(3)).unwrap();
    assert_eq!(history.epochs.len(), 3);
    assert_eq!(bits(&model.weights()), straight(3));
    let mut model = compiled::<f32>(7);
    model.fit(&x, &y, fit(4)).unwrap();
    assert_eq!(bits(&model.weights()), straight(4));
    // The file is an ordinary checkpoint, too.
    let (loaded, epoch) = Sequential::load_checkpoint(run_file(&folder)).unwrap();
    assert_eq!((bits(&loaded.weights()), epoch), (straight(4), 4));
}

#[test]
fn a_training_that_a_callback_ended_stays_ended() {
    let (x, y) = pictures();
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let mut model = compiled::<f32>(7);
        let early = EarlyStopping::new("loss")
            .higher_is_better(true)
            .patience(2)
            .restore_best_weights();
        let fit = quiet().epochs(50).resume(run_file(&folder)).callback(early);
        let history = model.fit(&x, &y, fit).unwrap();
        (bits(&model.weights()), history)
    };
    let (weights, history) = run();
    assert!(history.epochs.len() < 50);
    assert_eq!(run(), (weights, history));
}

#[test]
fn a_training_with_other_settings_is_refused_by_name() {
    let (x, y) = pictures();
    let folder = tempfile::tempdir().unwrap();
    let path = run_file(&folder);
    let fit = || quiet().epochs(2).resume(&path);
    compiled::<f32>(7).fit(&x, &y, fit()).unwrap();
    let file = std::fs::read(&path).unwrap();
    let refused = |mut model: Sequential, fit: Fit| {
        let before = model.weights();
        let text = model.fit(&x, &y, fit).unwrap_err().to_string();
        assert_eq!(model.weights(), before, "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), file, "{text}");
        assert!(text.contains("run.safetensors: holds a training"), "{text}");
        assert!(text.contains("fix: "), "{text}");
        text
    };
    let schedule = LearningRateSchedule::new(|_, rate| rate);
    for (fit, expected) in [
        (fit().batch_size(8), "the batch size was 16, and is 8 here"),
        (
            fit().shuffle(false),
            "shuffling was true, and is false here",
        ),
        (fit().seed(1), "the seed of `fit` was 7, and is 1 here"),
        (
            fit().validation_split(0.5),
            "samples was 50, and is 25 here",
        ),
        (
            fit().augment(RandomFlip::horizontal()),
            "augmentations was 0",
        ),
        (fit().callback(schedule), "callbacks was 0, and is 1 here"),
        (
            fit().epochs(1),
            "of 2 epochs, more than the 1 that are wanted",
        ),
    ] {
        let text = refused(compiled(7), fit);
        assert!(text.contains(expected), "{text}");
    }
    let text = refused(compiled(8), fit());
    assert!(text.contains("the seed"), "{text}");
    let mut deeper = network(7);
    deeper.add(Activation::relu());
    let mut rate = network(7);
    let mut loss = network(7);
    let cross = CategoricalCrossentropy::new;
    let adam = || Adam::new(0.01 / 3.0).weight_decay(0.001);
    deeper.compile(cross(), adam(), [Accuracy::new()]).unwrap();
    rate.compile(
        cross(),
        Adam::new(0.1).weight_decay(0.001),
        [Accuracy::new()],
    )
    .unwrap();
    loss.compile(MeanSquaredError::new(), adam(), [Accuracy::new()])
        .unwrap();
    for (model, expected) in [
        (deeper, "layer 7 was null"),
        (rate, "the learning rate at the start was 0.00333"),
        (loss, "the loss was"),
    ] {
        let text = refused(model, fit());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn files_that_hold_no_training_are_refused() {
    let (x, y) = pictures();
    let folder = tempfile::tempdir().unwrap();
    let mut model = compiled::<f32>(7);
    let mut error = |path: PathBuf| {
        let fit = quiet().resume(path);
        model.fit(&x, &y, fit).unwrap_err().to_string()
    };
    let saved = run_file(&folder);
    compiled::<f32>(7).save_checkpoint(&saved, 2).unwrap();
    assert!(error(saved).contains("no training that could be resumed"));
    // Before an epoch rather than after it.
    assert!(error(folder.path().join("run.h5")).contains("ending in `.safetensors`"));
    assert!(error(folder.path().join("run")).contains("name does not end"));
    assert!(error(folder.path().join("none/run.safetensors")).contains("does not exist"));
    let damaged = folder.path().join("damaged.safetensors");
    std::fs::write(&damaged, [1; 100]).unwrap();
    assert!(error(damaged).contains("damaged"));
}

#[test]
fn no_epochs_left_is_an_error() {
    let (x, y) = pictures();
    let mut model = compiled::<f32>(7);
    let error = model.fit(&x, &y, quiet().initial_epoch(2).epochs(2));
    assert_eq!(
        error.unwrap_err().to_string(),
        "fit: no epoch is left: 2 are done, and the last is number 2
  fix: `epochs` counts from the first epoch of the training, those done included"
    );
    assert!(
        model
            .fit(&x, &y, quiet().epochs(0))
            .unwrap()
            .epochs
            .is_empty()
    );
}

#[test]
fn a_value_that_was_nan_once_is_not_the_best_for_ever() {
    /// Puts values of its own into the records that another callback sees.
    struct Scripted<C>(C, Vec<f64>);
    impl<C: Callback> Callback for Scripted<C> {
        fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model) -> nn::Result<Control> {
            let mut record = record.clone();
            record.values[0].1 = self.1[record.epoch];
            self.0.epoch_end(&record, model)
        }
    }
    let (x, y) = pictures();
    let mut kept = 0;
    let keep = ModelCheckpoint::new("loss", |_: &Model| {
        kept += 1;
        Ok(())
    });
    let values = vec![f64::NAN, 3.0, f64::NAN, 4.0, 2.0];
    let fit = quiet().epochs(5).callback(Scripted(keep, values));
    compiled(7).fit(&x, &y, fit).unwrap();
    assert_eq!(kept, 2);
}

#[test]
#[cfg(feature = "hdf5")]
fn the_seed_travels_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["m.h5", "m.safetensors"] {
        for seed in [0, 7, u64::MAX] {
            let path = folder.path().join(name);
            compiled::<f32>(seed).save(&path).unwrap();
            let loaded = Sequential::load(&path).unwrap();
            assert_eq!(loaded.random_seed(), seed, "{name}");
        }
    }
    // With the optimizer's state, an `.h5` goes on with the same dropout and orders.
    let (x, y) = pictures();
    let path = folder.path().join("run.h5");
    let mut model = compiled::<f32>(7);
    model.fit(&x, &y, quiet().epochs(2)).unwrap();
    let options = nn::files::SaveOptions::new().optimizer_state(true);
    model.save_with(&path, options).unwrap();
    let mut loaded = Sequential::load(&path).unwrap();
    loaded
        .fit(&x, &y, quiet().initial_epoch(2).epochs(3))
        .unwrap();
    assert_eq!(bits(&loaded.weights()), straight(3));
}
