//! Cells of labels that are not uniform: found along whole rows, and decided by the lists of their children; [`crate::look`] decides
//! those whose voxels are at hand.
//!
//! Each kind of work is a kernel of its own: one that held them all would spend more time on moving registers than on voxels.

use crate::look::Work;
use crate::simd::lines::Line;
use crate::simd::views::Row;
use crate::simd::{Cells, Isa, Kernel, Label, Rule, Told};
use crate::tally::{Lists, Tally};
use std::ops::Range;

/// Voxels of the largest cell that vectors of cells decide.
pub const FEW: usize = 8;

/// Decides a row of cells of up to [`FEW`] voxels.
pub struct DecideFew<'a, T> {
    /// The rows of voxels.
    pub lines: &'a [Line<'a, T>],
    /// Columns of a cell: 1 or 2.
    pub fx: usize,
    /// Whether labels are signed numbers.
    pub signed: bool,
    /// Whether background is not counted.
    pub sparse: bool,
    /// The modes.
    pub out: Row<'a, T>,
    /// What else is told.
    pub told: Told<'a, T>,
}

impl<T: Label> Kernel for DecideFew<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let DecideFew { lines, fx, signed, sparse, out, told } = self;
        // Not where there is nothing: masked stores of nothing to nowhere, as memset does them, cost as much as a row.
        if !told.mixed.is_empty() {
            told.mixed.fill(0);
        }
        let column_bit = if fx == 2 { Some(0) } else { None };
        isa.modes(Cells { lines, column_bit, rule: Rule::Least { signed }, sparse }, out, told);
    }
}

/// Where along a row of children the cells of the next level are mixed.
#[derive(Default)]
pub struct Flags {
    /// A bit for every column, 64 to a word: where the rows of a cell differ.
    differs: Vec<u64>,
    /// Where the first row changes before the next column.
    changes: Vec<u64>,
    /// Where the next column is in the same cell, for cells of so many columns.
    inner: Vec<u64>,
    of: usize,
    /// The cells.
    pub cells: Vec<usize>,
    /// A bit for every cell of a panel whose leaders do not decide it.
    pub open: Vec<u64>,
}

/// Finds the cells of a row that are mixed, and writes the labels of the others.
pub struct FindMixed<'a, T> {
    /// The labels of the children, row by row.
    pub lines: &'a [Line<'a, T>],
    /// For every row a bit for every child, set where it is mixed; nothing if they are voxels.
    pub children: &'a [&'a [u64]],
    /// Columns of a cell.
    pub fx: usize,
    /// What is found.
    pub flags: &'a mut Flags,
    /// The labels.
    pub out: &'a mut [T],
}

impl<T: Label> Kernel for FindMixed<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let FindMixed { lines, children, fx, flags, out } = self;
        let first = lines[0].voxels;
        let Flags { differs, changes, inner, of, cells, .. } = flags;
        let words = first.len().div_ceil(64);
        let whole = (fx * out.len()).div_ceil(64);
        if *of != fx || inner.len() < whole {
            *of = fx;
            tell_inner(fx, whole, inner);
        }
        if differs.len() != words {
            differs.resize(words, 0);
            changes.resize(words, 0);
        }
        isa.compare(lines, differs, changes);
        for (w, differs) in differs.iter_mut().enumerate() {
            *differs |= changes[w] & inner[w];
            for child in children {
                *differs |= child[w];
            }
        }
        match fx {
            1 => out.copy_from_slice(first),
            2 => firsts::<T, 2>(first, out),
            3 => firsts::<T, 3>(first, out),
            fx => out.iter_mut().zip(first.chunks(fx)).for_each(|(label, cell)| *label = cell[0]),
        }
        cells_of(differs, inner, fx, out.len(), cells);
    }
}

/// The first label of every cell.
#[inline(always)]
fn firsts<T: Label, const FX: usize>(labels: &[T], out: &mut [T]) {
    let (whole, rest) = labels.as_chunks::<FX>();
    for (label, cell) in out.iter_mut().zip(whole) {
        *label = cell[0];
    }
    if let (Some(label), Some(&first)) = (out.get_mut(whole.len()), rest.first()) {
        *label = first;
    }
}

/// Sets the bits of columns whose next one is in the same cell of `fx` columns.
#[cold]
fn tell_inner(fx: usize, words: usize, inner: &mut Vec<u64>) {
    let bit = |c: usize| if c % fx + 1 < fx { 1 << (c % 64) } else { 0 };
    *inner = (0..words).map(|w| (64 * w..64 * w + 64).map(bit).sum()).collect();
}

/// The places of the bits that are set.
pub fn places(words: &[u64], places: &mut Vec<usize>) {
    places.clear();
    for (w, &word) in words.iter().enumerate() {
        let mut left = word;
        while left > 0 {
            places.push(64 * w + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

/// The cells, of `fx` columns, that bits are set in, as many as there may be; `inner` as [`tell_inner`] makes it.
#[inline(always)]
fn cells_of(words: &[u64], inner: &[u64], fx: usize, count: usize, cells: &mut Vec<usize>) {
    // Four at once, whether there are so many or not: how many there are is a branch that cannot be foreseen.
    cells.resize(count + 4, 0);
    let (mut n, mut carry, one) = (0, false, u64::MAX / fx as u64);
    for w in 0..(count * fx).div_ceil(64) {
        let (word, inner) = (words.get(w).copied().unwrap_or(0), inner[w]);
        // Where a bit of a cell but its last one is set, this sum carries into that.
        let (sum, first) = (word & inner).overflowing_add(inner);
        let (sum, second) = sum.overflowing_add(carry.into());
        carry = first | second;
        let mut left = (word | sum) & !inner;
        let end = n + left.count_ones() as usize;
        while n < end {
            for place in &mut cells[n..n + 4] {
                // The next column, divided by `fx`, but a bit less, because this column is the cell's last one.
                let next = (64 * w) as u128 + u128::from(left.trailing_zeros()) + 1;
                *place = ((next * u128::from(one)) >> 64) as usize;
                left &= left.wrapping_sub(1);
            }
            n += 4;
        }
        n = end;
    }
    cells.truncate(n);
}

/// A row of children that carry lists, or of voxels.
pub struct ChildRow<'a, T> {
    /// Their labels.
    pub labels: &'a [T],
    /// A bit for each of them: whether it is mixed; nothing if they are voxels.
    pub mixed: &'a [u64],
    /// The lists of those that are.
    pub lists: Option<&'a Lists<T>>,
    /// The list of the next of them.
    pub next: usize,
    /// Voxels in each of them but the last, and in that.
    pub voxels: (u64, u64),
}

impl<T: Label> ChildRow<'_, T> {
    /// Hands out the entries of some children, left to right.
    #[inline(always)]
    fn entries(&mut self, columns: Range<usize>, sparse: bool, mut each: impl FnMut(&[T], &[u64])) {
        for column in columns {
            let word = self.mixed.get(column / 64).copied().unwrap_or(0);
            if let (Some(lists), 1) = (self.lists, word >> (column % 64) & 1) {
                let (labels, counts) = lists.list(self.next);
                self.next += 1;
                each(labels, counts);
                continue;
            }
            let label = self.labels[column];
            if !sparse || label != T::ZERO {
                each(&[label], &[if column + 1 == self.labels.len() { self.voxels.1 } else { self.voxels.0 }]);
            }
        }
    }

    /// Whether all labels have counters.
    fn counts(&self) -> bool {
        self.lists.is_none_or(Lists::counts) && Tally::counts(self.labels)
    }
}

/// Decides cells of a row by the lists of their children.
pub fn merge<T: Label>(
    cells: &[usize],
    rows: &mut [ChildRow<'_, T>],
    fx: usize,
    out: &mut [T],
    mut lists: Option<&mut Lists<T>>,
    work: &mut Work<T>,
) {
    let Work { tally, entries, sparse, unlisted, .. } = work;
    let counts = rows.iter().all(ChildRow::counts);
    for &i in cells {
        let columns = fx * i..(fx * i + fx).min(rows[0].labels.len());
        let lists = lists.as_deref_mut().unwrap_or_else(|| unlisted.cleared());
        out[i] = if counts {
            for row in rows.iter_mut() {
                row.entries(columns.clone(), *sparse, |labels, counts| {
                    tally.count(labels, counts.iter().copied(), lists);
                });
            }
            tally.counted(lists)
        } else {
            entries.clear();
            for row in rows.iter_mut() {
                row.entries(columns.clone(), *sparse, |labels, counts| entries.extend(labels, counts));
            }
            tally.look_up(entries, lists)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_a_bit_are_found_wherever_words_end() {
        let mut noise = 1u64;
        for fx in [1, 2, 3, 5, 8, 63, 64, 65, 100, 130] {
            for columns in [1usize, 7, 64, 65, 129, 200, 391] {
                for rare in 0..8 {
                    let mut bits: Vec<bool> = Vec::new();
                    for _ in 0..columns {
                        noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        bits.push(noise >> 40 & ((1 << rare) - 1) == 0);
                    }
                    let word = |bits: &[bool]| bits.iter().rev().fold(0, |word, &bit| word << 1 | u64::from(bit));
                    let words: Vec<u64> = bits.chunks(64).map(word).collect();
                    let count = columns.div_ceil(fx);
                    let (mut inner, mut cells) = (Vec::new(), vec![7; 3]);
                    tell_inner(fx, (fx * count).div_ceil(64), &mut inner);
                    cells_of(&words, &inner, fx, count, &mut cells);
                    let want: Vec<usize> =
                        (0..count).filter(|i| bits.chunks(fx).nth(*i).unwrap().contains(&true)).collect();
                    assert_eq!(cells, want, "{fx} {columns} {rare}");
                }
            }
        }
    }
}
