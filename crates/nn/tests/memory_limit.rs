//! Arrays that take no memory as views, but would if they were copied, are refused where they would
//! be; alone in its process, which the limit belongs to.

use nn::Targets;
use nn::data::{Array, Batches, permutation, take_rows, to_categorical, train_test_split};
use nn::prelude::*;
use tensor::{Element, ErrorKind, set_memory_limit};

const MANY: usize = 1 << 40;

fn repeated<T: Element>(value: T, shape: &[usize]) -> Tensor<T> {
    Tensor::scalar(value).broadcast_to(shape).unwrap()
}

fn model(loss: impl Loss<f32> + 'static) -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(&[2]));
    model
        .compile(loss, Adam::default(), [Accuracy::new()])
        .unwrap();
    model
}

#[test]
fn data_sets_that_would_not_fit_are_errors() {
    set_memory_limit(1 << 28);
    let x = repeated(0.5_f32, &[MANY, 2]);
    let y = repeated(0.5_f32, &[MANY, 1]);
    let labels = repeated(0_i64, &[MANY]);
    let bytes = repeated(0_u8, &[MANY]);
    let silent = || Fit::new().verbosity(Verbosity::Silent);
    let numbers = || model(MeanSquaredError::new());
    let classes = || model(SparseCategoricalCrossentropy::new().from_logits(true));

    let calls: Vec<(&str, nn::Result<()>)> = vec![
        ("fit", numbers().fit(&x, &y, silent()).map(drop)),
        (
            "fit unshuffled",
            numbers().fit(&x, &y, silent().shuffle(false)).map(drop),
        ),
        (
            "fit on labels",
            classes().fit(&x, &labels, silent()).map(drop),
        ),
        (
            "fit on bytes",
            classes().fit(&x, &bytes, silent()).map(drop),
        ),
        ("train_on_batch", numbers().train_on_batch(&x, &y).map(drop)),
        (
            "evaluate on labels",
            classes().evaluate(&x, &labels).map(drop),
        ),
        ("predict", numbers().predict(&x).map(drop)),
        ("to_i64", Array::from(&bytes).to_i64().map(drop)),
        ("to_i64", Array::from(&y).to_i64().map(drop)),
        ("to_f32", Array::from(&labels).to_f32().map(drop)),
        ("to_u8", Array::from(&labels).to_u8().map(drop)),
        ("to_categorical", to_categorical(&labels, 2).map(drop)),
        (
            "Targets::new",
            Targets::<f32>::new(&Array::from(&bytes)).map(drop),
        ),
        (
            "train_test_split",
            train_test_split(&x, &y, 0.5, 1).map(drop),
        ),
        (
            "batches",
            Batches::new(&x, &y, 2)
                .unwrap()
                .ahead::<f32>(0..1)
                .next_batch()
                .map(drop),
        ),
        (
            "take_rows",
            take_rows(&repeated(1, &[2, MANY]), &[0]).map(drop),
        ),
    ];
    for (name, outcome) in calls {
        match outcome.expect_err(name) {
            nn::Error::Tensor(error) => {
                assert_eq!(error.kind(), ErrorKind::Size, "{name}: {error}")
            }
            error => panic!("{name}: {error}"),
        }
    }

    // What is picked of them is small.
    assert_eq!(take_rows(&x, &[MANY - 1, 0]).unwrap().to_vec(), [0.5; 4]);
    let panic = std::panic::catch_unwind(|| permutation(MANY, 1)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("permutation: memory"), "{text}");
}
