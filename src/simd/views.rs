//! Strided memory, made safe: where voxels are read.
//!
//! numpy hands over a pointer, extents and byte strides. Everything above this folder works on *panels*: rows of
//! equal length a fixed pitch apart, the two innermost axes of a region. [`Source`] lends panels of the input; `tiles`
//! does the same for outputs. Layouts without a unit stride (interleaved channels, unaligned fields) are gathered
//! into a scratch panel, a panel at a time: nothing is ever copied whole.
//!
//! Limits: regions are checked against extents here, once a panel, and everything above may be wrong without
//! touching foreign memory; that the pointers, extents and strides are true is promised by the caller of `new`.

use super::stage::Stage;
use super::{Backend, Isa, Kernel};
use std::marker::PhantomData;
use std::ops::Range;

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

/// Rows to read: `rows` rows of `cols` voxels, `pitch` voxels apart.
#[derive(Clone, Copy)]
pub struct Panel<'a, T> {
    pub(super) origin: *const T,
    pub(super) pitch: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Whether the rows are still in memory rather than in cache.
    pub(super) distant: bool,
    lent: PhantomData<&'a [T]>,
}

impl<'a, T> Panel<'a, T> {
    /// Rows that lie one behind the other in `voxels`.
    #[inline]
    pub fn dense(voxels: &'a [T], cols: usize) -> Self {
        let rows = voxels.len() / cols.max(1);
        Panel { origin: voxels.as_ptr(), pitch: cols as isize, rows, cols, distant: false, lent: PhantomData }
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
    /// Whether it is better written past the caches, which will not hold it until it is used: that saves reading what is
    /// overwritten. Only for rows of a [`super::tiles::Tile`], which sees to it that they arrive, and that nobody reads back
    /// before that.
    pub(super) streams: bool,
}

impl<'a, T> Row<'a, T> {
    /// A row that is written through the caches.
    pub fn new(voxels: &'a mut [T]) -> Self {
        Row { voxels, streams: false }
    }

    /// The voxels `part` of it.
    #[inline(always)]
    pub fn part(&mut self, part: Range<usize>) -> Row<'_, T> {
        Row { voxels: &mut self.voxels[part], streams: self.streams }
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

/// Rows to write; as [`Panel`].
pub struct PanelMut<'a, T> {
    pub(super) origin: *mut T,
    pub(super) pitch: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) streams: bool,
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
            streams: false,
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
        self.streams = false;
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
        Row { voxels, streams: self.streams }
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
        Row { voxels, streams: self.streams }
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
        voxels.map(|voxels| Row { voxels, streams: self.streams })
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

/// The aligned 64-bit words of a slice.
pub fn words<T: Voxel>(voxels: &[T]) -> &[u64] {
    // SAFETY: voxels are plain numbers without padding, and any eight bytes are a word.
    unsafe { voxels.align_to::<u64>().1 }
}

/// The input of a call: never written to.
pub struct Source<'a, T> {
    origin: *const u8,
    axes: Vec<Extent>,
    lent: PhantomData<&'a [T]>,
}

// SAFETY: a `Source` is a shared slice with strides: it only reads.
unsafe impl<T: Sync> Sync for Source<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for Source<'_, T> {}

impl<'a, T: Voxel> Source<'a, T> {
    /// The memory behind `origin`, seen along `axes` (at least two).
    ///
    /// # Safety
    /// For `'a`, every index within `axes` leads from `origin` to a readable `T` (aligned or not), and nobody
    /// writes there, nor to what is between two of a row that are up to four voxels apart.
    pub unsafe fn new(origin: *const u8, axes: Vec<Extent>) -> Self {
        assert!(axes.len() >= 2);
        Source { origin, axes, lent: PhantomData }
    }

    /// The voxels of a slice, seen along `axes`.
    ///
    /// # Panics
    /// If the axes lead out of the slice.
    pub fn of_slice(voxels: &'a [T], axes: Vec<Extent>) -> Self {
        assert!(fits::<T>(&axes, voxels.len()));
        // SAFETY: the axes stay within the slice, which is borrowed for 'a.
        unsafe { Source::new(voxels.as_ptr().cast(), axes) }
    }

    /// The rows of `region` as they lie: `None` where they are strided or unaligned.
    #[inline]
    pub fn lend(&self, region: &[Span]) -> Option<Panel<'_, T>> {
        let Place { offset, direct } = place::<T>(self.origin as usize, &self.axes, region);
        direct.then(|| Panel {
            // SAFETY: `place` checked the region against the extents that `new` was promised.
            origin: unsafe { self.origin.offset(offset) }.cast::<T>(),
            pitch: self.axes[1].stride / size_of::<T>() as isize,
            rows: region[1].len,
            cols: region[0].len,
            distant: true,
            lent: PhantomData,
        })
    }

    /// Copies the rows of `region` into `rows`, one behind the other.
    pub fn gather<'s>(&self, backend: Backend, region: &[Span], rows: &'s mut Vec<T>) -> Panel<'s, T> {
        let Place { offset, .. } = place::<T>(self.origin as usize, &self.axes, region);
        let (step, pitch, cols) = (self.axes[0].stride, self.axes[1].stride, region[0].len);
        rows.resize(region[1].len * cols, T::default());
        // SAFETY: the first voxel of the region is inside of the source, by `place`.
        let from = unsafe { self.origin.offset(offset) };
        backend.run(Gather { rows, cols, from, step, pitch });
        Panel::dense(rows, cols)
    }

    /// The rows of `region`: lent as they lie, or gathered into `scratch`.
    #[inline]
    pub fn panel<'s>(&'s self, backend: Backend, region: &[Span], scratch: &'s mut Vec<T>) -> Panel<'s, T> {
        match self.lend(region) {
            Some(panel) => panel,
            None => self.gather(backend, region, scratch),
        }
    }
}

/// Copies voxels that are `step` bytes apart, row by row. Only made by [`Source::gather`], for rows that can be read.
struct Gather<'a, T> {
    rows: &'a mut [T],
    cols: usize,
    from: *const u8,
    step: isize,
    pitch: isize,
}

impl<T: Voxel> Kernel for Gather<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let size = size_of::<T>() as isize;
        // Steps of interleaved channels, known to the compiler.
        match (self.step % size, self.step / size) {
            (0, 2) => self.every::<I, 2>(isa),
            (0, 3) => self.every::<I, 3>(isa),
            (0, 4) => self.every::<I, 4>(isa),
            _ => {
                for (j, row) in self.rows.chunks_exact_mut(self.cols).enumerate() {
                    gather_row(row, self.from.wrapping_offset(j as isize * self.pitch), self.step);
                }
            }
        }
    }
}

impl<T: Voxel> Gather<'_, T> {
    #[inline(always)]
    fn every<I: Isa, const STEP: usize>(self, isa: I) {
        let Gather { rows, cols, from, pitch, .. } = self;
        let step = STEP * size_of::<T>();
        // The bytes of a row, from its first voxel to its last.
        let bytes = (cols - 1) * step + size_of::<T>();
        let panel =
            Panel { origin: from, pitch, rows: rows.len() / cols, cols: bytes, distant: true, lent: PhantomData };
        for (j, row) in rows.chunks_exact_mut(cols).enumerate() {
            let line = panel.line(j, j, 1, 1);
            let done = if I::VECTORS { isa.every::<T, STEP>(line, row) } else { 0 };
            gather_row(&mut row[done..], line.voxels.as_ptr().wrapping_add(done * step), step as isize);
        }
    }
}

#[inline(always)]
fn gather_row<T: Voxel>(row: &mut [T], from: *const u8, step: isize) {
    for (i, voxel) in row.iter_mut().enumerate() {
        // SAFETY: as many readable voxels as the row is long lie at `from` and on, by who made the `Gather`.
        *voxel = unsafe { from.offset(i as isize * step).cast::<T>().read_unaligned() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Backend {
        Backend::all()[0]
    }

    fn axes(lens: &[usize], strides: &[isize]) -> Vec<Extent> {
        lens.iter().zip(strides).map(|(&len, &stride)| Extent { len, stride }).collect()
    }

    #[test]
    fn a_strided_source_is_gathered_and_a_contiguous_one_is_lent() {
        let voxels: Vec<u16> = (0..24).collect();
        let mut scratch = Vec::new();
        // SAFETY: 24 voxels, seen as 6 x 4 and as every second of 3 x 4.
        let (lent, strided) = unsafe {
            (
                Source::<u16>::new(voxels.as_ptr().cast(), axes(&[6, 4], &[2, 12])),
                Source::<u16>::new(voxels.as_ptr().cast(), axes(&[3, 4], &[4, 12])),
            )
        };
        let region = [Span { start: 1, len: 2 }, Span { start: 2, len: 2 }];
        assert_eq!(lent.panel(backend(), &region, &mut scratch).row(1), [19, 20]);
        assert!(scratch.is_empty() && strided.lend(&region).is_none());
        assert_eq!(strided.panel(backend(), &region, &mut scratch).row(1), [20, 22]);
    }

    #[test]
    fn an_unaligned_source_and_a_reversed_one_are_read_right() {
        let bytes: Vec<u8> = (0..33).collect();
        let mut scratch = Vec::new();
        // SAFETY: bytes 1..33 hold 4 x 2 unaligned words; the second view starts at the last and runs backwards.
        let (unaligned, reversed) = unsafe {
            (
                Source::<u32>::new(bytes.as_ptr().add(1), axes(&[4, 2], &[4, 16])),
                Source::<u32>::new(bytes.as_ptr().add(29), axes(&[4, 2], &[-4, -16])),
            )
        };
        let region = [Span { start: 0, len: 4 }, Span { start: 0, len: 2 }];
        let word = |at: u32| u32::from_le_bytes([at as u8, at as u8 + 1, at as u8 + 2, at as u8 + 3]);
        assert_eq!(unaligned.panel(backend(), &region, &mut scratch).row(1), [17, 21, 25, 29].map(word));
        assert_eq!(reversed.panel(backend(), &region, &mut scratch).row(0), [29, 25, 21, 17].map(word));
    }

    #[test]
    fn every_so_manieth_voxel_is_gathered_up_to_the_last_one_of_the_memory() {
        fn check<T: Voxel + PartialEq + std::fmt::Debug>(voxel: impl Fn(usize) -> T) {
            for (backend, step) in Backend::all().into_iter().flat_map(|b| (2..=5).map(move |step| (b, step))) {
                for cols in (1..70).chain([100, 128, 129, 257]) {
                    // The last row ends with its last voxel, the first one has a gap behind it.
                    let pitch = step * cols + 7;
                    let voxels: Box<[T]> = (0..pitch + step * (cols - 1) + 1).map(&voxel).collect();
                    let size = size_of::<T>() as isize;
                    let strides = [step as isize * size, pitch as isize * size];
                    let source = Source::of_slice(&voxels, axes(&[cols, 2], &strides));
                    let mut scratch = Vec::new();
                    let region = [Span { start: 0, len: cols }, Span { start: 0, len: 2 }];
                    let panel = source.panel(backend, &region, &mut scratch);
                    for j in 0..2 {
                        let expected: Vec<T> = (0..cols).map(|i| voxels[j * pitch + i * step]).collect();
                        assert_eq!(panel.row(j), expected, "{backend:?}, {cols} of step {step}");
                    }
                }
            }
        }
        check(|i| (i * 7 % 251) as u8);
        check(|i| (i * 7 % 65_521) as u16);
        check(|i| (i * 77_777) as u32);
        check(|i| (i as u64) << 33 | i as u64);
        check(|i| (i as u128) << 65 | i as u128);
    }

    #[test]
    #[should_panic]
    fn a_region_outside_of_the_source_is_refused() {
        let voxels = [0u8; 4];
        // SAFETY: four voxels as 2 x 2.
        let source = unsafe { Source::<u8>::new(voxels.as_ptr(), axes(&[2, 2], &[1, 2])) };
        source.panel(backend(), &[Span { start: 1, len: 2 }, Span { start: 0, len: 1 }], &mut Vec::new());
    }
}
