//! The input of a call: panels of it lent as they lie, or gathered voxel by voxel.

use super::{Distance, Extent, Panel, Place, Span, Voxel, fits, place};
use crate::simd::{Backend, Isa, Kernel};
use std::marker::PhantomData;

/// Bytes of a volume that is read from the memory: where the last cache is larger, others share it.
const CACHED: usize = 64 << 20;

/// The input of a call: never written to.
pub struct Source<'a, T> {
    origin: *const u8,
    axes: Vec<Extent>,
    distance: Distance,
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
    /// writes there. What lies between two of a row that are up to four voxels apart is read with them, and has no influence.
    pub unsafe fn new(origin: *const u8, axes: Vec<Extent>) -> Self {
        assert!(axes.len() >= 2);
        let bytes = axes.iter().fold(size_of::<T>(), |bytes, axis| bytes.saturating_mul(axis.len));
        let distance = if bytes < CACHED { Distance::Away } else { Distance::Beyond };
        Source { origin, axes, distance, lent: PhantomData }
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
            distance: self.distance,
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
        backend.run(Gather { rows, cols, from, step, pitch, distance: self.distance });
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
    distance: Distance,
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
        let Gather { rows, cols, from, pitch, distance, .. } = self;
        let step = STEP * size_of::<T>();
        // The bytes of a row, from its first voxel to its last.
        let bytes = (cols - 1) * step + size_of::<T>();
        let panel = Panel { origin: from, pitch, rows: rows.len() / cols, cols: bytes, distance, lent: PhantomData };
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
