//! AVX2: vectors of 32 bytes.
//!
//! Even and odd places of two vectors are parted, or added up, by in-lane shuffles that leave the quarters of a result in the
//! order 0, 2, 1, 3; [`mend`] puts that right.

pub mod cells;
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

use super::vectors::{Octets, Vector, VectorSet};
use super::{Adjacent, Comparable, Kernel, Label, Widen};
use std::arch::x86_64::*;

/// Proof that this processor has AVX2: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let all =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") && is_x86_feature_detected!("bmi1");
        all.then_some(Avx2(()))
    }

    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,popcnt,bmi1")]
        fn with_avx2<K: Kernel>(kernel: K, isa: Avx2) {
            kernel.run(isa);
        }
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { with_avx2(kernel, self) }
    }
}

// SAFETY: `detect` asks for all of them.
unsafe impl VectorSet for Avx2 {
    type V = __m256i;
    type Sums<A: Adjacent> = A::Avx2;
    type Pairs<T: Widen> = T::Avx2;
    type Order<K: Comparable> = K::Avx2;
    type Lanes<T: Label> = T::Avx2;
    type Half = Self;
}

impl Vector for __m256i {
    const BYTES: usize = 32;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn ones() -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_set1_epi8(-1) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_xor_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_or_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn down<const N: u32>(self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_srl_epi32(self, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    unsafe fn select(self, mask: Self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_blendv_epi8(other, self, mask) }
    }
    /// Places in the same half, and in the other half; the highest bit is set where it is not that half.
    type Order = (Self, Self);
    #[inline(always)]
    unsafe fn order(places: &[u8; 64]) -> (Self, Self) {
        // SAFETY: the caller has AVX2; the places are a vector and more.
        unsafe {
            let places = Self::load(places.as_ptr());
            let halves = _mm256_set_m128i(_mm_set1_epi8(16), _mm_setzero_si128());
            let other =
                _mm256_slli_epi16::<3>(_mm256_and_si256(_mm256_xor_si256(places, halves), _mm256_set1_epi8(16)));
            let within = _mm256_and_si256(places, _mm256_set1_epi8(15));
            (within.or(other), within.or(_mm256_xor_si256(other, _mm256_set1_epi8(-128))))
        }
    }
    #[inline(always)]
    unsafe fn reorder(self, (same, other): (Self, Self)) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe {
            let swapped = _mm256_permute4x64_epi64::<0b01_00_11_10>(self);
            _mm256_shuffle_epi8(self, same).or(_mm256_shuffle_epi8(swapped, other))
        }
    }
    #[inline(always)]
    unsafe fn load<T>(at: *const T) -> Self {
        // SAFETY: the caller has AVX2, and may read there.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline(always)]
    unsafe fn store<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX2, and may write there.
        unsafe { _mm256_storeu_si256(at.cast(), self) }
    }
    #[inline(always)]
    unsafe fn load_few<T>(at: *const T, bytes: usize) -> Self {
        let mut few = [0u8; 32];
        // SAFETY: the caller has AVX2, and may read so many bytes there; they fit a vector.
        unsafe {
            std::ptr::copy_nonoverlapping(at.cast(), few.as_mut_ptr(), bytes);
            Self::load(few.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_few<T>(self, at: *mut T, bytes: usize) {
        let mut few = [0u8; 32];
        // SAFETY: the caller has AVX2, and may write so many bytes there; they fit a vector.
        unsafe {
            self.store(few.as_mut_ptr());
            std::ptr::copy_nonoverlapping(few.as_ptr(), at.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn stream<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX2, and may write there, which is aligned to a vector.
        unsafe { _mm256_stream_si256(at.cast(), self) }
    }
    #[inline(always)]
    unsafe fn store_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX2, and may write half a vector there.
        unsafe { _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(self)) }
    }
    const STEP: usize = 16;
    /// Whether by half a vector, in every bit.
    type Shift = Self;
    #[inline(always)]
    unsafe fn shift(bytes: usize) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_set1_epi8(if bytes == 0 { 0 } else { -1 }) }
    }
    #[inline(always)]
    unsafe fn behind(self, before: Self, half: Self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_permute2x128_si256::<0x21>(before, self).select(half, self) }
    }
}

impl Octets for __m256i {
    /// Bytes of two cells, and the places of their bytes among those of two, in both halves.
    type Octets = (usize, Self);
    #[inline(always)]
    unsafe fn octets(fx: usize) -> (usize, Self) {
        let place = |byte: usize| if byte % 8 < fx { (byte % 16 / 8 * fx + byte % 8) as u8 } else { 0x80 };
        let places: [u8; 32] = std::array::from_fn(place);
        // SAFETY: the caller has AVX2; the places are a vector.
        (2 * fx, unsafe { Self::load(places.as_ptr()) })
    }
    #[inline(always)]
    fn reads(fx: usize) -> usize {
        2 * fx + 16
    }
    #[inline(always)]
    unsafe fn octet_sums(from: *const u8, (two, places): (usize, Self)) -> Self {
        // SAFETY: the caller has AVX2, and may read 16 bytes at the first and at the third cell.
        unsafe {
            let cells = _mm256_set_m128i(_mm_loadu_si128(from.add(two).cast()), _mm_loadu_si128(from.cast()));
            _mm256_sad_epu8(_mm256_shuffle_epi8(cells, places), _mm256_setzero_si256())
        }
    }
    #[inline(always)]
    unsafe fn up<const N: u32>(self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_sll_epi64(self, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    unsafe fn add_words(a: Self, b: Self) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_epi16(a, b) }
    }
}

/// Puts quarters 0, 2, 1, 3 of a vector in order.
#[inline]
#[target_feature(enable = "avx2")]
fn mend(v: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(v)
}
