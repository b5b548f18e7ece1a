//! The command line of the example.

use std::path::PathBuf;

use clap::Parser;
use nn::prelude::*;
use nn::training::CsvLogger;

use crate::data::Data;

/// Trains a convolutional network on pictures and tests it on pictures it has not seen.
#[derive(Parser)]
pub struct Options {
    /// A NumPy file of (X_train, x_test, Y_train, y_test), a folder with one folder of pictures
    /// per class, or a folder of CIFAR-10 binaries; without it, the handwritten digits that come
    /// with the program
    #[arg(long, value_name = "FILE.npy|FOLDER")]
    pub data: Option<PathBuf>,
    /// Height and width to which pictures of a folder are resized
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(10..=2048))]
    pub image_size: u32,
    /// How often to go through the training pictures
    #[arg(long, default_value_t = 12)]
    pub epochs: usize,
    /// Pictures in one step of training
    #[arg(long, default_value_t = 32)]
    pub batch_size: usize,
    /// Fixes everything random: first weights, order of pictures, dropout
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Number of threads [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where to save the model
    #[arg(
        long,
        value_name = "FILE.h5",
        default_value = "target/creatures/creatures_cnn.h5"
    )]
    pub out: PathBuf,
    /// Where to save loss and accuracy of every epoch
    #[arg(long, value_name = "FILE.csv")]
    pub history: Option<PathBuf>,
}

impl Options {
    /// Reads the command line and starts the threads.
    pub fn from_command_line() -> nn::Result<Self> {
        let options = Options::parse();
        if let Some(threads) = options.threads {
            // Fails only if threads were started before, and this is the first thing that runs.
            let _ = rayon::ThreadPoolBuilder::new()
                .num_threads(threads.into())
                .build_global();
        }
        // Before an hour of training rather than after it.
        if let Some(folder) = options.out.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| nn::FileError::io(folder, "create the folder", error))?;
        }
        Ok(options)
    }

    /// Loads the data that the command line names, and says so.
    pub fn load(&self) -> nn::Result<Data> {
        let size = self.image_size as usize;
        let data = match &self.data {
            None => Data::digits(self.seed)?,
            Some(path) if path.is_dir() => Data::pictures(path, size, self.seed)?,
            Some(path) => Data::numpy(path)?,
        };
        println!("{}", self.headline(&data));
        Ok(data)
    }

    /// Batches and epochs for `fit`, and the curve in a file where the command line asks for it.
    pub fn fit(&self) -> Fit<'static> {
        let fit = Fit::new().batch_size(self.batch_size).epochs(self.epochs);
        match &self.history {
            Some(path) => fit.callback(CsvLogger::new(path)),
            None => fit,
        }
    }

    fn headline(&self, data: &Data) -> String {
        let shape: Vec<String> = data
            .x_train
            .shape()
            .iter()
            .skip(1)
            .map(|n| n.to_string())
            .collect();
        format!(
            "{} · {} to train, {} to test · {} · {} classes · {} threads · seed {} · {}",
            data.name,
            data.x_train.shape()[0],
            data.x_test.shape()[0],
            shape.join("×"),
            data.labels.len(),
            rayon::current_num_threads(),
            self.seed,
            tensor::Level::best().name(),
        )
    }
}
