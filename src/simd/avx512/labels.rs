//! Labels in vectors, and numbers with an order.

use super::{bytes, doubles, quads, words};
use crate::simd::vectors::tables::orders;
use crate::simd::vectors::{Lanes, Order};
use std::arch::x86_64::*;

macro_rules! lanes {
    ($name:ident, $label:ty, $mask:ty, $part:ident, $equal:ident, $greater:ident, $lesser:ident, $larger:ident, $count:ident, $plus:ident, $minus:ident, $set:ident, $select:ident) => {
        pub struct $name;

        impl Lanes for $name {
            type Label = $label;
            type V = __m512i;
            type Mask = $mask;
            const LOOKS: bool = false;
            #[inline(always)]
            unsafe fn part(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
                // SAFETY: the caller has AVX-512.
                unsafe { ($part::<false>(a, b), $part::<true>(a, b)) }
            }
            #[inline(always)]
            unsafe fn equal(a: __m512i, b: __m512i) -> $mask {
                // SAFETY: the caller has AVX-512.
                unsafe { $equal(a, b) }
            }
            #[inline(always)]
            unsafe fn greater(a: __m512i, b: __m512i) -> $mask {
                // SAFETY: the caller has AVX-512.
                unsafe { $greater(a, b) }
            }
            #[inline(always)]
            unsafe fn lesser(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $lesser(a, b) }
            }
            #[inline(always)]
            unsafe fn larger(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $larger(a, b) }
            }
            #[inline(always)]
            unsafe fn count(counts: __m512i, mask: $mask) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $count(counts, mask, counts, $set(1)) }
            }
            #[inline(always)]
            unsafe fn add(a: __m512i, b: __m512i, mask: $mask) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $count(a, mask, a, b) }
            }
            #[inline(always)]
            unsafe fn plus(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $plus(a, b) }
            }
            #[inline(always)]
            unsafe fn minus(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $minus(a, b) }
            }
            #[inline(always)]
            unsafe fn select(mask: $mask, yes: __m512i, no: __m512i) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $select(mask, no, yes) }
            }
            #[inline(always)]
            unsafe fn and(a: $mask, b: $mask) -> $mask {
                a & b
            }
            #[inline(always)]
            unsafe fn or(a: $mask, b: $mask) -> $mask {
                a | b
            }
            #[inline(always)]
            unsafe fn and_not(a: $mask, b: $mask) -> $mask {
                !a & b
            }
            #[inline(always)]
            unsafe fn all(mask: $mask) -> bool {
                mask == <$mask>::MAX
            }
            #[inline(always)]
            unsafe fn bits(mask: $mask) -> u64 {
                mask.into()
            }
            #[inline(always)]
            unsafe fn splat(label: $label) -> __m512i {
                // SAFETY: the caller has AVX-512.
                unsafe { $set(label as _) }
            }
        }
    };
}

lanes!(
    Bytes,
    u8,
    __mmask64,
    bytes,
    _mm512_cmpeq_epi8_mask,
    _mm512_cmpgt_epi8_mask,
    _mm512_min_epi8,
    _mm512_max_epi8,
    _mm512_mask_add_epi8,
    _mm512_add_epi8,
    _mm512_sub_epi8,
    _mm512_set1_epi8,
    _mm512_mask_blend_epi8
);
lanes!(
    Words,
    u16,
    __mmask32,
    words,
    _mm512_cmpeq_epi16_mask,
    _mm512_cmpgt_epi16_mask,
    _mm512_min_epi16,
    _mm512_max_epi16,
    _mm512_mask_add_epi16,
    _mm512_add_epi16,
    _mm512_sub_epi16,
    _mm512_set1_epi16,
    _mm512_mask_blend_epi16
);
lanes!(
    Doubles,
    u32,
    __mmask16,
    doubles,
    _mm512_cmpeq_epi32_mask,
    _mm512_cmpgt_epi32_mask,
    _mm512_min_epi32,
    _mm512_max_epi32,
    _mm512_mask_add_epi32,
    _mm512_add_epi32,
    _mm512_sub_epi32,
    _mm512_set1_epi32,
    _mm512_mask_blend_epi32
);
lanes!(
    Quads,
    u64,
    __mmask8,
    quads,
    _mm512_cmpeq_epi64_mask,
    _mm512_cmpgt_epi64_mask,
    _mm512_min_epi64,
    _mm512_max_epi64,
    _mm512_mask_add_epi64,
    _mm512_add_epi64,
    _mm512_sub_epi64,
    _mm512_set1_epi64,
    _mm512_mask_blend_epi64
);

orders! {
    __m512i;
    U8Order, Bytes, |a, b| _mm512_min_epu8(a, b), _mm512_max_epu8(a, b);
    I8Order, Bytes, |a, b| _mm512_min_epi8(a, b), _mm512_max_epi8(a, b);
    U16Order, Words, |a, b| _mm512_min_epu16(a, b), _mm512_max_epu16(a, b);
    I16Order, Words, |a, b| _mm512_min_epi16(a, b), _mm512_max_epi16(a, b);
    U32Order, Doubles, |a, b| _mm512_min_epu32(a, b), _mm512_max_epu32(a, b);
    I32Order, Doubles, |a, b| _mm512_min_epi32(a, b), _mm512_max_epi32(a, b);
    U64Order, Quads, |a, b| _mm512_min_epu64(a, b), _mm512_max_epu64(a, b);
    I64Order, Quads, |a, b| _mm512_min_epi64(a, b), _mm512_max_epi64(a, b);
    F32Order, Doubles, |a, b| f32_end(a, _mm512_min_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))),
        f32_end(a, _mm512_max_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
    F64Order, Quads, |a, b| f64_end(a, _mm512_min_pd(_mm512_castsi512_pd(a), _mm512_castsi512_pd(b))),
        f64_end(a, _mm512_max_pd(_mm512_castsi512_pd(a), _mm512_castsi512_pd(b)));
}

/// The processor's end is the second operand where one is NaN, so only a NaN in the first has to be put back.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f32_end(a: __m512i, end: __m512) -> __m512i {
    let a = _mm512_castsi512_ps(a);
    _mm512_castps_si512(_mm512_mask_mov_ps(end, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a))
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn f64_end(a: __m512i, end: __m512d) -> __m512i {
    let a = _mm512_castsi512_pd(a);
    _mm512_castpd_si512(_mm512_mask_mov_pd(end, _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a), a))
}
