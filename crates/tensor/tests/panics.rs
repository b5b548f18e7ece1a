//! Operators and indexing cannot return errors: they panic at the line of whoever wrote them, with
//! the text of the error.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use tensor::Tensor;

thread_local! {
    /// File, line and text of this thread's last panic.
    static LAST: RefCell<Option<(String, u32, String)>> = const { RefCell::new(None) };
}

/// The line at which `body` panics in this file, and the text.
fn panic_of(body: impl FnOnce()) -> (u32, String) {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|place| (place.file().to_string(), place.line()));
        let (file, line) = place.unwrap_or_default();
        let text = info.payload().downcast_ref::<String>();
        let text = text.cloned().unwrap_or_default();
        LAST.set(Some((file, line, text)));
    }));
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    assert!(outcome.is_err(), "it did not panic");
    let (file, line, text) = LAST.take().unwrap();
    assert!(file.ends_with("panics.rs"), "{file}:{line}: {text}");
    (line, text)
}

// One test: the panic hook belongs to the whole process.
#[test]
fn operators_and_indexing_panic_at_the_callers_line() {
    let a = Tensor::<f32>::zeros([2, 3]).unwrap();
    let b = Tensor::<f32>::zeros([4]).unwrap();
    let owned = (a.clone(), b.clone());

    type Case<'a> = (u32, &'a str, Box<dyn FnOnce() + 'a>);
    let misfits: Vec<Case> = vec![
        (line!(), "add", Box::new(|| drop(&a + &b))),
        (line!(), "sub", Box::new(|| drop(&a - &b))),
        (line!(), "mul", Box::new(|| drop(&a * &b))),
        (line!(), "div", Box::new(|| drop(&a / &b))),
        (line!(), "rem", Box::new(|| drop(&a % &b))),
        (line!(), "add", Box::new(move || drop(owned.0 + owned.1))),
    ];
    for (line, operation, body) in misfits {
        let (place, text) = panic_of(body);
        assert_eq!(place, line, "{text}");
        assert_eq!(
            text,
            format!(
                "{operation}: the shapes do not broadcast: sizes 3 and 4 meet on axis 1\n  \
                 left   [2, 3]\n  right  [4]\n  \
                 fix: sizes must be equal or 1, counted from the last axis"
            )
        );
    }

    let outside = "index: [2, 0] is outside the tensor\n  shape  [2, 3]\n  \
                   fix: give one number per axis, each below its size";
    let line = line!() + 1;
    let (place, text) = panic_of(|| assert_eq!(a[[2, 0]], 0.0));
    assert_eq!((place, &text[..]), (line, outside));
    let mut written = a.clone();
    let line = line!() + 1;
    let (place, text) = panic_of(|| written[[2, 0]] = 1.0);
    assert_eq!((place, &text[..]), (line, outside));
}
