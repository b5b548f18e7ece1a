//! The instruction set that kernels run with: detected once, passed as an argument.

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};

/// An instruction-set level of this processor.
///
/// Levels are ordered. Kernels take one as an argument, so that tests can run each level that the
/// machine has; [`Level::best`] is what ordinary calls use.
///
/// A level is read from its name in lower case:
///
/// ```
/// use tensor::Level;
/// assert_eq!("avx2".parse::<Level>()?, Level::Avx2);
/// assert_eq!("avx512".parse::<Level>()?, Level::Avx512);
/// assert_eq!("baseline".parse::<Level>()?, Level::Baseline);
/// assert!("mmx".parse::<Level>().is_err());
/// # Ok::<(), tensor::Error>(())
/// ```
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
    /// The level that calls without a level use: the highest of this machine, unless
    /// [`Level::limit`] has set a lower one.
    pub fn best() -> Level {
        let highest = Level::of_machine();
        match LIMIT.load(Ordering::Relaxed) {
            BASELINE => Level::Baseline,
            AVX2 => highest.min(Level::Avx2),
            _ => highest,
        }
    }

    /// The highest level of this machine.
    pub fn of_machine() -> Level {
        static HIGHEST: OnceLock<Level> = OnceLock::new();
        *HIGHEST.get_or_init(detect)
    }

    /// From now on [`Level::best`] is `highest`, in the whole process.
    ///
    /// Vectors of another width add in another order, so a result depends on the level in its last
    /// bits. Limited to AVX2, a machine with AVX-512 repeats what a machine with AVX2 computed,
    /// bit by bit, and shows how fast it is there. `Level::limit(Level::of_machine())` lifts the
    /// limit.
    ///
    /// Set it before the first computation: what runs meanwhile on other threads ends as it began,
    /// and what was packed for another level is refused by
    /// [`gemm`](crate::matmul::gemm).
    ///
    /// # Errors
    /// If this machine lacks `highest`.
    ///
    /// ```standalone_crate
    /// use tensor::Level;
    /// Level::limit(Level::Baseline)?;
    /// assert_eq!(Level::best(), Level::Baseline);
    /// Level::limit(Level::of_machine())?;
    /// # Ok::<(), tensor::Error>(())
    /// ```
    pub fn limit(highest: Level) -> Result<()> {
        if highest > Level::of_machine() {
            return Err(Error::unsupported(
                "Level::limit",
                "this processor lacks the instruction set",
            )
            .with("asked for", highest.name())
            .with("highest", Level::of_machine().name())
            .fix("take one of `Level::available()`"));
        }
        let limit = match highest {
            Level::Baseline => BASELINE,
            Level::Avx2 => AVX2,
            Level::Avx512 => NONE,
        };
        LIMIT.store(limit, Ordering::Relaxed);
        Ok(())
    }

    /// All levels of this machine, lowest first.
    ///
    /// ```
    /// use tensor::Level;
    /// assert_eq!(Level::available().first(), Some(&Level::Baseline));
    /// assert_eq!(Level::available().last(), Some(&Level::of_machine()));
    /// ```
    pub fn available() -> Vec<Level> {
        [Level::Baseline, Level::Avx2, Level::Avx512]
            .into_iter()
            .filter(|&level| level <= Level::of_machine())
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

/// What [`Level::limit`] has set.
static LIMIT: AtomicU8 = AtomicU8::new(NONE);
const BASELINE: u8 = 0;
const AVX2: u8 = 1;
const NONE: u8 = 2;

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Level> {
        match name {
            "avx512" => Ok(Level::Avx512),
            "avx2" => Ok(Level::Avx2),
            "baseline" => Ok(Level::Baseline),
            _ => Err(Error::value("Level", "there is no level of this name")
                .with("name", name)
                .fix("use `avx512`, `avx2` or `baseline`")),
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
/// Mark the closure `#[inline(always)]`, and all that it calls: code that is not inlined into it runs
/// as compiled for the baseline, which is slower but equally right.
///
/// # Panics
/// If `level` is above [`Level::of_machine`].
#[inline]
pub(crate) fn vectorize<R>(level: Level, body: impl FnOnce() -> R) -> R {
    assert!(
        level <= Level::of_machine(),
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
        level <= Level::of_machine(),
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
