//! The kernels of an instruction set with vectors: which vectors, for rows of which length.

use super::{Lanes, Octets, Order, Pairs, Sums, Vector};
use crate::simd::avx2::cells;
use crate::simd::lines::{CellLines, Fours, Line};
use crate::simd::views::{Cut, MemoryLine, PanelMut, Rise, Row, Voxel};
use crate::simd::{
    Adjacent, Cells, Comparable, Found, Halving, Isa, Label, MergeLeaders, PIECE, Told, Widen, scalar, vectors,
};

/// An instruction set with vectors.
///
/// # Safety
/// There is a value of the type only where the processor has the instructions, those of `Half` and those of AVX2.
pub unsafe trait VectorSet: Copy {
    type V: Octets;
    type Sums<A: Adjacent>: Sums;
    type Pairs<T: Widen>: Pairs<Voxel = T, Wide = T::Wide, Sums: Sums<V = Self::V>>;
    type Order<K: Comparable>: Order;
    type Lanes<T: Label>: Lanes<Label = T>;
    /// A set of vectors half as long, for rows that are shorter than a vector; itself, if there is none.
    type Half: VectorSet;
    /// Whether there is one.
    const HALVES: bool = <Self::Half as VectorSet>::V::BYTES < Self::V::BYTES;
}

/// Whether rows of so many are too short for a vector, but not for vectors half as long, if there are such.
#[inline(always)]
fn short<S: VectorSet, T>(len: usize) -> bool {
    S::HALVES && len * size_of::<T>() < S::V::BYTES
}

/// As [`short`], and half a vector at least.
#[inline(always)]
fn half<S: VectorSet, T>(len: usize) -> bool {
    short::<S, T>(len) && len * size_of::<T>() >= S::V::BYTES / 2
}

type HalfV<S> = <<S as VectorSet>::Half as VectorSet>::V;
type HalfSums<S, A> = <<S as VectorSet>::Half as VectorSet>::Sums<A>;
type HalfPairs<S, T> = <<S as VectorSet>::Half as VectorSet>::Pairs<T>;
type HalfOrder<S, K> = <<S as VectorSet>::Half as VectorSet>::Order<K>;
type HalfLanes<S, T> = <<S as VectorSet>::Half as VectorSet>::Lanes<T>;

impl<S: VectorSet> Isa for S {
    const VECTORS: bool = true;

    #[inline(always)]
    fn sums<T: Widen, const FX: usize, const ADD: bool, const COUNT: bool>(
        self,
        lines: &[Line<'_, T>],
        sums: &mut [T::Wide],
    ) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe {
            if short::<S, T>(sums.len()) {
                vectors::sums::<HalfPairs<S, T>, FX, ADD, COUNT>(lines, sums)
            } else {
                vectors::sums::<S::Pairs<T>, FX, ADD, COUNT>(lines, sums)
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
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe {
            if short::<S, T>(sums.len()) {
                vectors::wider_sums::<HalfPairs<S, T>, HalfPairs<S, T::Wide>, FX, ADD, COUNT>(lines, sums)
            } else {
                vectors::wider_sums::<S::Pairs<T>, S::Pairs<T::Wide>, FX, ADD, COUNT>(lines, sums)
            }
        };
        if done < sums.len() {
            scalar::rest_of_wider_sums::<T, FX, ADD, COUNT>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn cells_of_sums<A: Adjacent, const ADD: bool>(self, line: Line<'_, A>, fx: usize, sums: &mut [A]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            if short::<S, A>(sums.len()) {
                vectors::cells_of_sums::<HalfSums<S, A>, A, ADD>(line, fx, sums)
            } else {
                vectors::cells_of_sums::<S::Sums<A>, A, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn wide_cells<T: Widen, const ADD: bool>(self, line: Line<'_, T>, fx: usize, sums: &mut [T::Wide]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            if short::<S, T>(sums.len()) {
                vectors::wide_cells::<HalfPairs<S, T>, ADD>(line, fx, sums)
            } else {
                vectors::wide_cells::<S::Pairs<T>, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn byte_cells<const ADD: bool>(self, line: Line<'_, u8>, fx: usize, sums: &mut [u16]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            if short::<S, u16>(sums.len()) {
                vectors::byte_cells::<HalfV<S>, ADD>(line, fx, sums)
            } else {
                vectors::byte_cells::<S::V, ADD>(line, fx, sums)
            }
        }
    }

    #[inline(always)]
    fn adjacent_sums<A: Adjacent, const ADD: bool>(self, lines: &[Line<'_, A>], sums: &mut [A]) {
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe { vectors::adjacent_sums::<S::Sums<A>, A, ADD>(lines, sums) };
        if done < sums.len() {
            scalar::rest_of_adjacent_sums::<A, ADD>(lines, sums, done);
        }
    }

    #[inline(always)]
    fn narrow<T: Widen>(self, sums: &[T::Wide], by: Halving, out: Row<'_, T>) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::narrow::<S::Pairs<T>>(sums, by, out) }
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
            if S::HALVES && !half::<S, T>(cut.cols) {
                return vectors::finish_cells::<S::Pairs<T>, FX, N, SPARSE>(cells, cut, sums, counts, by, out);
            }
            let done =
                if SPARSE { 0 } else { vectors::finish_two_rows::<S::Pairs<T>, FX, N>(cells, cut, sums, by, out) };
            if done > 0 {
                return done;
            }
            vectors::finish_cells::<HalfPairs<S, T>, FX, N, SPARSE>(cells, cut, sums, counts, by, out)
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
        unsafe {
            if short::<S, T>(rise.full) {
                return vectors::finish_up::<HalfPairs<S, T>, FX>(rise, add, by, out, first);
            }
            vectors::finish_up::<S::Pairs<T>, FX>(rise, add, by, out, first)
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
        unsafe { vectors::finish_two::<S::Pairs<T>, FX, PANELS, SPARSE>(cells, cut, add, sums, counts, by, out, above) }
    }

    #[inline(always)]
    fn extrema<K: Comparable, T: Voxel, A: Voxel, const FX: usize, const ADD: bool, const MAX: bool, const N: usize>(
        self,
        lines: &[Line<'_, T>; N],
        ends: &mut [A],
        out: Option<Row<'_, T>>,
    ) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            if half::<S, T>(out.as_ref().map_or(ends.len(), |out| out.voxels.len())) {
                return vectors::extrema::<HalfOrder<S, K>, T, A, FX, ADD, MAX, N>(lines, ends, out);
            }
            vectors::extrema::<S::Order<K>, T, A, FX, ADD, MAX, N>(lines, ends, out)
        }
    }

    #[inline(always)]
    fn every<T: Voxel, const STEP: usize>(self, line: Line<'_, u8>, row: &mut [T]) -> usize {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe {
            if short::<S, T>(row.len().saturating_sub(1)) {
                return vectors::every::<HalfV<S>, T, STEP>(line, row);
            }
            vectors::every::<S::V, T, STEP>(line, row)
        }
    }

    #[inline(always)]
    fn mix(self, words: Line<'_, u64>, out: &mut [MemoryLine]) -> u64 {
        // SAFETY: `self` is the proof that the instructions are there.
        let (mixed, done) = unsafe {
            if out.is_empty() { vectors::mix::<S::V>(words.voxels) } else { vectors::mix_and_write::<S::V>(words, out) }
        };
        mixed ^ scalar::mix(&words.voxels[done..], &mut [])
    }

    #[inline(always)]
    fn tell_apart<T: Label>(self, cell: &[T; PIECE], n: usize, found: &mut Found<T>) -> bool {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::tell_apart::<S::Lanes<T>>(cell, n, found) }
    }

    #[inline(always)]
    fn find<T: Label, const N: usize>(self, voxels: &[T], n: usize, labels: &[T; N]) -> [u64; N] {
        // SAFETY: `self` is the proof that the instructions are there.
        let found = unsafe { vectors::find::<S::Lanes<T>, N>(voxels, n, labels) };
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
            if S::HALVES && width * size_of::<T>() == S::V::BYTES / 2 {
                vectors::count_rows::<HalfLanes<S, T>, N>(rows, first, width, labels)
            } else {
                vectors::count_rows::<S::Lanes<T>, N>(rows, first, width, labels)
            }
        }
    }

    #[inline(always)]
    fn compare<T: Label>(self, lines: &[Line<'_, T>], differs: &mut [u64], changes: &mut [u64]) {
        // SAFETY: `self` is the proof that the instructions are there.
        if !unsafe { vectors::compare::<S::Lanes<T>>(lines, differs, changes) } {
            scalar::compare(lines, differs, changes);
        }
    }

    #[inline(always)]
    fn modes<T: Label>(self, cells: Cells<'_, T>, mut out: Row<'_, T>, mut told: Told<'_, T>) {
        let row = out.part(0..out.voxels.len());
        // SAFETY: `self` is the proof that the instructions are there.
        let done = unsafe {
            if short::<S, T>(row.voxels.len()) {
                vectors::modes::<HalfLanes<S, T>>(cells, row, told.part())
            } else {
                vectors::modes::<S::Lanes<T>>(cells, row, told.part())
            }
        };
        scalar::modes(cells, out.voxels, told, done);
    }

    #[inline(always)]
    fn merge_leaders<T: Label, const OF: usize, const K: usize>(self, merge: MergeLeaders<'_, T>) {
        // SAFETY: `self` is the proof that the instructions are there.
        unsafe { vectors::merge_leaders::<S::Lanes<T>, OF, K>(merge) }
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
