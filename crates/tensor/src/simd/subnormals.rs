//! What kernels do with numbers too small for a full mantissa.

use super::Real;

/// While it lives, arithmetic on this thread treats subnormal numbers as zero, if the type asks
/// for it.
///
/// An operation that meets a subnormal number takes some processors a hundred cycles or more, and a
/// trained network is full of them: weights that decay, moments of an optimizer, gradients behind
/// a saturated unit. So in `f32` kernels inputs below 2⁻¹²⁶ (1.2e-38) count as zero and results
/// below it become zero, as in the libraries of the processor's makers. Infinities, NaN and signed
/// zeros are unaffected. `f64` kernels keep subnormals: `f64` serves to check gradients, and
/// gradual underflow is part of that exactness.
///
/// The guard belongs to one thread, and so is taken where a block of work runs, not where it is
/// handed out; [`dispatch`](super::dispatch) does that. Elsewhere than on x86-64 it does nothing:
/// NEON units compute with subnormals at full speed.
///
/// The compiler takes the default mode for granted. That is harmless here: the mode changes no
/// result other than by the rule above, which code under the guard accepts either way, and
/// [`dispatch`](super::dispatch) keeps other code from being moved under it.
pub(crate) struct FlushSubnormals {
    #[cfg(target_arch = "x86_64")]
    restore: Option<u32>,
    // The mode is the thread's own.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// The bits of MXCSR that flush results (FTZ) and read inputs (DAZ) as zero.
#[cfg(target_arch = "x86_64")]
const FLUSH: u32 = 1 << 15 | 1 << 6;

impl FlushSubnormals {
    /// Sets the mode that kernels of type `T` run in.
    #[inline]
    pub(crate) fn of<T: Real>() -> Self {
        FlushSubnormals {
            #[cfg(target_arch = "x86_64")]
            restore: T::FLUSH_SUBNORMALS.then(flush).flatten(),
            _not_send: std::marker::PhantomData,
        }
    }
}

/// Switches the mode on; the register's earlier value if that was a change.
#[cfg(target_arch = "x86_64")]
#[inline]
fn flush() -> Option<u32> {
    let before = read_mxcsr();
    (before & FLUSH != FLUSH).then(|| {
        write_mxcsr(before | FLUSH);
        before
    })
}

impl Drop for FlushSubnormals {
    #[inline]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(before) = self.restore {
            write_mxcsr(before);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn read_mxcsr() -> u32 {
    let mut value = 0_u32;
    // SAFETY: stores the 32-bit register to a local variable; SSE is part of the baseline.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags));
    }
    value
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn write_mxcsr(value: u32) {
    // SAFETY: `value` was read from the register and differs from it at most in two bits that
    // every x86-64 processor has; exceptions stay masked and rounding stays to nearest.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack));
    }
}
