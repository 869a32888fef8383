//! Strided memory, made safe: where voxels are read.
//!
//! numpy hands over a pointer, extents and byte strides. Everything above this folder works on *panels*: rows of
//! equal length a fixed pitch apart, the two innermost axes of a region. [`Source`] lends panels of the input; `tiles`
//! does the same for outputs. Layouts without a unit stride (interleaved channels, unaligned fields) are gathered
//! into a scratch panel, a panel at a time: nothing is ever copied whole.
//!
//! Limits: regions are checked against extents here, once a panel, and everything above may be wrong without
//! touching foreign memory; that the pointers, extents and strides are true is promised by the caller of `new`.

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

/// Rows to write; as [`Panel`].
pub struct PanelMut<'a, T> {
    pub(super) origin: *mut T,
    pub(super) pitch: isize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) streams: bool,
    /// Whether these are the rows of the output itself.
    pub(super) direct: bool,
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
            lent: PhantomData,
        }
    }

    /// So many rows, all of which are the same: for what nobody looks at afterwards.
    #[inline]
    pub fn repeated(row: &'a mut [T], rows: usize) -> Self {
        PanelMut { pitch: 0, rows, cols: row.len(), ..PanelMut::dense(row, 0) }
    }

    /// The first columns of some rows.
    #[inline(always)]
    pub fn part(&mut self, rows: Range<usize>, cols: usize) -> PanelMut<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows && cols <= self.cols);
        let origin = self.origin.wrapping_offset(rows.start as isize * self.pitch);
        PanelMut { origin, rows: rows.len(), cols, lent: PhantomData, ..*self }
    }

    /// Whether the rows lie one behind the other.
    #[inline(always)]
    pub(super) fn is_dense(&self) -> bool {
        self.pitch == self.cols as isize
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
    }

    /// Row `j`, to write.
    #[inline(always)]
    pub fn row_mut(&mut self, j: usize) -> Row<'_, T> {
        assert!(j < self.rows);
        // SAFETY: as in `Panel::row`; the rows do not overlap, and `&mut self` lends one at a time.
        let voxels = unsafe { std::slice::from_raw_parts_mut(self.origin.offset(j as isize * self.pitch), self.cols) };
        Row { voxels, streams: self.streams }
    }

    /// Rows `j` and `j + 1` as one, if rows lie one behind the other.
    #[inline(always)]
    pub(super) fn two_rows(&mut self, j: usize) -> Row<'_, T> {
        assert!(self.pitch == self.cols as isize && j + 1 < self.rows);
        // SAFETY: as above, of two rows without a gap.
        let voxels =
            unsafe { std::slice::from_raw_parts_mut(self.origin.offset(j as isize * self.pitch), 2 * self.cols) };
        Row { voxels, streams: self.streams }
    }
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
    /// writes there.
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
        for (j, row) in rows.chunks_exact_mut(cols).enumerate() {
            // SAFETY: the first voxel of the row is inside the region, which `place` checked, as are all others.
            let from = unsafe { self.origin.offset(offset + j as isize * pitch) };
            backend.run(Gather { row, from, step });
        }
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

/// Copies voxels that are `step` bytes apart. Only made by [`Source::gather`], for rows that can be read.
struct Gather<'a, T> {
    row: &'a mut [T],
    from: *const u8,
    step: isize,
}

impl<T: Voxel> Kernel for Gather<'_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Gather { row, from, step } = self;
        let size = size_of::<T>() as isize;
        // Steps of interleaved channels, known to the compiler.
        match (step % size, step / size) {
            (0, 2) => gather_row(row, from, 2 * size),
            (0, 3) => gather_row(row, from, 3 * size),
            (0, 4) => gather_row(row, from, 4 * size),
            _ => gather_row(row, from, step),
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
    #[should_panic]
    fn a_region_outside_of_the_source_is_refused() {
        let voxels = [0u8; 4];
        // SAFETY: four voxels as 2 x 2.
        let source = unsafe { Source::<u8>::new(voxels.as_ptr(), axes(&[2, 2], &[1, 2])) };
        source.panel(backend(), &[Span { start: 1, len: 2 }, Span { start: 0, len: 1 }], &mut Vec::new());
    }
}
