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

use super::avx2::cells;
use super::lines::{CellLines, Fours, Line};
use super::vectors::{self, Octets, Vector};
use super::views::{Cut, PanelMut, Rise, Row, Voxel};
use super::{
    Adjacent, Cells, Comparable, Found, Halving, Isa, Kernel, Label, MergeLeaders, PIECE, Told, Widen, scalar,
};
use std::arch::x86_64::*;

/// Bytes of a vector: folds that make fewer are left to AVX2.
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

impl Isa for Avx512 {
    const VECTORS: bool = true;

    #[inline(always)]
    fn sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [T::Wide],
    ) {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        let done = unsafe {
            if sums.len() < VECTOR / size_of::<T>() {
                vectors::sums::<T::Avx2, FX, ADD, COUNT>(lines, sums)
            } else {
                vectors::sums::<T::Avx512, FX, ADD, COUNT>(lines, sums)
            }
        };
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
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        let done = unsafe {
            if sums.len() < VECTOR / size_of::<T>() {
                vectors::wider_sums::<T::Avx2, <T::Wide as Widen>::Avx2, FX, ADD, COUNT>(lines, sums)
            } else {
                vectors::wider_sums::<T::Avx512, <T::Wide as Widen>::Avx512, FX, ADD, COUNT>(lines, sums)
            }
        };
        if done < sums.len() {
            scalar::rest_of_wider_sums::<T, FX, ADD, COUNT>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn cells_of_sums<A: Adjacent, const ADD: bool>(self, line: Line<'_, A>, fx: usize, sums: &mut [A]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if sums.len() < VECTOR / size_of::<A>() {
                vectors::cells_of_sums::<A::Avx2, A, ADD>(line, fx, sums)
            } else {
                vectors::cells_of_sums::<A::Avx512, A, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn wide_cells<T: Widen, const ADD: bool>(self, line: Line<'_, T>, fx: usize, sums: &mut [T::Wide]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if sums.len() < VECTOR / size_of::<T>() {
                vectors::wide_cells::<T::Avx2, ADD>(line, fx, sums)
            } else {
                vectors::wide_cells::<T::Avx512, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn byte_cells<const ADD: bool>(self, line: Line<'_, u8>, fx: usize, sums: &mut [u16]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if sums.len() < VECTOR / 2 {
                vectors::byte_cells::<__m256i, ADD>(line, fx, sums)
            } else {
                vectors::byte_cells::<__m512i, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, lines: &[Line<'_, A>], sums: &mut [A]) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::adjacent_sums::<A::Avx512, A, ADD>(lines, sums) };
        if done < sums.len() {
            scalar::rest_of_adjacent_sums::<A, ADD>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn narrow<T: Widen>(self, sums: &[T::Wide], by: Halving, out: Row<'_, T>) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::narrow::<T::Avx512>(sums, by, out) }
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
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if !half::<T>(cut.cols) {
                return vectors::finish_cells::<T::Avx512, FX, N, SPARSE>(cells, cut, sums, counts, by, out);
            }
            let done = if SPARSE { 0 } else { vectors::finish_two_rows::<T::Avx512, FX, N>(cells, cut, sums, by, out) };
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
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if rise.full < VECTOR / size_of::<T>() {
                return vectors::finish_up::<T::Avx2, FX>(rise, add, by, out, first);
            }
            vectors::finish_up::<T::Avx512, FX>(rise, add, by, out, first)
        }
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
        unsafe { vectors::finish_two::<T::Avx512, FX, PANELS, SPARSE>(cells, cut, add, sums, counts, by, out, above) }
    }

    #[inline(always)]
    fn extrema<K: Comparable, T: Voxel, A: Voxel, const FX: usize, const ADD: bool, const MAX: bool, const N: usize>(
        self,
        lines: &[Line<'_, T>; N],
        ends: &mut [A],
        out: Option<Row<'_, T>>,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if half::<T>(out.as_ref().map_or(ends.len(), |out| out.voxels.len())) {
                return vectors::extrema::<K::Avx2, T, A, FX, ADD, MAX, N>(lines, ends, out);
            }
            vectors::extrema::<K::Avx512, T, A, FX, ADD, MAX, N>(lines, ends, out)
        }
    }

    #[inline(always)]
    fn every<T: Voxel, const STEP: usize>(self, line: Line<'_, u8>, row: &mut [T]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        unsafe {
            if row.len() <= VECTOR / size_of::<T>() {
                return vectors::every::<__m256i, T, STEP>(line, row);
            }
            vectors::every::<__m512i, T, STEP>(line, row)
        }
    }

    #[inline(always)]
    fn mix(self, words: &[u64]) -> u64 {
        // SAFETY: `self` is the proof that the instructions are there.
        let (mixed, done) = unsafe { vectors::mix::<__m512i>(words) };
        mixed ^ scalar::mix(&words[done..])
    }

    #[inline(always)]
    fn tell_apart<T: Label>(self, cell: &[T; PIECE], n: usize, found: &mut Found<T>) -> bool {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::tell_apart::<T::Avx512>(cell, n, found) }
    }

    #[inline(always)]
    fn find<T: Label, const N: usize>(self, voxels: &[T], n: usize, labels: &[T; N]) -> [u64; N] {
        // SAFETY: `self` is the proof that the instructions are there.
        let found = unsafe { vectors::find::<T::Avx512, N>(voxels, n, labels) };
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
        unsafe {
            // Rows of half a vector are common.
            if width * size_of::<T>() == VECTOR / 2 {
                vectors::count_rows::<T::Avx2, N>(rows, first, width, labels)
            } else {
                vectors::count_rows::<T::Avx512, N>(rows, first, width, labels)
            }
        }
    }

    #[inline(always)]
    fn compare<T: Label>(self, lines: &[Line<'_, T>], differs: &mut [u64], changes: &mut [u64]) {
        // SAFETY: `self` is the proof that the instructions are there.
        if !unsafe { vectors::compare::<T::Avx512>(lines, differs, changes) } {
            scalar::compare(lines, differs, changes);
        }
    }

    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, mut out: Row<'_, T>, mut told: Told<'_, T>) {
        let row = out.part(0..out.voxels.len());
        // SAFETY: `self` is the proof that the instructions are there, and those of AVX2.
        let done = unsafe {
            if row.voxels.len() < VECTOR / size_of::<T>() {
                vectors::modes::<T::Avx2>(cells, row, told.part())
            } else {
                vectors::modes::<T::Avx512>(cells, row, told.part())
            }
        };
        scalar::modes(cells, out.voxels, told, done);
    }

    #[inline(always)]
    fn merge_leaders<T: Label, const OF: usize, const K: usize>(self, merge: MergeLeaders<'_, T>) {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::merge_leaders::<T::Avx512, OF, K>(merge) }
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

/// A mask of the first bytes of a vector.
#[inline(always)]
fn first(bytes: usize) -> u64 {
    u64::MAX.checked_shr((VECTOR - bytes) as u32).unwrap_or(0)
}

/// Whether rows of so many are half a vector to a vector long, which is a vector of AVX2 and more.
#[inline(always)]
fn half<T>(len: usize) -> bool {
    (VECTOR / 2..VECTOR).contains(&(len * size_of::<T>()))
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
        // SAFETY: the caller has AVX-512, and may write there, which is aligned to 16 bytes. The processor joins the parts to lines.
        unsafe {
            let at: *mut __m128i = at.cast();
            _mm_stream_si128(at, _mm512_castsi512_si128(self));
            _mm_stream_si128(at.add(1), _mm512_extracti32x4_epi32::<1>(self));
            _mm_stream_si128(at.add(2), _mm512_extracti32x4_epi32::<2>(self));
            _mm_stream_si128(at.add(3), _mm512_extracti32x4_epi32::<3>(self));
        }
    }
    #[inline(always)]
    unsafe fn store_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX-512, and may write half a vector there.
        unsafe { _mm512_castsi512_si256(self).store(at) }
    }
    #[inline(always)]
    unsafe fn stream_half<T>(self, at: *mut T) {
        // SAFETY: the caller has AVX-512, and may write half a vector there, which is aligned to 16 bytes.
        unsafe { _mm512_castsi512_si256(self).stream(at) }
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
