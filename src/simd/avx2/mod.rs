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

use super::views::{Line, Row};
use super::{Adjacent, Cells, Isa, Kernel, Label, Widen, scalar};
use std::arch::x86_64::*;

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
    fn pair_sums<T: Widen, const ADD: bool>(self, line: Line<'_, T>, sums: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_pairs::<T, ADD, false>(line, sums) };
        scalar::pair_sums::<_, _, ADD>(&line.voxels[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn pair_counts<T: Widen, const ADD: bool>(self, line: Line<'_, T>, counts: &mut [T::Wide]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_pairs::<T, ADD, true>(line, counts) };
        scalar::pair_counts::<_, _, ADD>(&line.voxels[2 * done..], &mut counts[done..]);
    }

    #[inline(always)]
    fn byte_cell_sums<const ADD: bool>(self, line: Line<'_, u8>, fx: usize, sums: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_byte_cells::<ADD>(line, fx, sums) };
        scalar::byte_cell_sums::<ADD>(line.voxels, fx, sums, done);
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, line: Line<'_, A>, sums: &mut [A]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { sums::walk_adjacent::<A, ADD>(line, sums) };
        scalar::pair_sums::<_, _, ADD>(&line.voxels[2 * done..], &mut sums[done..]);
    }

    #[inline(always)]
    fn narrow<T: Widen>(self, sums: &[T::Wide], shift: u32, out: Row<'_, T>) -> usize {
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { sums::walk_narrow::<T>(sums, shift, out) }
    }

    #[inline(always)]
    fn finish<T: Widen, const FX: usize, const ADD: bool, const KEEP: bool>(
        self,
        line: Line<'_, T>,
        sums: &mut [T::Wide],
        shift: u32,
        out: Row<'_, T>,
    ) -> usize {
        // SAFETY: `self` is the proof that AVX2 is there.
        unsafe { sums::walk_finish::<T, FX, ADD, KEEP>(line, sums, shift, out) }
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

/// Writes a vector past the caches if it `streams` (`at` is aligned to 16 bytes then), or through them.
///
/// # Safety
/// Needs AVX2; 32 bytes at `at` are the caller's to write.
#[inline(always)]
unsafe fn put<T>(at: *mut T, v: __m256i, streams: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if streams {
            // Halves, because that is as far as numpy aligns its arrays; the processor joins them to lines.
            _mm_stream_si128(at.cast(), _mm256_castsi256_si128(v));
            _mm_stream_si128(at.cast::<__m128i>().add(1), _mm256_extracti128_si256::<1>(v));
        } else {
            _mm256_storeu_si256(at.cast(), v);
        }
    }
}

/// Whether a row can be streamed by [`put`], vector by vector: one with a rest would be slower.
#[inline(always)]
fn streams<T>(out: &Row<'_, T>) -> bool {
    out.streams && out.voxels.as_ptr().align_offset(16) == 0 && size_of_val(&*out.voxels) % 32 == 0
}
