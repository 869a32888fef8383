//! Leaders: the most frequent labels of a cell, with counts that are exact or too low.
//!
//! The leaders of a cell come from those of its children, in vectors of cells, and without a branch: equal labels are added up, and of more labels
//! than there are places the least frequent ones are dropped. What is missing from the counts may be of any label. Where that cannot change which
//! label is the most frequent one, the cell is decided, and nobody looks at its voxels again: in real volumes nearly all cells are, on every level.

use crate::simd::{Isa, Kernel, Label, MergeLeaders};

/// Leaders are kept for these, at least: they take the place of labels.
const WIDTH: usize = 4;
/// Bytes that rows of leaders are filled up to, for whole vectors of cells whose children are two vectors.
const ROW: usize = 128;
/// Leaders of a cell, at most.
pub const MOST: usize = 8;
/// Voxels of cells that need few leaders.
const SMALL: usize = 512;
/// Voxels of the largest cell that has leaders.
pub const LED: usize = 1 << 15;

/// Whether labels of so many bytes have leaders: counts have to fit.
pub fn fit(size: usize) -> bool {
    size >= WIDTH
}

/// How many leaders a cell of a level has, that is, of so many voxels: few where cells are many. Where cells are few, they are large, and cost much if
/// they are looked at.
pub fn count(level: usize, voxels: usize) -> usize {
    match level {
        1 => 2,
        2 => 3,
        3 => 4,
        _ if voxels <= SMALL => 4,
        _ => MOST,
    }
}

/// Cells in a row of leaders for so many labels, cells of no voxels included.
pub fn stride<T>(cols: usize) -> usize {
    cols.next_multiple_of(ROW / size_of::<T>())
}

/// A row of cells, each of so many leaders, led by those of its children.
pub struct Merge<'a, T>(pub usize, pub MergeLeaders<'a, T>);

impl<T: Label> Kernel for Merge<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Merge(of, merge) = self;
        if !fit(size_of::<T>()) {
            return;
        }
        match (merge.children[0].of, of) {
            (2, 3) => isa.merge_leaders::<T, 2, 3>(merge),
            (3, 4) => isa.merge_leaders::<T, 3, 4>(merge),
            (4, 4) => isa.merge_leaders::<T, 4, 4>(merge),
            (4, 8) => isa.merge_leaders::<T, 4, 8>(merge),
            _ => isa.merge_leaders::<T, 8, 8>(merge),
        }
    }
}
