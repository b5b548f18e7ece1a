//! Vectors of AVX-512: 512 bits.

use std::arch::x86_64::{
    __m512, __m512d, __mmask8, __mmask16, _CMP_GT_OQ, _CMP_NLE_UQ, _CMP_UNORD_Q,
    _mm_cmpeq_epi8_mask, _mm_loadu_si128, _mm_mask_cmpeq_epi8_mask, _mm_maskz_loadu_epi8,
    _mm_set1_epi8, _mm_storeu_si128, _mm512_add_pd, _mm512_add_ps, _mm512_cmp_pd_mask,
    _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_cvttps_epi32, _mm512_div_pd, _mm512_div_ps,
    _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd, _mm512_loadu_ps, _mm512_mask_mov_pd,
    _mm512_mask_mov_ps, _mm512_mask_storeu_pd, _mm512_mask_storeu_ps, _mm512_maskz_loadu_pd,
    _mm512_maskz_loadu_ps, _mm512_maskz_mov_pd, _mm512_maskz_mov_ps, _mm512_max_pd, _mm512_max_ps,
    _mm512_min_pd, _mm512_min_ps, _mm512_mul_pd, _mm512_mul_ps, _mm512_set1_pd, _mm512_set1_ps,
    _mm512_setzero_pd, _mm512_setzero_ps, _mm512_sqrt_pd, _mm512_sqrt_ps, _mm512_storeu_pd,
    _mm512_storeu_ps, _mm512_sub_pd, _mm512_sub_ps,
};
use std::ops::{Add, Mul, Sub};

use super::transpose::{transpose_4x4, transpose_8x8};
use super::{Avx2, Kernel, Level, Simd, Vector};

/// The token of [`Level::Avx512`].
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The processor has AVX-512 F, VL, BW and DQ, and what [`Level::Avx2`] stands for.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Avx512(())
    }

    /// The token of the level below, which this one includes.
    #[inline(always)]
    fn lower(self) -> Avx2 {
        // SAFETY: the features of AVX2 are part of this level.
        unsafe { Avx2::new() }
    }
}

impl Simd for Avx512 {
    const LEVEL: Level = Level::Avx512;
    const REGISTERS: usize = 32;
    type F32 = F32x16;
    type F64 = F64x8;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token proves the features that the function is compiled with.
        unsafe { call(kernel) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")]
fn call<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Implements `+ - *` by intrinsics, whose names differ for each type.
macro_rules! operators {
    ($vector:ty, $add:ident, $sub:ident, $mul:ident) => {
        impl Add for $vector {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX-512.
                Self(unsafe { $add(self.0, other.0) })
            }
        }
        impl Sub for $vector {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX-512.
                Self(unsafe { $sub(self.0, other.0) })
            }
        }
        impl Mul for $vector {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: `self` proves AVX-512.
                Self(unsafe { $mul(self.0, other.0) })
            }
        }
    };
}

/// 16 numbers of type `f32`; a value exists only where AVX-512 does.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct F32x16(__m512);

operators!(F32x16, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps);

/// A mask of the first `count` lanes, at most 16.
#[inline(always)]
fn first_16(count: usize) -> __mmask16 {
    debug_assert!(count <= 16);
    ((1_u32 << count) - 1) as __mmask16
}

impl Vector<f32> for F32x16 {
    type Simd = Avx512;
    const LANES: usize = 16;
    const SIDE: usize = 8;

    #[inline(always)]
    fn splat(_: Avx512, value: f32) -> Self {
        // SAFETY: the token proves AVX-512.
        F32x16(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load_pointer(_: Avx512, source: *const f32) -> Self {
        // SAFETY: the token proves AVX-512; the caller promises 16 readable numbers.
        F32x16(unsafe { _mm512_loadu_ps(source) })
    }

    #[inline(always)]
    unsafe fn load_pointer_partial(_: Avx512, source: *const f32, count: usize) -> Self {
        // SAFETY: the token proves AVX-512; the mask admits the `count` numbers that the caller
        // promises to be readable, and masked lanes are not accessed.
        F32x16(unsafe { _mm512_maskz_loadu_ps(first_16(count), source) })
    }

    #[inline(always)]
    unsafe fn store_pointer(self, target: *mut f32) {
        // SAFETY: `self` proves AVX-512; the caller promises 16 writable numbers.
        unsafe { _mm512_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn store_pointer_partial(self, target: *mut f32, count: usize) {
        // SAFETY: `self` proves AVX-512; the mask admits the `count` numbers that the caller
        // promises to be writable, and masked lanes are not accessed.
        unsafe { _mm512_mask_storeu_ps(target, first_16(count), self.0) }
    }

    #[inline(always)]
    unsafe fn transpose(simd: Avx512, rows: &[*const f32; 8], target: *mut f32, stride: usize) {
        // SAFETY: the caller's promise is passed on.
        unsafe { transpose_8x8(simd.lower(), *rows, target, stride) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn keep_where_open(self, gate: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe {
            let open = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(gate.0, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(open, self.0)
        })
    }

    #[inline(always)]
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe {
            let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_mask_mov_ps(no.0, larger | nan, yes.0)
        })
    }

    #[inline(always)]
    unsafe fn load_where(
        _: Avx512,
        source: *const f32,
        bytes: *const u8,
        byte: u8,
        count: usize,
    ) -> Self {
        // SAFETY: the token proves AVX-512; the caller vouches for `count` numbers and bytes, and
        // masked lanes are not accessed.
        F32x16(unsafe {
            let wanted = _mm_set1_epi8(byte as i8);
            let equal = if count == Self::LANES {
                _mm_cmpeq_epi8_mask(_mm_loadu_si128(bytes.cast()), wanted)
            } else {
                let all = first_16(count);
                let bytes = _mm_maskz_loadu_epi8(all, bytes.cast());
                _mm_mask_cmpeq_epi8_mask(all, bytes, wanted)
            };
            _mm512_maskz_loadu_ps(equal, source)
        })
    }

    #[inline(always)]
    unsafe fn store_bytes(self, target: *mut u8, count: usize) {
        // SAFETY: `self` proves AVX-512, and the caller vouches for `count` bytes.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0));
            if count == Self::LANES {
                _mm_storeu_si128(target.cast(), bytes);
            } else {
                let mut all = [0_u8; 16];
                _mm_storeu_si128(all.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(all.as_ptr(), target, count);
            }
        }
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F32x16(unsafe { _mm512_sqrt_ps(self.0) })
    }
}

/// 8 numbers of type `f64`; a value exists only where AVX-512 does.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct F64x8(__m512d);

operators!(F64x8, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd);

/// A mask of the first `count` lanes, at most 8.
#[inline(always)]
fn first_8(count: usize) -> __mmask8 {
    debug_assert!(count <= 8);
    ((1_u32 << count) - 1) as __mmask8
}

impl Vector<f64> for F64x8 {
    type Simd = Avx512;
    const LANES: usize = 8;
    const SIDE: usize = 4;

    #[inline(always)]
    fn splat(_: Avx512, value: f64) -> Self {
        // SAFETY: the token proves AVX-512.
        F64x8(unsafe { _mm512_set1_pd(value) })
    }

    #[inline(always)]
    unsafe fn load_pointer(_: Avx512, source: *const f64) -> Self {
        // SAFETY: the token proves AVX-512; the caller promises 8 readable numbers.
        F64x8(unsafe { _mm512_loadu_pd(source) })
    }

    #[inline(always)]
    unsafe fn load_pointer_partial(_: Avx512, source: *const f64, count: usize) -> Self {
        // SAFETY: the token proves AVX-512; the mask admits the `count` numbers that the caller
        // promises to be readable, and masked lanes are not accessed.
        F64x8(unsafe { _mm512_maskz_loadu_pd(first_8(count), source) })
    }

    #[inline(always)]
    unsafe fn store_pointer(self, target: *mut f64) {
        // SAFETY: `self` proves AVX-512; the caller promises 8 writable numbers.
        unsafe { _mm512_storeu_pd(target, self.0) }
    }

    #[inline(always)]
    unsafe fn store_pointer_partial(self, target: *mut f64, count: usize) {
        // SAFETY: `self` proves AVX-512; the mask admits the `count` numbers that the caller
        // promises to be writable, and masked lanes are not accessed.
        unsafe { _mm512_mask_storeu_pd(target, first_8(count), self.0) }
    }

    #[inline(always)]
    unsafe fn transpose(simd: Avx512, rows: &[*const f64; 8], target: *mut f64, stride: usize) {
        // SAFETY: the caller's promise is passed on.
        unsafe {
            transpose_4x4(
                simd.lower(),
                [rows[0], rows[1], rows[2], rows[3]],
                target,
                stride,
            )
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe { _mm512_fmadd_pd(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe { _mm512_max_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe { _mm512_min_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn keep_where_open(self, gate: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe {
            let open = _mm512_cmp_pd_mask::<_CMP_NLE_UQ>(gate.0, _mm512_setzero_pd());
            _mm512_maskz_mov_pd(open, self.0)
        })
    }

    #[inline(always)]
    fn where_wins(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe {
            let larger = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(self.0, other.0);
            let nan = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_mask_mov_pd(no.0, larger | nan, yes.0)
        })
    }

    #[inline(always)]
    fn over(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe { _mm512_div_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: `self` proves AVX-512.
        F64x8(unsafe { _mm512_sqrt_pd(self.0) })
    }
}
