//! Labels in vectors, and numbers with an order.

use super::mend;
use crate::simd::vectors::tables::orders;
use crate::simd::vectors::{Lanes, Order};
use std::arch::x86_64::*;

macro_rules! lanes {
    ($name:ident, $label:ty, $equal:ident, $greater:ident, $lesser:expr, $larger:expr, $plus:ident, $minus:ident, $set:ident, |$mask:ident| $bits:expr,
        |$a:ident, $b:ident| $part:expr) => {
        pub struct $name;

        impl Lanes for $name {
            type Label = $label;
            type V = __m256i;
            type Mask = __m256i;
            const LOOKS: bool = true;
            #[inline(always)]
            unsafe fn part($a: __m256i, $b: __m256i) -> (__m256i, __m256i) {
                // SAFETY: the caller has AVX2.
                unsafe {
                    let (even, odd) = $part;
                    (mend(even), mend(odd))
                }
            }
            #[inline(always)]
            unsafe fn equal(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $equal(a, b) }
            }
            #[inline(always)]
            unsafe fn greater(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $greater(a, b) }
            }
            #[inline(always)]
            unsafe fn lesser(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $lesser(a, b) }
            }
            #[inline(always)]
            unsafe fn larger(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $larger(a, b) }
            }
            #[inline(always)]
            unsafe fn count(counts: __m256i, mask: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2. A mask is -1 where it says yes.
                unsafe { $minus(counts, mask) }
            }
            #[inline(always)]
            unsafe fn add(a: __m256i, b: __m256i, mask: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $plus(a, _mm256_and_si256(b, mask)) }
            }
            #[inline(always)]
            unsafe fn plus(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $plus(a, b) }
            }
            #[inline(always)]
            unsafe fn minus(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $minus(a, b) }
            }
            #[inline(always)]
            unsafe fn select(mask: __m256i, yes: __m256i, no: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { _mm256_blendv_epi8(no, yes, mask) }
            }
            #[inline(always)]
            unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { _mm256_and_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { _mm256_or_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn and_not(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { _mm256_andnot_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn all(mask: __m256i) -> bool {
                // SAFETY: the caller has AVX2.
                unsafe { _mm256_movemask_epi8(mask) == -1 }
            }
            #[inline(always)]
            unsafe fn bits($mask: __m256i) -> u64 {
                // SAFETY: the caller has AVX2.
                unsafe { $bits }
            }
            #[inline(always)]
            unsafe fn splat(label: $label) -> __m256i {
                // SAFETY: the caller has AVX2.
                unsafe { $set(label as _) }
            }
        }
    };
}

lanes!(
    Bytes,
    u8,
    _mm256_cmpeq_epi8,
    _mm256_cmpgt_epi8,
    _mm256_min_epi8,
    _mm256_max_epi8,
    _mm256_add_epi8,
    _mm256_sub_epi8,
    _mm256_set1_epi8,
    |mask| u64::from(_mm256_movemask_epi8(mask) as u32),
    |a, b| {
        let low = _mm256_set1_epi16(0xff);
        (
            _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low)),
            _mm256_packus_epi16(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b)),
        )
    }
);
lanes!(
    Words,
    u16,
    _mm256_cmpeq_epi16,
    _mm256_cmpgt_epi16,
    _mm256_min_epi16,
    _mm256_max_epi16,
    _mm256_add_epi16,
    _mm256_sub_epi16,
    _mm256_set1_epi16,
    |mask| {
        // A byte of each: eight in either half.
        let bytes = _mm256_movemask_epi8(_mm256_packs_epi16(mask, _mm256_setzero_si256())) as u64;
        (bytes & 0xff) | (bytes >> 8 & 0xff00)
    },
    |a, b| {
        let low = _mm256_set1_epi32(0xffff);
        (
            _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low)),
            _mm256_packus_epi32(_mm256_srli_epi32::<16>(a), _mm256_srli_epi32::<16>(b)),
        )
    }
);
lanes!(
    Doubles,
    u32,
    _mm256_cmpeq_epi32,
    _mm256_cmpgt_epi32,
    _mm256_min_epi32,
    _mm256_max_epi32,
    _mm256_add_epi32,
    _mm256_sub_epi32,
    _mm256_set1_epi32,
    |mask| _mm256_movemask_ps(_mm256_castsi256_ps(mask)) as u64,
    |a, b| {
        let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        (
            _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)),
            _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)),
        )
    }
);
lanes!(
    Quads,
    u64,
    _mm256_cmpeq_epi64,
    _mm256_cmpgt_epi64,
    |a, b| _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b)),
    |a, b| _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b)),
    _mm256_add_epi64,
    _mm256_sub_epi64,
    _mm256_set1_epi64x,
    |mask| _mm256_movemask_pd(_mm256_castsi256_pd(mask)) as u64,
    |a, b| { (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)) }
);

orders! {
    __m256i;
    U8Order, Bytes, |a, b| _mm256_min_epu8(a, b), _mm256_max_epu8(a, b);
    I8Order, Bytes, |a, b| _mm256_min_epi8(a, b), _mm256_max_epi8(a, b);
    U16Order, Words, |a, b| _mm256_min_epu16(a, b), _mm256_max_epu16(a, b);
    I16Order, Words, |a, b| _mm256_min_epi16(a, b), _mm256_max_epi16(a, b);
    U32Order, Doubles, |a, b| _mm256_min_epu32(a, b), _mm256_max_epu32(a, b);
    I32Order, Doubles, |a, b| _mm256_min_epi32(a, b), _mm256_max_epi32(a, b);
    I64Order, Quads, |a, b| _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b)), _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b));
    U64Order, Quads, |a, b| _mm256_blendv_epi8(a, b, greater_u64(a, b)), _mm256_blendv_epi8(b, a, greater_u64(a, b));
    F32Order, Doubles, |a, b| f32_end(a, _mm256_min_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b))),
        f32_end(a, _mm256_max_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
    F64Order, Quads, |a, b| f64_end(a, _mm256_min_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b))),
        f64_end(a, _mm256_max_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b)));
}

#[inline]
#[target_feature(enable = "avx2")]
fn greater_u64(a: __m256i, b: __m256i) -> __m256i {
    let zero = _mm256_set1_epi64x(i64::MIN);
    _mm256_cmpgt_epi64(_mm256_xor_si256(a, zero), _mm256_xor_si256(b, zero))
}

/// The processor's end is the second operand where one is NaN, so only a NaN in the first has to be put back.
#[inline]
#[target_feature(enable = "avx2")]
fn f32_end(a: __m256i, end: __m256) -> __m256i {
    let a = _mm256_castsi256_ps(a);
    _mm256_castps_si256(_mm256_blendv_ps(end, a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn f64_end(a: __m256i, end: __m256d) -> __m256i {
    let a = _mm256_castsi256_pd(a);
    _mm256_castpd_si256(_mm256_blendv_pd(end, a, _mm256_cmp_pd::<_CMP_UNORD_Q>(a, a)))
}
