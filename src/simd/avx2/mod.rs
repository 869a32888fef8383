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

use super::lines::{CellLines, Fours, Line};
use super::vectors::{self, Octets, Vector};
use super::views::{Cut, PanelMut, Rise, Row, Voxel};
use super::{
    Adjacent, Cells, Comparable, Found, Halving, Isa, Kernel, Label, MergeLeaders, PIECE, Told, Widen, scalar,
};
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

impl Isa for Avx2 {
    const VECTORS: bool = true;

    #[inline(always)]
    fn sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [T::Wide],
    ) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::sums::<T::Avx2, FX, ADD, COUNT>(lines, sums) };
        if done < sums.len() {
            scalar::rest_of_sums::<T, FX, ADD, COUNT>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn wider_sums<T: Widen<Wide: Widen>, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [<T::Wide as Widen>::Wide],
    ) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::wider_sums::<T::Avx2, <T::Wide as Widen>::Avx2, FX, ADD, COUNT>(lines, sums) };
        if done < sums.len() {
            scalar::rest_of_wider_sums::<T, FX, ADD, COUNT>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn cells_of_sums<A: Adjacent, const ADD: bool>(self, line: Line<'_, A>, fx: usize, sums: &mut [A]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::cells_of_sums::<A::Avx2, A, ADD>(line, fx, sums) }
    }

    #[inline(always)]
    fn wide_cells<T: Widen, const ADD: bool>(self, line: Line<'_, T>, fx: usize, sums: &mut [T::Wide]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::wide_cells::<T::Avx2, ADD>(line, fx, sums) }
    }

    #[inline(always)]
    fn byte_cells<const ADD: bool>(self, line: Line<'_, u8>, fx: usize, sums: &mut [u16]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::byte_cells::<__m256i, ADD>(line, fx, sums) }
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, lines: &[Line<'_, A>], sums: &mut [A]) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::adjacent_sums::<A::Avx2, A, ADD>(lines, sums) };
        if done < sums.len() {
            scalar::rest_of_adjacent_sums::<A, ADD>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn narrow<T: Widen>(self, sums: &[T::Wide], by: Halving, out: Row<'_, T>) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::narrow::<T::Avx2>(sums, by, out) }
    }

    #[inline(always)]
    fn finish_cells<T: Widen, const FX: usize, const N: usize, const SPARSE: bool>(
        self,
        cells: CellLines<'_, T, N>,
        cut: Cut,
        sums: &mut PanelMut<'_, T::Wide>,
        counts: &mut PanelMut<'_, T::Wide>,
        by: Halving,
        out: &mut PanelMut<'_, T>,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            let done = if SPARSE { 0 } else { vectors::finish_two_rows::<T::Avx2, FX, N>(cells, cut, sums, by, out) };
            if done > 0 {
                return done;
            }
            vectors::finish_cells::<T::Avx2, FX, N, SPARSE>(cells, cut, sums, counts, by, out)
        }
    }

    #[inline(always)]
    fn finish_up<T: Widen, const FX: usize>(
        self,
        rise: &mut Rise<'_, T::Wide>,
        add: bool,
        by: Halving,
        out: Option<&mut PanelMut<'_, T>>,
        first: usize,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::finish_up::<T::Avx2, FX>(rise, add, by, out, first) }
    }

    #[inline(always)]
    fn finish_two<T: Widen, const FX: usize, const PANELS: usize, const SPARSE: bool>(
        self,
        cells: Fours<'_, T, PANELS>,
        cut: Cut,
        add: bool,
        sums: &mut PanelMut<'_, T::Wide>,
        counts: &mut PanelMut<'_, T::Wide>,
        by: [Halving; 2],
        out: &mut PanelMut<'_, T>,
        above: Option<&mut PanelMut<'_, T>>,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::finish_two::<T::Avx2, FX, PANELS, SPARSE>(cells, cut, add, sums, counts, by, out, above) }
    }

    #[inline(always)]
    fn extrema<K: Comparable, T: Voxel, A: Voxel, const FX: usize, const ADD: bool, const MAX: bool, const N: usize>(
        self,
        lines: &[Line<'_, T>; N],
        ends: &mut [A],
        out: Option<Row<'_, T>>,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::extrema::<K::Avx2, T, A, FX, ADD, MAX, N>(lines, ends, out) }
    }

    #[inline(always)]
    fn every<T: Voxel, const STEP: usize>(self, line: Line<'_, u8>, row: &mut [T]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::every::<__m256i, T, STEP>(line, row) }
    }

    #[inline(always)]
    fn mix(self, words: &[u64]) -> u64 {
        // SAFETY: `self` is the proof that the instructions are there.
        let (mixed, done) = unsafe { vectors::mix::<__m256i>(words) };
        mixed ^ scalar::mix(&words[done..])
    }

    #[inline(always)]
    fn tell_apart<T: Label>(self, cell: &[T; PIECE], n: usize, found: &mut Found<T>) -> bool {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::tell_apart::<T::Avx2>(cell, n, found) }
    }

    #[inline(always)]
    fn find<T: Label, const N: usize>(self, voxels: &[T], n: usize, labels: &[T; N]) -> [u64; N] {
        // SAFETY: `self` is the proof that the instructions are there.
        let found = unsafe { vectors::find::<T::Avx2, N>(voxels, n, labels) };
        found.unwrap_or_else(|| scalar::find(&voxels[..n], labels))
    }

    #[inline(always)]
    fn count_rows<T: Label, const N: usize>(
        self,
        rows: &[&[T]],
        first: usize,
        width: usize,
        labels: &[T; N],
    ) -> Option<[u64; N]> {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::count_rows::<T::Avx2, N>(rows, first, width, labels) }
    }

    #[inline(always)]
    fn compare<T: Label>(self, lines: &[Line<'_, T>], differs: &mut [u64], changes: &mut [u64]) {
        // SAFETY: `self` is the proof that the instructions are there.
        if !unsafe { vectors::compare::<T::Avx2>(lines, differs, changes) } {
            scalar::compare(lines, differs, changes);
        }
    }

    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, mut out: Row<'_, T>, mut told: Told<'_, T>) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::modes::<T::Avx2>(cells, out.part(0..out.voxels.len()), told.part()) };
        scalar::modes(cells, out.voxels, told, done);
    }

    #[inline(always)]
    fn merge_leaders<T: Label, const OF: usize, const K: usize>(self, merge: MergeLeaders<'_, T>) {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::merge_leaders::<T::Avx2, OF, K>(merge) }
    }

    #[inline(always)]
    fn divide_u16(self, sums: &[u16], counts: &[u16], out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { cells::walk_divide(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn divide_u32(self, sums: &[u32], counts: &[u32], out: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { cells::walk_divide_u32(sums, counts, out) };
        scalar::divide(&sums[done..], &counts[done..], &mut out[done..]);
    }

    #[inline(always)]
    fn divide_all_u16(self, sums: &[u16], by: u16, out: &mut [u8]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { cells::walk_divide_all(sums, by, out) };
        scalar::divide_all(&sums[done..], by, &mut out[done..]);
    }

    #[inline(always)]
    fn divide_all_u32(self, sums: &[u32], by: u32, out: &mut [u16]) {
        // SAFETY: `self` is the proof that AVX2 is there.
        let done = unsafe { cells::walk_divide_all_u32(sums, by, out) };
        scalar::divide_all(&sums[done..], by, &mut out[done..]);
    }
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
        // SAFETY: the caller has AVX2, and may write there, which is aligned to 16 bytes. The processor joins the halves to lines.
        unsafe {
            _mm_stream_si128(at.cast(), _mm256_castsi256_si128(self));
            _mm_stream_si128(at.cast::<__m128i>().add(1), _mm256_extracti128_si256::<1>(self));
        }
    }
    #[inline(always)]
    unsafe fn store_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX2, and may write half a vector there.
        unsafe { _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(self)) }
    }
    #[inline(always)]
    unsafe fn stream_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX2, and may write half a vector there, which is aligned to 16 bytes.
        unsafe { _mm_stream_si128(at.cast(), _mm256_castsi256_si128(self)) }
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
