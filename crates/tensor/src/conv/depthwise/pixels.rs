//! What the targets of a tile see of a row through some taps.

use std::ops::Range;

use crate::conv::correlation::TapAxis;
use crate::simd::{Real, Simd, Vector, prefetch_to_second_level};

/// Targets of a tile: enough chains of additions to hide their latency, few enough for the
/// registers, and images of common networks are multiples of it wide.
pub(super) const TILE: usize = 7;

/// The targets `x..x + count` of a row, at most [`TILE`].
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) x: usize,
    pub(super) count: usize,
}

/// Targets of a row in tiles, of which the last may be smaller.
pub(super) fn tiles(targets: Range<usize>) -> impl Iterator<Item = Tile> {
    let end = targets.end;
    targets.step_by(TILE).map(move |x| Tile {
        x,
        count: (end - x).min(TILE),
    })
}

/// Taps side by side that are applied together, so that targets that share a pixel load it once.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) first: usize,
    pub(super) shape: ChunkShape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkShape {
    /// Three taps, targets one pixel apart.
    Three,
    /// Three taps, targets two pixels apart.
    ThreeByTwo,
    /// Two taps, targets one pixel apart.
    Two,
    /// One tap, whatever the distances.
    One,
}

impl ChunkShape {
    pub(super) fn taps(self) -> usize {
        match self {
            ChunkShape::Three | ChunkShape::ThreeByTwo => 3,
            ChunkShape::Two => 2,
            ChunkShape::One => 1,
        }
    }
}

/// The taps along a row in chunks.
#[inline(always)]
pub(super) fn chunks(columns: &TapAxis) -> impl Iterator<Item = Chunk> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let first = next;
        let shape = match (columns.taps - first, columns.stride, columns.step) {
            (0, ..) => return None,
            (3.., 1, 1) => ChunkShape::Three,
            (3.., 2, 1) => ChunkShape::ThreeByTwo,
            (2, 1, 1) => ChunkShape::Two,
            _ => ChunkShape::One,
        };
        next += shape.taps();
        Some(Chunk { first, shape })
    })
}

/// The columns of an image that a chunk of taps meets from the targets of a tile, at equal
/// distances. Those before `start` and from `end` on are padding.
#[derive(Clone, Copy)]
pub(super) struct Span {
    first: isize,
    gap: usize,
    start: usize,
    end: usize,
}

impl Span {
    /// The columns under `chunk` in an image of `width` columns.
    #[inline(always)]
    pub(super) fn under(columns: &TapAxis, width: usize, tile: Tile, chunk: Chunk) -> Self {
        let first = columns.start(tile.x) + (chunk.first * columns.step) as isize;
        let (gap, count) = match chunk.shape {
            ChunkShape::One => (columns.stride, tile.count),
            shape => (1, (tile.count - 1) * columns.stride + shape.taps()),
        };
        let last = first + ((count - 1) * gap) as isize;
        let (mut start, mut end) = (0, count);
        if first < 0 || last >= width as isize {
            let up = |distance: isize| (distance.max(0) as usize).div_ceil(gap);
            end = up(width as isize - first).min(count);
            start = up(-first).min(end);
        }
        Span {
            first,
            gap,
            start,
            end,
        }
    }

    /// The columns of the targets of `tile` themselves.
    #[inline(always)]
    pub(super) fn of(tile: Tile) -> Self {
        Span {
            first: tile.x as isize,
            gap: 1,
            start: 0,
            end: tile.count,
        }
    }

    /// How pixels of the span may be loaded by [`Pixels::for_windows`] for `tile`, in channels
    /// that fill a vector.
    #[inline(always)]
    pub(super) fn kind<const TAPS: usize, const STRIDE: usize>(&self, tile: Tile) -> Kind {
        let reach = (TILE - 1) * STRIDE + TAPS;
        if tile.count < TILE {
            Kind::Parts
        } else if self.start == 0 && self.end == reach {
            Kind::Whole
        } else if self.start < TAPS && self.end + TAPS > reach {
            Kind::Edge
        } else {
            Kind::Parts
        }
    }
}

/// Successive channels, at most a vector.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Channels {
    /// A vector of `lanes` channels from `first` on, of which there may be fewer among `all` if the
    /// `kind` says so.
    #[inline(always)]
    pub(super) fn from(first: usize, lanes: usize, all: usize, kind: Kind) -> Self {
        let count = match kind {
            Kind::Whole | Kind::Edge => lanes,
            Kind::Parts => (all - first).min(lanes),
        };
        Channels { first, count }
    }
}

/// How pixels may be loaded; a constant in code that was inlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::conv) enum Kind {
    /// A whole tile and whole vectors, no padding.
    Whole,
    /// A whole tile and whole vectors; pixels that no tap but the first target's first ones, or
    /// the last target's last ones, meets may be padding.
    Edge,
    /// Anything.
    Parts,
}

/// What pixels that are padding are loaded from: a vector, whatever the type.
pub(super) static ZEROS: [u64; 8] = [0; 8];

/// The pixels of a [`Span`] in a row of an image, in some channels.
pub(super) struct Pixels<'a, T> {
    row: &'a [T],
    /// Where pixel 0 is or would be.
    origin: isize,
    apart: usize,
    span: Span,
    channels: usize,
}

impl<'a, T: Real> Pixels<'a, T> {
    /// `row` is a row of an image whose pixels are `pixel` numbers apart.
    #[inline(always)]
    pub(super) fn new(row: &'a [T], pixel: usize, span: Span, channels: Channels) -> Self {
        Pixels {
            row,
            origin: span.first * pixel as isize + channels.first as isize,
            apart: span.gap * pixel,
            span,
            channels: channels.count,
        }
    }

    /// The channels of pixel `i`, which may be padding if `guarded`; zeros if it is.
    ///
    /// # Safety
    /// What `kind` says is so, and pixel `i` is in the span unless it is guarded.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        &self,
        simd: S,
        i: usize,
        guarded: bool,
        kind: Kind,
    ) -> T::Vector<S> {
        let pixel = self.row.as_ptr();
        let pixel = pixel.wrapping_offset(self.origin + (i * self.apart) as isize);
        let Span { start, end, .. } = self.span;
        // SAFETY: pixels from `start` to `end` lie within the row, with all of their channels; a
        // vector has at most the bytes of `ZEROS`, which are zero in every type.
        unsafe {
            match kind {
                Kind::Edge if guarded => {
                    // Chosen without a branch.
                    let inside = i.wrapping_sub(start) < end - start;
                    let pixel = if inside { pixel } else { ZEROS.as_ptr().cast() };
                    T::Vector::<S>::load_pointer(simd, pixel)
                }
                Kind::Whole | Kind::Edge => T::Vector::<S>::load_pointer(simd, pixel),
                Kind::Parts if (start..end).contains(&i) => {
                    T::Vector::<S>::load_pointer_partial(simd, pixel, self.channels)
                }
                Kind::Parts => T::Vector::<S>::zero(simd),
            }
        }
    }

    /// Calls `body(target, window)` for each of `count` targets, where `window` are the pixels
    /// under `TAPS` taps of it, targets `STRIDE` pixels apart; a pixel is loaded once.
    ///
    /// # Safety
    /// `kind` is that of the span for a tile of `count` targets.
    #[inline(always)]
    pub(super) unsafe fn for_windows<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &self,
        simd: S,
        count: usize,
        kind: Kind,
        mut body: impl FnMut(usize, &[T::Vector<S>; TAPS]),
    ) {
        let mut window = [T::Vector::<S>::zero(simd); TAPS];
        // A constant count, so that what `body` keeps for each target stays in registers.
        for target in 0..TILE {
            if kind == Kind::Parts && target >= count {
                break;
            }
            for tap in 0..TAPS {
                window[tap] = if target > 0 && tap + STRIDE < TAPS {
                    window[tap + STRIDE]
                } else {
                    let i = target * STRIDE + tap;
                    let guarded = i + 1 < TAPS || i + TAPS > (TILE - 1) * STRIDE + TAPS;
                    // SAFETY: the last target's last tap meets the last pixel, and a span with an
                    // edge has padding where pixels are guarded only.
                    unsafe { self.load(simd, i, guarded, kind) }
                };
            }
            body(target, &window);
        }
    }
}

/// Memory that the cache fetches while something else is computed.
pub(super) struct Ahead<T> {
    next: *const T,
    /// Numbers for each vector that is computed.
    step: usize,
}

impl<T> Ahead<T> {
    /// Numbers in a line of the cache.
    const LINE: usize = 64 / size_of::<T>();

    /// `len` numbers from `next` on, which need not exist, while so many vectors are computed.
    #[inline(always)]
    pub(super) fn new(next: *const T, len: usize, vectors: usize) -> Self {
        let step = len.div_ceil(vectors);
        Ahead { next, step }
    }

    /// The share of so many vectors: each time as many lines, so that the loop's end is foreseen.
    #[inline(always)]
    pub(super) fn fetch(&mut self, vectors: usize) {
        let len = self.step * vectors;
        for line in (0..len).step_by(Self::LINE) {
            prefetch_to_second_level(self.next.wrapping_add(line));
        }
        self.next = self.next.wrapping_add(len);
    }
}
