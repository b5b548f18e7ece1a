//! `assert_gradients` passes what is right, and panics at the caller's line with the report of the
//! check that failed.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};

use autograd::{Tensor, Var, assert_gradients, custom_gradient};

thread_local! {
    /// Line and text of this thread's last panic in this file.
    static LAST: RefCell<Option<(u32, String)>> = const { RefCell::new(None) };
}

/// The square, whose gradient is multiplied by `factor`, and can be differentiated again or not.
fn square(x: &Var<f64>, factor: f64, again: bool) -> autograd::Result<Var<f64>> {
    custom_gradient(
        "square",
        |x| Ok(x[0].square()),
        move |x, _y, dy| {
            let x = if again { x[0].clone() } else { x[0].detach() };
            Ok(vec![dy * x * 2.0 * factor])
        },
        &[x],
    )
}

// One test: the panic hook belongs to the whole process.
#[test]
fn wrong_gradients_panic_at_the_callers_line() {
    let inputs = [Tensor::from([0.3, -1.0])];
    assert_gradients(|x| square(&x[0], 1.0, true), &inputs);

    panic::set_hook(Box::new(|info| {
        let here = info.location().filter(|place| place.file() == file!());
        let text = info.payload().downcast_ref::<String>().cloned();
        LAST.set(here.map(|place| (place.line(), text.unwrap_or_default())));
    }));
    // The line of the assertion, and the line and text of its panic.
    let panic_of = |factor: f64, again: bool| {
        let line = Cell::new(0);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            line.set(line!() + 1);
            assert_gradients(|x| square(&x[0], factor, again), &inputs);
        }));
        assert!(outcome.is_err(), "it did not panic");
        let (place, text) = LAST.take().expect("it panicked in another file");
        (line.get(), place, text)
    };
    let (first, second) = (panic_of(-1.0, true), panic_of(1.0, false));
    let _ = panic::take_hook();

    for (line, place, text) in [&first, &second] {
        assert_eq!(line, place, "{text}");
    }
    for part in ["first-order", "input 0", "ratio", "-1", "seed"] {
        assert!(first.2.contains(part), "no {part:?} in: {}", first.2);
    }
    assert!(second.2.contains("second-order"), "{}", second.2);
}
