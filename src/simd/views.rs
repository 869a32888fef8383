//! Strided memory, made safe: where voxels are read.
//!
//! numpy hands over a pointer, extents and byte strides. Everything above this folder works on *panels*: rows of
//! equal length a fixed pitch apart, the two innermost axes of a region. [`Source`] lends panels of the input; `tiles`
//! does the same for outputs. Layouts without a unit stride (interleaved channels, unaligned fields) are gathered
//! into a scratch panel, a panel at a time: nothing is ever copied whole.
//!
//! Limits: regions are checked against extents here, once a panel, and everything above may be wrong without
//! touching foreign memory; that the pointers, extents and strides are true is promised by the caller of `new`.

use super::seam::Seam;
use super::stage::Stage;
use std::marker::PhantomData;
use std::ops::Range;

mod source;

pub use source::Source;

/// Types for which every bit pattern is a value, so that any memory may be read as one.
///
/// # Safety
/// Implement it for such types only, and without padding.
pub unsafe trait Voxel: Copy + Default + Send + Sync + 'static {}

macro_rules! voxels {
    ($($t:ty),*) => {$(
        // SAFETY: plain numbers; all their bit patterns are values.
        unsafe impl Voxel for $t {}
    )*};
}
voxels!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

/// A numpy bool: one byte, read as true where it is not zero, whatever the byte.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bool(pub u8);

// SAFETY: a transparent byte.
unsafe impl Voxel for Bool {}

/// A value whose + is the minimum.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Least<T>(pub T);

// SAFETY: a transparent voxel.
unsafe impl<T: Voxel> Voxel for Least<T> {}

/// A value whose + is the maximum.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Greatest<T>(pub T);

// SAFETY: a transparent voxel.
unsafe impl<T: Voxel> Voxel for Greatest<T> {}

/// Part of an axis: `len` indices from `start`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Span {
    /// First index.
    pub start: usize,
    /// Number of indices.
    pub len: usize,
}

/// An axis in memory: extent and byte stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of indices.
    pub len: usize,
    /// Bytes from one index to the next; may be negative or, for inputs, zero.
    pub stride: isize,
}

/// Where the rows of a panel are until they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// In the inner caches.
    Here,
    /// In the memory, or in a cache that others share.
    Away,
    /// In the memory: they are part of a volume that is larger than what a process has of most caches.
    Beyond,
}

/// Rows to read: `rows` rows of `cols` voxels, `pitch` voxels apart.
#[derive(Clone, Copy)]
pub struct Panel<'a, T> {
    pub(super) origin: *const T,
    pub(super) pitch: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) distance: Distance,
    lent: PhantomData<&'a [T]>,
}

impl<'a, T> Panel<'a, T> {
    /// Rows that lie one behind the other in `voxels`.
    #[inline]
    pub fn dense(voxels: &'a [T], cols: usize) -> Self {
        let rows = voxels.len() / cols.max(1);
        Panel { origin: voxels.as_ptr(), pitch: cols as isize, rows, cols, distance: Distance::Here, lent: PhantomData }
    }

    /// Whether it has the shape and the pitch of another: a panel that is lent may stand beside one that had to be gathered.
    #[inline]
    pub fn is_like(&self, other: &Self) -> bool {
        self.pitch == other.pitch && self.rows == other.rows && self.cols == other.cols
    }

    /// Number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Voxels of a row.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `j`.
    #[inline(always)]
    pub fn row(&self, j: usize) -> &'a [T] {
        assert!(j < self.rows);
        // SAFETY: whoever made the panel vouched for `rows` rows of `cols` voxels at this pitch; j is one of them.
        unsafe { std::slice::from_raw_parts(self.origin.offset(j as isize * self.pitch), self.cols) }
    }
}

/// A row to write, or a part of one.
pub struct Row<'a, T> {
    /// Its voxels.
    pub voxels: &'a mut [T],
    /// Where it meets other rows, if it is better written line by line, and maybe past the caches, which will not hold it until it is used: that saves
    /// reading what is overwritten. Only for rows of a [`super::tiles::Tile`], which sees to it that they arrive, and that nobody reads back
    /// before that.
    pub(super) seam: Option<&'a Seam>,
}

impl<'a, T> Row<'a, T> {
    /// A row that is written through the caches.
    pub fn new(voxels: &'a mut [T]) -> Self {
        Row { voxels, seam: None }
    }

    /// The voxels `part` of it.
    #[inline(always)]
    pub fn part(&mut self, part: Range<usize>) -> Row<'_, T> {
        Row { voxels: &mut self.voxels[part], seam: self.seam }
    }

    /// Its first `len` voxels.
    #[inline(always)]
    pub fn first(self, len: usize) -> Self {
        Row { voxels: &mut self.voxels[..len], seam: self.seam }
    }
}

/// Which cells of a panel are made at once.
#[derive(Clone, Copy)]
pub struct Cut {
    /// From this row on.
    pub first: usize,
    /// So many of the first ones of each row.
    pub cols: usize,
}

/// Rows of sums one behind the other, and the rows that each two of them make in the level above.
pub struct Rise<'a, A> {
    /// The rows.
    pub from: &'a [A],
    /// Sums of each.
    pub below: usize,
    /// The rows they make, one behind the other, too.
    pub to: &'a mut [A],
    /// How many these are.
    pub rows: usize,
    /// Sums of each.
    pub cols: usize,
    /// So many of the first ones of each are whole cells, and made.
    pub full: usize,
}

/// Rows to write; as [`Panel`].
pub struct PanelMut<'a, T> {
    pub(super) origin: *mut T,
    pub(super) pitch: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Where rows meet, if they are written line by line.
    pub(super) seam: Option<Seam>,
    /// Whether these are the rows of the output itself.
    pub(super) direct: bool,
    /// What the rows pass through, if they are to be written past the caches but do not lie on whole lines.
    pub(super) stage: Option<Stage<'a, T>>,
    pub(super) lent: PhantomData<&'a mut [T]>,
}

impl<'a, T> PanelMut<'a, T> {
    /// Rows that lie one behind the other in `voxels`.
    #[inline]
    pub fn dense(voxels: &'a mut [T], cols: usize) -> Self {
        let rows = voxels.len() / cols.max(1);
        PanelMut {
            origin: voxels.as_mut_ptr(),
            pitch: cols as isize,
            rows,
            cols,
            seam: None,
            direct: false,
            stage: None,
            lent: PhantomData,
        }
    }

    /// Number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Voxels of a row.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Will be read back: it is written through the caches.
    pub fn keep(&mut self) {
        self.seam = None;
        self.stage = None;
    }

    /// Row `j`, to write. Unless they are kept, rows are asked for one after the other.
    #[inline(always)]
    pub fn row_mut(&mut self, j: usize) -> Row<'_, T> {
        assert!(j < self.rows);
        if let Some(stage) = &mut self.stage {
            return Row::new(stage.rows(j, 1, self.cols));
        }
        // SAFETY: as in `Panel::row`; the rows do not overlap, and `&mut self` lends one at a time.
        let voxels = unsafe { row_at(self.origin, self.pitch, self.cols, j) };
        Row { voxels, seam: self.seam.as_ref() }
    }

    /// Whether the rows lie one behind the other, and are written where they belong.
    #[inline(always)]
    pub(super) fn is_dense(&self) -> bool {
        self.pitch == self.cols as isize && self.stage.is_none()
    }

    /// Rows `j` and `j + 1` as one, if it is dense.
    #[inline(always)]
    pub(super) fn two_rows(&mut self, j: usize) -> Row<'_, T> {
        assert!(self.is_dense() && j < self.rows && self.rows - j >= 2);
        // SAFETY: as above, of two rows without a gap.
        let voxels = unsafe { row_at(self.origin.offset(j as isize * self.pitch), 0, 2 * self.cols, 0) };
        Row { voxels, seam: self.seam.as_ref() }
    }

    /// Rows `j` and `j + 1`, as [`PanelMut::row_mut`].
    #[inline(always)]
    pub fn two_rows_mut(&mut self, j: usize) -> [Row<'_, T>; 2] {
        assert!(j < self.rows && self.rows - j >= 2);
        if let Some(stage) = &mut self.stage {
            let (a, b) = stage.rows(j, 2, self.cols).split_at_mut(self.cols);
            return [Row::new(a), Row::new(b)];
        }
        // SAFETY: as in `row_mut`; these two do not overlap either.
        let voxels = [j, j + 1].map(|j| unsafe { row_at(self.origin, self.pitch, self.cols, j) });
        voxels.map(|voxels| Row { voxels, seam: self.seam.as_ref() })
    }

    /// All rows are written: lets those arrive that wait.
    pub(super) fn close(&mut self) {
        if let Some(stage) = self.stage.take() {
            stage.clear();
        }
        if let Some(seam) = self.seam.take() {
            // SAFETY: what waits is of the rows of this panel, which are not lent at the time.
            unsafe { seam.settle() };
        }
    }
}

/// # Safety
/// There is such a row, and nobody else has it for `'r`.
#[inline(always)]
unsafe fn row_at<'r, T>(origin: *mut T, pitch: isize, cols: usize, j: usize) -> &'r mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(origin.offset(j as isize * pitch), cols) }
}

/// Where a region begins, and whether its rows can be lent as they lie.
pub(super) struct Place {
    pub offset: isize,
    pub direct: bool,
}

/// Axis 0 runs along a row, axis 1 from row to row; of the other axes a region holds one index.
pub(super) fn place<T>(origin: usize, axes: &[Extent], region: &[Span]) -> Place {
    assert!(axes.len() >= 2 && axes.len() == region.len());
    let size = size_of::<T>() as isize;
    let mut offset = 0;
    for (i, (axis, span)) in axes.iter().zip(region).enumerate() {
        assert!(span.len >= 1 && span.start < axis.len && span.len <= axis.len - span.start);
        assert!(i < 2 || span.len == 1);
        offset += span.start as isize * axis.stride;
    }
    let unit = axes[0].stride == size || region[0].len == 1;
    let aligned = origin.wrapping_add_signed(offset) % align_of::<T>() == 0;
    let pitched = axes[1].stride % size == 0 || region[1].len == 1;
    Place { offset, direct: unit && aligned && pitched }
}

/// Whether all indices of `axes` lead to one of `len` voxels, upwards.
pub(super) fn fits<T>(axes: &[Extent], len: usize) -> bool {
    let size = size_of::<T>() as isize;
    let reach = axes.iter().try_fold(1, |reach: usize, axis| {
        let steps = usize::try_from(axis.stride / size).ok().filter(|_| axis.stride % size == 0)?;
        reach.checked_add(axis.len.checked_sub(1)?.checked_mul(steps)?)
    });
    reach.is_some_and(|reach| reach <= len)
}

/// Words of a line of the memory.
pub const WORDS: usize = 8;

/// A line of the memory.
#[derive(Clone, Debug, Default, PartialEq)]
#[repr(align(64))]
pub struct MemoryLine(pub [u64; WORDS]);

/// The whole lines of a slice.
pub fn memory_lines(bytes: &mut [u8]) -> &mut [MemoryLine] {
    // SAFETY: any bytes are words.
    unsafe { bytes.align_to_mut().1 }
}

/// The aligned 64-bit words of a slice.
pub fn words<T: Voxel>(voxels: &[T]) -> &[u64] {
    // SAFETY: voxels are plain numbers without padding, and any eight bytes are a word.
    unsafe { voxels.align_to::<u64>().1 }
}
