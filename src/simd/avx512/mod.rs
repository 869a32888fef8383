//! AVX-512: vectors of 64 bytes, for processors that have all of F, BW, DQ, VL and VBMI. That leaves out the first ones, which
//! lower their clock for wide vectors.
//!
//! Even and odd places of two vectors are parted by one permutation, and comparisons give masks.

mod labels;
mod sums;

pub use labels::{
    Bytes, Doubles, F32Order, F64Order, I8Order, I16Order, I32Order, I64Order, Quads, U8Order, U16Order, U32Order,
    U64Order, Words,
};
pub use sums::{
    DoubleSums, F32Pairs, F64Pairs, FloatSums, HalvesSums, I8Pairs, I16Pairs, I32Pairs, I64Pairs, QuadSums,
    TwoFloatsSums, U8Pairs, U16Pairs, U32Pairs, U64Pairs, WordSums,
};

use super::avx2::Avx2;
use super::vectors::{Octets, Vector, VectorSet};
use super::{Adjacent, Comparable, Kernel, Label, Widen};
use std::arch::x86_64::*;

/// Bytes of a vector.
const VECTOR: usize = <__m512i as Vector>::BYTES;

/// Proof that this processor has these instructions: only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi");
        all.then_some(Avx512(()))
    }

    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,popcnt,bmi1,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
        fn with_avx512<K: Kernel>(kernel: K, isa: Avx512) {
            kernel.run(isa);
        }
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { with_avx512(kernel, self) }
    }
}

// SAFETY: `detect` asks for all of them.
unsafe impl VectorSet for Avx512 {
    type V = __m512i;
    type Sums<A: Adjacent> = A::Avx512;
    type Pairs<T: Widen> = T::Avx512;
    type Order<K: Comparable> = K::Avx512;
    type Lanes<T: Label> = T::Avx512;
    type Half = Avx2;
}

/// A mask of the first bytes of a vector.
#[inline(always)]
fn first(bytes: usize) -> u64 {
    u64::MAX.checked_shr((VECTOR - bytes) as u32).unwrap_or(0)
}

impl Vector for __m512i {
    const BYTES: usize = 64;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn ones() -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_set1_epi8(-1) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_xor_si512(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_or_si512(self, other) }
    }
    #[inline(always)]
    unsafe fn down<const N: u32>(self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_srl_epi32(self, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    unsafe fn select(self, mask: Self, other: Self) -> Self {
        // Bit by bit: the first if the mask has it, else the third.
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_ternarylogic_epi64::<0xca>(mask, self, other) }
    }
    type Order = Self;
    #[inline(always)]
    unsafe fn order(places: &[u8; 64]) -> Self {
        // SAFETY: the caller has AVX-512; the places are a vector.
        unsafe { Self::load(places.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn reorder(self, order: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_permutexvar_epi8(order, self) }
    }
    #[inline(always)]
    unsafe fn load<T>(at: *const T) -> Self {
        // SAFETY: the caller has AVX-512, and may read there.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
    #[inline(always)]
    unsafe fn store<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX-512, and may write there.
        unsafe { _mm512_storeu_si512(at.cast(), self) }
    }
    #[inline(always)]
    unsafe fn load_few<T>(at: *const T, bytes: usize) -> Self {
        // SAFETY: the caller has AVX-512, and may read the bytes that the mask names.
        unsafe { _mm512_maskz_loadu_epi8(first(bytes), at.cast()) }
    }
    #[inline(always)]
    unsafe fn store_few<T>(self, at: *mut T, bytes: usize) {
        // SAFETY: the caller has AVX-512, and may write the bytes that the mask names.
        unsafe { _mm512_mask_storeu_epi8(at.cast(), first(bytes), self) }
    }
    #[inline(always)]
    unsafe fn stream<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX-512, and may write there, which is aligned to a vector.
        unsafe { _mm512_stream_si512(at.cast(), self) }
    }
    #[inline(always)]
    unsafe fn store_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX-512, and may write half a vector there.
        unsafe { _mm512_castsi512_si256(self).store(at) }
    }
    const STEP: usize = 8;
    /// The places of the words.
    type Shift = Self;
    #[inline(always)]
    unsafe fn shift(bytes: usize) -> Self {
        const PLACES: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        // SAFETY: the caller has AVX-512; less than a vector before the eighth place.
        unsafe { Self::load(PLACES[8 - bytes / Self::STEP..][..8].as_ptr()) }
    }
    #[inline(always)]
    unsafe fn behind(self, before: Self, places: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_permutex2var_epi64(before, places, self) }
    }
}

impl Octets for __m512i {
    /// The bytes of eight cells, where each of the octets is from, and which bytes of it are a cell's.
    type Octets = (u64, __m512i, u64);
    #[inline(always)]
    unsafe fn octets(fx: usize) -> Self::Octets {
        let places: [u8; 64] = std::array::from_fn(|byte| (byte / 8 * fx + byte % 8) as u8);
        // SAFETY: the caller has AVX-512; the places are a vector.
        let places = unsafe { Self::load(places.as_ptr()) };
        (u64::MAX >> (64 - 8 * fx), places, (0xff >> (8 - fx)) * 0x0101_0101_0101_0101)
    }
    #[inline(always)]
    fn reads(fx: usize) -> usize {
        8 * fx
    }
    #[inline(always)]
    unsafe fn octet_sums(from: *const u8, (read, places, own): Self::Octets) -> Self {
        // SAFETY: the caller has AVX-512, and the bytes that the mask names may be read.
        unsafe {
            let cells = _mm512_maskz_loadu_epi8(read, from.cast());
            _mm512_sad_epu8(_mm512_maskz_permutexvar_epi8(own, places, cells), _mm512_setzero_si512())
        }
    }
    #[inline(always)]
    unsafe fn up<const N: u32>(self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_slli_epi64::<N>(self) }
    }
    #[inline(always)]
    unsafe fn add_words(a: Self, b: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_add_epi16(a, b) }
    }
}

/// Puts eighths 0, 2, 4, 6, 1, 3, 5, 7 of a vector in order.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn mend(v: __m512i) -> __m512i {
    _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v)
}

/// The places 0, 2, 4 ... of two vectors of bytes, or with `ODD` 1, 3, 5 ...; likewise of wider numbers.
macro_rules! places {
    ($name:ident, $t:ty, $n:literal, $permute:ident) => {
        #[inline(always)]
        unsafe fn $name<const ODD: bool>(a: __m512i, b: __m512i) -> __m512i {
            const fn places(odd: bool) -> [$t; $n] {
                let mut places = [0; $n];
                let mut i = 0;
                while i < $n {
                    places[i] = 2 * i as $t + odd as $t;
                    i += 1;
                }
                places
            }
            let places = const { places(ODD) };
            // SAFETY: the caller has AVX-512; the places are a vector.
            unsafe { $permute(a, _mm512_loadu_si512(places.as_ptr().cast()), b) }
        }
    };
}
places!(bytes, u8, 64, _mm512_permutex2var_epi8);
places!(words, u16, 32, _mm512_permutex2var_epi16);
places!(doubles, u32, 16, _mm512_permutex2var_epi32);
places!(quads, u64, 8, _mm512_permutex2var_epi64);
