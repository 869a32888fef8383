//! Leaders: the most frequent labels of a cell, with counts that are exact or too low.
//!
//! The leaders of a cell come from those of its children, in vectors of cells, and without a branch: equal labels are added up, and of more labels
//! than there are places the least frequent ones are dropped. What is missing from the counts may be of any label. Where that cannot change which
//! label is the most frequent one, the cell is decided, and nobody looks at its voxels again: in real volumes nearly all cells are, on every level. (The
//! summaries of Misra and Gries, 1982, which can be merged.)

use crate::simd;
use crate::simd::views::{Panel, PanelMut};
use crate::simd::{Cells, Isa, Kernel, Label, Leaders, MergeLeaders, Rule, Told, rows_of};
use std::ops::Range;

/// Bytes that rows of leaders are filled up to, for whole vectors of cells whose children are two vectors.
const ROW: usize = 128;
/// Leaders of a cell, at most.
pub const MOST: usize = 8;
/// Voxels of cells that need few leaders.
const SMALL: usize = 512;
/// Voxels of the largest cell that has leaders.
pub const LED: usize = 1 << 15;

/// Whether labels of so many bytes have leaders, where the largest cell has so many voxels: counts are signed numbers in the place of a label.
pub fn fit(size: usize, voxels: usize) -> bool {
    size >= simd::LED && voxels <= i32::MAX as usize
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

/// Those of so many rows that make row `j` of cells of `fy` rows.
#[inline(always)]
pub fn cell(j: usize, fy: usize, rows: usize) -> Range<usize> {
    j * fy..((j + 1) * fy).min(rows)
}

/// Panels of cells with leaders, row by row, side by side.
pub struct Children<'a, T> {
    /// The leaders, and how many rows there are.
    pub panels: Vec<(&'a [T], usize)>,
    /// How many leaders each cell has.
    pub of: usize,
    /// How many rows of each panel make a cell of the next level.
    pub fy: usize,
}

impl<'a, T: Label> Children<'a, T> {
    /// The rows that row `j` of the next level is made of.
    #[inline(always)]
    pub fn rows(&self, j: usize, rows: &mut Vec<Leaders<'a, T>>) {
        rows.clear();
        for &(panel, count) in &self.panels {
            let size = panel.len() / count;
            rows.extend(
                cell(j, self.fy, count).map(|y| Leaders { of: self.of, rows: &panel[size * y..size * (y + 1)] }),
            );
        }
    }
}

/// Decides a panel of cells of up to [`FEW`](crate::mixed::FEW) voxels, and tells their leaders.
pub struct Begin<'a, 'o, T> {
    /// The voxels.
    pub panels: &'a [Panel<'a, T>],
    /// Columns and rows of a cell in each of the panels.
    pub fx: usize,
    /// See there.
    pub fy: usize,
    /// Whether labels are signed numbers.
    pub signed: bool,
    /// Whether background is not counted.
    pub sparse: bool,
    /// The modes.
    pub out: &'a mut PanelMut<'o, T>,
    /// Their leaders, row by row.
    pub leaders: &'a mut [T],
}

impl<T: Label> Kernel for Begin<'_, '_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Begin { panels, fx, fy, signed, sparse, out, leaders } = self;
        let (cols, stride) = (out.cols(), stride::<T>(out.cols()));
        let column_bit = if fx == 2 { Some(0) } else { None };
        let mut lines = Vec::with_capacity(panels.len() * fy);
        for (j, leaders) in leaders.chunks_exact_mut(rows_of(count(1, 0)) * stride).enumerate() {
            lines.clear();
            for panel in panels {
                let cell = cell(j, fy, panel.rows());
                lines.extend(cell.clone().map(|y| panel.line(y, cell.start, cell.len(), panels.len())));
            }
            if cols < stride {
                leaders.chunks_exact_mut(stride).for_each(|row| row[cols..].fill(T::ZERO));
            }
            let cells = Cells { lines: &lines, column_bit, rule: Rule::Least { signed }, sparse };
            isa.modes(cells, out.row_mut(j), Told { mixed: &mut [], leaders });
        }
    }
}

/// Makes a panel of cells, with `of` leaders each, of their children.
pub struct Merge<'a, 'o, T> {
    /// The children.
    pub children: &'a Children<'a, T>,
    /// Columns of a cell.
    pub fx: usize,
    /// Whether labels are signed numbers.
    pub signed: bool,
    /// How many voxels a child has, and a cell, that is not at an end.
    pub child: usize,
    /// See there.
    pub full: usize,
    /// The labels that lead.
    pub out: &'a mut PanelMut<'o, T>,
    /// How many leaders a cell has.
    pub of: usize,
    /// The leaders, row by row.
    pub leaders: &'a mut [T],
    /// A bit for every cell, 64 to a word and row by row: set where it is not uniform, and perhaps where it has less voxels, or background that isn't
    /// counted: no list would be right without these.
    pub mixed: &'a mut [u64],
    /// Where another label may be the mode.
    pub open: &'a mut [u64],
}

impl<T: Label> Kernel for Merge<'_, '_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if !fit(size_of::<T>(), 1) {
            return;
        }
        match (self.children.of, self.of) {
            (2, 3) => self.rows::<I, 2, 3>(isa),
            (3, 4) => self.rows::<I, 3, 4>(isa),
            (4, 4) => self.rows::<I, 4, 4>(isa),
            (4, MOST) => self.rows::<I, 4, MOST>(isa),
            _ => self.rows::<I, MOST, MOST>(isa),
        }
    }
}

impl<T: Label> Merge<'_, '_, T> {
    #[inline(always)]
    fn rows<I: Isa, const OF: usize, const K: usize>(self, isa: I) {
        let Merge { children, fx, signed, child, full, out, leaders, mixed, open, .. } = self;
        let size = rows_of(K) * stride::<T>(out.cols());
        let words = mixed.len() / out.rows();
        let flip = if signed { T::ZERO } else { T::TOP };
        let (child, full) = (T::of(child as u64), T::of(full as u64));
        let mut rows = Vec::new();
        let bits = mixed.chunks_exact_mut(words).zip(open.chunks_exact_mut(words));
        for ((j, leaders), (mixed, open)) in leaders.chunks_exact_mut(size).enumerate().zip(bits) {
            children.rows(j, &mut rows);
            let out = out.row_mut(j).voxels;
            let children = &rows[..];
            isa.merge_leaders::<T, OF, K>(MergeLeaders { children, fx, flip, child, full, out, leaders, mixed, open });
        }
    }
}
