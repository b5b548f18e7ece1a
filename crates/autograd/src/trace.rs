//! Where the time goes: what ran inside a closure, when, for how long, and with how much arithmetic.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tensor::{Float, Shape};

use crate::var::{Recording, recording};

/// Something that ran while [`trace`] watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Span {
    /// The operation's name, or the section's.
    pub name: String,
    /// The section or scope that it belongs to, such as the name of a layer; empty outside any.
    pub scope: String,
    /// What ran.
    pub kind: SpanKind,
    /// When it began, counted from the beginning of the trace.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// The part of `duration` that no span inside it covers.
    pub own: Duration,
    /// How many spans it lies in.
    pub depth: usize,
    /// Floating-point operations of an operation; those of a convolution are counted as the direct
    /// method needs them, whatever the algorithm.
    pub flops: u64,
    /// Bytes of an operation's inputs and output: the least that must move.
    pub bytes: u64,
    /// How an operation was computed, if it has several ways ([`Op::algorithm`](crate::Op::algorithm)).
    pub algorithm: Option<&'static str>,
}

/// What a [`Span`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanKind {
    /// An operation that computes its output; inside a backward span, part of a derivative.
    Operation,
    /// The derivative of a recorded operation.
    Backward,
    /// Code named by [`section`].
    Section,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static RECORD: RefCell<Record> = const { RefCell::new(Record::new()) };
}

struct Record {
    spans: Vec<Span>,
    /// Spans that have not ended: where in `spans`, and how much of it spans inside have covered.
    open: Vec<(usize, Duration)>,
    began: Option<Instant>,
}

impl Record {
    const fn new() -> Self {
        Record {
            spans: Vec::new(),
            open: Vec::new(),
            began: None,
        }
    }

    fn now(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }
}

/// Ends the span, or the trace, also when the body panics.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `body` and returns with its result what ran in it on this thread: every operation, every
/// derivative, and the code that [`section`] names, in the order in which they began.
///
/// ```
/// use autograd::{SpanKind, Tape, trace};
/// use tensor::Tensor;
/// let (gradients, spans) = trace(|| {
///     let tape = Tape::new();
///     let x = tape.variable(Tensor::from([1.0, 2.0]));
///     x.exp().sum(..)?.backward()
/// });
/// gradients?;
/// let forward: Vec<&str> = spans.iter().filter(|span| span.depth == 0).map(|span| &*span.name).collect();
/// assert_eq!(forward, ["exp", "sum", "sum", "exp"]);
/// assert_eq!(spans.iter().filter(|span| span.kind == SpanKind::Backward).count(), 2);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// A trace inside a trace takes its spans away from the outer one.
pub fn trace<R>(body: impl FnOnce() -> R) -> (R, Vec<Span>) {
    let outer = RECORD.replace(Record {
        began: Some(Instant::now()),
        ..Record::new()
    });
    let was_on = ON.replace(true);
    let mut spans = Vec::new();
    let result = {
        let mut outer = Some(outer);
        let _restore = AtEnd(|| {
            ON.set(was_on);
            let inner = RECORD.replace(outer.take().unwrap_or(Record::new()));
            spans = inner.spans;
        });
        body()
    };
    (result, spans)
}

/// Runs `body`; a [`trace`] that watches has it as a span of this name, and operations in it
/// belong to the scope of this name.
pub fn section<R>(name: &str, body: impl FnOnce() -> R) -> R {
    if !is_on() {
        return body();
    }
    let _end = begin(name, Some(name), SpanKind::Section);
    body()
}

/// Whether a trace watches this thread.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.get()
}

/// Whether [`trace`] or [`no_grad`](crate::no_grad) is at work on this thread: code that is called
/// now should not move to another one, where they are not.
///
/// ```
/// assert!(!autograd::is_watched());
/// assert!(autograd::no_grad(autograd::is_watched));
/// ```
pub fn is_watched() -> bool {
    is_on() || recording() != Recording::On
}

/// Opens a span that ends with the value returned; in the scope of the section around it if none
/// is given.
pub(crate) fn begin(name: &str, scope: Option<&str>, kind: SpanKind) -> impl Drop + use<> {
    RECORD.with_borrow_mut(|record| {
        let outer = record.open.last().map(|&(place, _)| &record.spans[place]);
        let inherited = || outer.map_or(String::new(), |span| span.scope.clone());
        let span = Span {
            name: name.to_string(),
            scope: scope.map_or_else(inherited, str::to_string),
            kind,
            start: record.now(),
            duration: Duration::ZERO,
            own: Duration::ZERO,
            depth: record.open.len(),
            flops: 0,
            bytes: 0,
            algorithm: None,
        };
        record.open.push((record.spans.len(), Duration::ZERO));
        record.spans.push(span);
    });
    AtEnd(|| RECORD.with_borrow_mut(end))
}

fn end(record: &mut Record) {
    let now = record.now();
    let Some((place, covered)) = record.open.pop() else {
        return;
    };
    let span = &mut record.spans[place];
    span.duration = now.saturating_sub(span.start);
    span.own = span.duration.saturating_sub(covered);
    if let Some((_, covered)) = record.open.last_mut() {
        *covered += span.duration;
    }
}

/// Notes the work of the span that was opened last, and how it was done.
pub(crate) fn note_work<T: Float>(
    flops: u64,
    algorithm: Option<&'static str>,
    inputs: &[&Shape],
    output: &Shape,
) {
    let elements = |shape: &Shape| shape.elements() as u64;
    let moved = inputs.iter().copied().map(elements).sum::<u64>() + elements(output);
    RECORD.with_borrow_mut(|record| {
        if let Some(span) = record
            .open
            .last()
            .map(|&(place, _)| &mut record.spans[place])
        {
            span.flops = flops;
            span.algorithm = algorithm;
            span.bytes = moved * size_of::<T>() as u64;
        }
    });
}
