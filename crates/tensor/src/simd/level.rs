//! The instruction set that kernels run with: detected once, passed as an argument.

use std::sync::OnceLock;

/// An instruction-set level of this processor.
///
/// Levels are ordered. Kernels take one as an argument, so that tests can run each level that the
/// machine has; [`Level::best`] is what ordinary calls use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the compilation target guarantees (SSE2 on x86-64, NEON on AArch64).
    Baseline,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, VL, BW and DQ.
    Avx512,
}

impl Level {
    /// The highest level of this machine.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// All levels of this machine, lowest first.
    ///
    /// ```
    /// use tensor::Level;
    /// assert_eq!(Level::available().first(), Some(&Level::Baseline));
    /// assert_eq!(Level::available().last(), Some(&Level::best()));
    /// ```
    pub fn available() -> Vec<Level> {
        [Level::Baseline, Level::Avx2, Level::Avx512]
            .into_iter()
            .filter(|&level| level <= Level::best())
            .collect()
    }

    /// The name that people know: `"AVX-512"`, `"AVX2"`, or the target's baseline.
    pub fn name(self) -> &'static str {
        match self {
            Level::Avx512 => "AVX-512",
            Level::Avx2 => "AVX2",
            Level::Baseline if cfg!(target_arch = "x86_64") => "SSE2",
            Level::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Level::Baseline => "portable",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx512, avx2) {
        (true, _) => Level::Avx512,
        (_, true) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Runs `body` compiled for `level`, so that plain loops inside it use its vector width.
///
/// `body` must be small enough to be inlined (a loop over a slice); code that is not inlined into
/// it runs as compiled for the baseline, which is slower but equally right.
///
/// # Panics
/// If `level` is above [`Level::best`].
#[inline]
pub(crate) fn vectorize<R>(level: Level, body: impl FnOnce() -> R) -> R {
    assert!(
        level <= Level::best(),
        "this machine has no {}",
        level.name()
    );
    #[cfg(target_arch = "x86_64")]
    {
        match level {
            // SAFETY: the assertion above has established that the processor has these features.
            Level::Avx512 => return unsafe { avx512(body) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(body) },
            Level::Baseline => {}
        }
    }
    body()
}

/// [`vectorize`] for `level` or AVX2, whichever is lower: for loops that wider vectors do not
/// help, so that they are compiled twice instead of three times.
#[inline]
pub(crate) fn vectorize_to_avx2<R>(level: Level, body: impl FnOnce() -> R) -> R {
    assert!(
        level <= Level::best(),
        "this machine has no {}",
        level.name()
    );
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        // SAFETY: the assertion above has established that the processor has these features.
        return unsafe { avx2(body) };
    }
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")]
fn avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}
