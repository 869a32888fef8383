//! AVX2: sums of pairs, quotients and modes, 32 bytes at a time.
//!
//! Even and odd places of two vectors are parted, or added up, by in-lane shuffles that leave the quarters of a result in the
//! order 0, 2, 1, 3; [`mend`] puts that right once, at the end. What is left of a row behind the last full vector goes to
//! the scalar definition.

mod modes;
mod sums;

pub use modes::{Bytes, Doubles, Lanes, Quads, Words};
pub use sums::{
    DoubleSums, F32Pairs, FloatSums, I8Pairs, I16Pairs, I32Pairs, Pairs, QuadSums, Sums, U8Pairs, U16Pairs, U32Pairs,
    WordSums,
};

use super::{Adjacent, Cells, Isa, Kernel, Label, Widen, scalar};
use std::arch::x86_64::{__m256i, _mm256_permute4x64_epi64};

/// Proof that this processor has AVX2: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }

    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2")]
        fn with_avx2<K: Kernel>(kernel: K, isa: Avx2) {
            kernel.run(isa);
        }
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { with_avx2(kernel, self) }
    }
}

impl Isa for Avx2 {
    #[inline(always)]
    fn pair_sums<T: Widen, const ADD: bool>(self, row: &[T], sums: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_pairs::<T, ADD, false>(row, sums) };
        scalar::pair_sums::<_, _, ADD>(&row[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn pair_counts<T: Widen, const ADD: bool>(self, row: &[T], counts: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_pairs::<T, ADD, true>(row, counts) };
        scalar::pair_counts::<_, _, ADD>(&row[2 * done..], &mut counts[done..]);
    }

    #[inline(always)]
    fn byte_cell_sums<const ADD: bool>(self, row: &[u8], fx: usize, sums: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_byte_cells::<ADD>(row, fx, sums) };
        scalar::byte_cell_sums::<ADD>(row, fx, sums, done);
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, row: &[A], sums: &mut [A]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_adjacent::<A, ADD>(row, sums) };
        scalar::pair_sums::<_, _, ADD>(&row[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn shift_u16(self, sums: &[u16], shift: u32, out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_shift(sums, shift, out) };
        scalar::shift(&sums[done..], shift, &mut out[done..]);
    }

    #[inline(always)]
    fn divide_u16(self, sums: &[u16], counts: &[u16], out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_divide(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn divide_u32(self, sums: &[u32], counts: &[u32], out: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_divide_u32(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, out: &mut [T]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { modes::modes(cells, out) }
    }
}

/// Puts quarters 0, 2, 1, 3 of a vector in order.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn mend(v: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(v) }
}
