//! Labels: their bits, the rows of cells of them, and what kernels tell of these.

use super::lines::Line;
use super::views::Voxel;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, vectors};
use std::ops::{BitOr, BitXor};

/// How a cell of labels is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Four voxels a, b, c, d in raster order: a if it equals b or c, else b if it equals c, else d.
    Pairs,
    /// The most frequent voxel; of equals the one met first in raster order.
    Count,
    /// The most frequent voxel; of equals the least, as numbers that are signed or not.
    Least {
        /// Whether they are.
        signed: bool,
    },
}

/// One row of cells of labels.
#[derive(Clone, Copy)]
pub struct Cells<'a, T> {
    /// The rows that the cells span, in raster order; all of one length.
    pub lines: &'a [Line<'a, T>],
    /// If the cells span two columns: which bit of a voxel's raster number tells the column.
    pub column_bit: Option<usize>,
    /// How a cell is decided.
    pub rule: Rule,
    /// Whether background (zero) is left out where there is anything else.
    pub sparse: bool,
}

/// What is told of a row of cells besides their modes, by [`Rule::Least`].
#[derive(Default)]
pub struct Told<'a, T> {
    /// A bit for every cell, 64 to a word: set where it is not uniform. Empty, if nobody wants to know.
    pub mixed: &'a mut [u64],
    /// The two [`Leaders`] of every cell, in three rows. Empty, if nobody wants to know.
    pub leaders: &'a mut [T],
}

impl<T> Told<'_, T> {
    /// To be told a part of it.
    #[inline(always)]
    pub(super) fn part(&mut self) -> Told<'_, T> {
        Told { mixed: self.mixed, leaders: self.leaders }
    }
}

/// Bytes of the least labels that have leaders.
pub const LED: usize = 4;

/// Rows of leaders, of so many to a cell: two of them, those of the first level, have all of their counts in one row.
#[inline(always)]
pub const fn rows_of(leaders: usize) -> usize {
    if leaders == 2 { 3 } else { 2 * leaders + 1 }
}

/// How far up each of these counts is.
pub const PACKED: [u32; 3] = [0, 8, 16];

/// The most frequent labels of the cells of a row: label after label, then how often each is there (or less often than it is), and how many voxels
/// there are, but for background that isn't counted. A label without a count may be any.
#[derive(Clone, Copy)]
pub struct Leaders<'a, T> {
    /// How many there are of each cell.
    pub of: usize,
    /// One row behind the other, filled up with cells of no voxels.
    pub rows: &'a [T],
}

impl<'a, T> Leaders<'a, T> {
    /// Cells in each of the rows.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.rows.len() / rows_of(self.of)
    }

    /// The labels in place `k`.
    #[inline(always)]
    pub fn labels(&self, k: usize) -> &'a [T] {
        &self.rows[k * self.stride()..][..self.stride()]
    }

    /// How often these are there.
    #[inline(always)]
    pub fn counts(&self, k: usize) -> &'a [T] {
        self.labels(self.of + k)
    }

    /// How many voxels there are.
    #[inline(always)]
    pub fn voxels(&self) -> &'a [T] {
        self.labels(2 * self.of)
    }
}

/// The leaders of children merged into those of their cells.
pub struct MergeLeaders<'a, T> {
    /// The rows of children.
    pub children: &'a [Leaders<'a, T>],
    /// Columns of a cell: 1 or 2.
    pub fx: usize,
    /// What makes the order of labels that of signed numbers.
    pub flip: T,
    /// How many voxels a child has, and a cell, that is not at an end.
    pub child: T,
    /// See there.
    pub full: T,
    /// The labels that lead.
    pub out: &'a mut [T],
    /// The leaders.
    pub leaders: &'a mut [T],
    /// A bit for every cell, 64 to a word: set where it is not uniform, and perhaps where it has less voxels, or background that isn't counted.
    pub mixed: &'a mut [u64],
    /// Where another label may be the mode.
    pub open: &'a mut [u64],
}

/// Labels of a cell that are told apart one by one, at most.
const APART: usize = 8;

/// Voxels that are looked at together, as many as a word has bits.
pub const PIECE: usize = 64;

/// The labels of a cell.
#[derive(Clone, Copy)]
pub struct Found<T> {
    /// How many there are.
    pub n: usize,
    /// They are the first ones of these.
    pub labels: [T; APART],
    /// How often each is there.
    pub counts: [u64; APART],
    /// The most frequent one, and of equally frequent ones the least.
    pub mode: T,
    most: u64,
    /// What makes the order of labels that of unsigned numbers.
    flip: T,
    /// Whether background is left out.
    sparse: bool,
}

impl<T: Label> Found<T> {
    /// Nothing yet, of labels that are signed numbers or not.
    pub fn new(signed: bool, sparse: bool) -> Self {
        let flip = if signed { T::TOP } else { T::ZERO };
        Found { n: 0, labels: [T::ZERO; APART], counts: [0; APART], mode: T::ZERO, most: 0, flip, sparse }
    }

    /// Starts again.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        (self.n, self.mode, self.most) = (0, T::ZERO, 0);
    }

    /// Starts with two labels, of which the second may be missing.
    #[inline(always)]
    pub(super) fn start(&mut self, first: (T, u64), second: (T, u64)) {
        if self.sparse {
            self.clear();
            self.push(first.0, first.1);
            self.push(second.0, second.1);
            return;
        }
        (self.labels[0], self.counts[0]) = first;
        (self.labels[1], self.counts[1]) = second;
        self.n = 1 + usize::from(second.1 > 0);
        let better = second.1 > first.1 || (second.1 == first.1 && second.0 ^ self.flip < first.0 ^ self.flip);
        (self.mode, self.most) = if better { second } else { first };
    }

    /// Adds a label; whether there is room for it.
    #[inline(always)]
    pub(super) fn push(&mut self, label: T, count: u64) -> bool {
        if count == 0 || (self.sparse && label == T::ZERO) {
            return true;
        }
        let key = label ^ self.flip;
        let better = count > self.most || (count == self.most && key < self.mode ^ self.flip);
        self.mode = if better { label } else { self.mode };
        self.most = self.most.max(count);
        let Some(place) = self.labels.get_mut(self.n) else { return false };
        *place = label;
        self.counts[self.n] = count;
        self.n += 1;
        true
    }
}

/// A label as its bits, in the order of unsigned numbers.
pub trait Label: Voxel + Ord + BitXor<Output = Self> + BitOr<Output = Self> + From<u8> + Into<u64> {
    /// Vectors of these labels.
    #[cfg(target_arch = "x86_64")]
    type Avx2: vectors::Lanes<Label = Self>;
    /// Vectors of these labels.
    #[cfg(target_arch = "x86_64")]
    type Avx512: vectors::Lanes<Label = Self>;
    /// The background.
    const ZERO: Self;
    /// The highest bit.
    const TOP: Self;
    /// All bits.
    const MOST: Self;
    /// A number, which fits.
    fn of(number: u64) -> Self;
}

macro_rules! labels {
    ($($t:ty: $lanes:ident),*) => {$(
        impl Label for $t {
            #[cfg(target_arch = "x86_64")]
            type Avx2 = avx2::$lanes;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = avx512::$lanes;
            const ZERO: Self = 0;
            const TOP: Self = 1 << (<$t>::BITS - 1);
            const MOST: Self = <$t>::MAX;
            #[inline(always)]
            fn of(number: u64) -> Self {
                number as $t
            }
        }
    )*};
}
labels!(u8: Bytes, u16: Words, u32: Doubles, u64: Quads);
