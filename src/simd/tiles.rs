//! Strided memory, made safe: where voxels are written.
//!
//! [`Tiles`] cuts all mips of a call into disjoint tiles and hands each to one thread only, so that a [`Tile`] can lend
//! panels to write into. Outputs without a unit stride are written to a scratch panel and scattered.

use super::seam::Seam;
use super::stage::Stage;
use super::views::{Extent, PanelMut, Place, Span, Voxel, fits, place};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_mm_sfence;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows of fewer bytes that do not lie one behind the other are written through the cache: past it, lines that are not written whole
/// cost many times more.
const LONG: isize = 1024;
/// Rows of fewer bytes are written through the cache rather than staged: if a mip is all that is made of the input, they have no time for another copy;
/// if there are several, they have.
const STAGED: isize = 256;
const STAGED_BESIDE: isize = 64;
/// Rows of as many bytes are written line by line through the cache, too, if there are several mips: parts of lines cost twice as much where
/// rows are written by turns.
const JOINED: isize = 256;

/// One output array and how the tiles divide it.
pub struct Target {
    /// First voxel.
    pub origin: *mut u8,
    /// Its axes, in the order of the source's.
    pub axes: Vec<Extent>,
    /// Extent of a tile along each axis; the last tile of an axis may be shorter.
    pub tile: Vec<usize>,
    /// Whether rows are written past the cache.
    pub streams: bool,
}

/// All outputs of a call, cut into tiles that no two threads share.
///
/// Tile `t` of an axis holds the indices `t * tile .. (t + 1) * tile` of every mip, so different tiles are disjoint
/// in each mip, and every tile is handed out once.
pub struct Tiles<'a, T> {
    targets: Vec<Target>,
    counts: Vec<usize>,
    next: AtomicUsize,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: threads reach the memory only through `Tile`s, which are disjoint (see above).
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: as a `&mut [T]`.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T: Voxel> Tiles<'a, T> {
    /// The outputs `targets`, `counts` tiles along each axis.
    ///
    /// # Safety
    /// For `'a`, every index within a target's axes leads to a writable `T` (aligned or not), no two indices of a
    /// target to overlapping memory, no two targets overlap, and nobody else reads or writes there.
    pub unsafe fn new(targets: Vec<Target>, counts: Vec<usize>) -> Self {
        for target in &targets {
            assert!(target.axes.len() == counts.len() && target.tile.len() == counts.len() && counts.len() >= 2);
        }
        Tiles { targets, counts, next: AtomicUsize::new(0), lent: PhantomData }
    }

    /// Outputs in slices, each from one of its voxels on, one behind the other along `targets[i].axes` or further apart.
    ///
    /// # Panics
    /// If a target begins elsewhere, or the axes lead out of the slice, or it overlaps itself.
    pub fn of_slices(slices: &'a mut [Vec<T>], targets: Vec<Target>, counts: Vec<usize>) -> Self {
        assert!(slices.len() == targets.len());
        for (slice, target) in slices.iter().zip(&targets) {
            let begins = |rest: &[T]| rest.as_ptr().cast() == target.origin.cast_const();
            let first = (0..slice.len()).find(|&first| begins(&slice[first..])).expect("a voxel of the slice");
            assert!(fits::<T>(&target.axes, slice.len() - first));
            let mut axes: Vec<Extent> = target.axes.iter().copied().filter(|axis| axis.len > 1).collect();
            axes.sort_by_key(|axis| axis.stride);
            let mut reach = size_of::<T>();
            for axis in axes {
                assert!(axis.stride.unsigned_abs() >= reach);
                reach += (axis.len - 1) * axis.stride.unsigned_abs();
            }
        }
        // SAFETY: the slices are borrowed mutably for 'a, and the axes neither leave them nor overlap.
        unsafe { Tiles::new(targets, counts) }
    }

    /// How many tiles there are.
    pub fn len(&self) -> usize {
        self.counts.iter().product()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A worker's place among the tiles; it holds none until [`Tile::advance`].
    pub fn worker(&self) -> Tile<'_, T> {
        Tile { tiles: self, at: vec![usize::MAX; self.counts.len()] }
    }
}

/// The tile a thread works on.
pub struct Tile<'t, T> {
    tiles: &'t Tiles<'t, T>,
    at: Vec<usize>,
}

impl<T: Voxel> Tile<'_, T> {
    /// Goes on to the next tile that nobody has had; false when there is none.
    pub fn advance(&mut self) -> bool {
        let mut number = self.tiles.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.tiles.len() {
            self.at.fill(usize::MAX);
            return false;
        }
        for (at, &count) in self.at.iter_mut().zip(&self.tiles.counts) {
            *at = number % count;
            number /= count;
        }
        true
    }

    /// Where the tile stands along each axis, counted in tiles.
    pub fn at(&self) -> &[usize] {
        &self.at
    }

    /// Lets `fill` write the rows of `region` of output `mip`: as they lie, or into `scratch`, scattered afterwards.
    #[inline]
    pub fn write(
        &mut self,
        mip: usize,
        region: &[Span],
        scratch: &mut Vec<T>,
        fill: impl FnOnce(&mut PanelMut<'_, T>),
    ) {
        let mut panel = self.open(mip, region, scratch, true);
        fill(&mut panel);
        panel.close();
        if !panel.direct {
            self.scatter(mip, region, scratch);
        }
    }

    /// As [`Tile::write`], of the first mips at once: the rows of `regions[mip]` for each.
    pub fn write_all(
        &mut self,
        regions: &[Vec<Span>],
        scratch: &mut [Vec<T>],
        fill: impl FnOnce(&mut [PanelMut<'_, T>]),
    ) {
        match regions {
            [] => fill(&mut []),
            [region] => self.write(0, region, &mut scratch[0], |panel| fill(std::slice::from_mut(panel))),
            _ => {
                let each = regions.iter().zip(&mut *scratch).enumerate();
                let mut panels: Vec<_> =
                    each.map(|(mip, (region, scratch))| self.open(mip, region, scratch, false)).collect();
                fill(&mut panels);
                panels.iter_mut().for_each(PanelMut::close);
                if panels.iter().any(|panel| !panel.direct) {
                    drop(panels);
                    regions.iter().zip(scratch).enumerate().for_each(|(mip, (region, s))| self.scatter(mip, region, s));
                }
            }
        }
    }

    /// Where `region` lies in its mip; it is inside the tile.
    #[inline]
    fn find(&self, mip: usize, region: &[Span]) -> (&Target, Place) {
        let target = &self.tiles.targets[mip];
        for (((span, &at), &tile), axis) in region.iter().zip(&self.at).zip(&target.tile).zip(&target.axes) {
            let first = at.checked_mul(tile).expect("a tile that was handed out");
            assert!(span.start >= first && span.start + span.len <= first.saturating_add(tile).min(axis.len));
        }
        (target, place::<T>(target.origin as usize, &target.axes, region))
    }

    /// The rows of `region` as they lie, through `scratch` or not, or as many in it; `alone`: it is the only mip. The caller opens one region of a mip
    /// at a time.
    #[inline]
    fn open<'s>(&self, mip: usize, region: &[Span], scratch: &'s mut Vec<T>, alone: bool) -> PanelMut<'s, T> {
        let (target, Place { offset, direct }) = self.find(mip, region);
        let (cols, rows, pitch) = (region[0].len, region[1].len, target.axes[1].stride);
        if !direct {
            scratch.resize(rows * cols, T::default());
            return PanelMut::dense(scratch, cols);
        }
        let bytes = (cols * size_of::<T>()) as isize;
        // SAFETY: the region was checked against the extents that `new` was promised.
        let origin: *mut T = unsafe { target.origin.offset(offset) }.cast();
        // Rows of whole vectors are written past the caches by the kernels.
        let ragged = bytes % 64 != 0 || !origin.addr().is_multiple_of(16);
        let dense = pitch == bytes;
        let staged = target.streams && dense && bytes >= if alone { STAGED } else { STAGED_BESIDE } && ragged;
        let past = target.streams && (dense || bytes >= LONG);
        let joined = past || (!alone && dense && bytes >= JOINED);
        PanelMut {
            origin,
            pitch: pitch / size_of::<T>() as isize,
            rows,
            cols,
            seam: joined.then_some(Seam::new(past)),
            direct: true,
            // SAFETY: the rows lie one behind the other from the aligned `origin` on, and the panel lends no others.
            stage: staged.then(|| unsafe { Stage::new(scratch, cols, origin) }),
            lent: PhantomData,
        }
    }

    /// Scatters what was written to `scratch`, if it was.
    #[cold]
    fn scatter(&self, mip: usize, region: &[Span], scratch: &[T]) {
        let (target, Place { offset, direct }) = self.find(mip, region);
        if direct {
            return;
        }
        let (step, pitch) = (target.axes[0].stride, target.axes[1].stride);
        for (j, row) in scratch.chunks_exact(region[0].len).enumerate() {
            // SAFETY: row j is inside the region, which was checked and is this tile's alone.
            unsafe {
                let to = target.origin.offset(offset + j as isize * pitch);
                row.iter().enumerate().for_each(|(i, &v)| to.offset(i as isize * step).cast::<T>().write_unaligned(v));
            }
        }
    }
}

impl<T> Drop for Tile<'_, T> {
    fn drop(&mut self) {
        // Stores past the cache are not ordered with others: let them arrive before anybody is told that the work is done.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: part of every x86-64.
        unsafe {
            _mm_sfence();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(lens: &[usize], strides: &[isize]) -> Vec<Extent> {
        lens.iter().zip(strides).map(|(&len, &stride)| Extent { len, stride }).collect()
    }

    #[test]
    fn every_tile_is_handed_out_once_and_writes_scatter() {
        let mut voxels = vec![0u16; 10];
        let target = Target {
            origin: voxels.as_mut_ptr().cast(),
            axes: axes(&[5, 1], &[4, 20]),
            tile: vec![2, 1],
            streams: false,
        };
        // SAFETY: every second of ten voxels, in three tiles.
        let tiles = unsafe { Tiles::<u16>::new(vec![target], vec![3, 1]) };
        let mut tile = tiles.worker();
        let mut seen = Vec::new();
        while tile.advance() {
            let first = tile.at()[0] * 2;
            seen.push(tile.at()[0]);
            let region = [Span { start: first, len: 2.min(5 - first) }, Span { start: 0, len: 1 }];
            tile.write(0, &region, &mut Vec::new(), |panel| panel.row_mut(0).voxels.fill(first as u16 + 1));
        }
        assert!(!tile.advance());
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(voxels, [1, 0, 1, 0, 3, 0, 3, 0, 5, 0]);
    }

    #[test]
    #[should_panic]
    fn a_write_outside_of_the_tile_is_refused() {
        let mut voxels = vec![0u16; 4];
        let target = Target {
            origin: voxels.as_mut_ptr().cast(),
            axes: axes(&[4, 1], &[2, 8]),
            tile: vec![2, 1],
            streams: false,
        };
        // SAFETY: four voxels in two tiles.
        let tiles = unsafe { Tiles::<u16>::new(vec![target], vec![2, 1]) };
        let mut tile = tiles.worker();
        assert!(tile.advance());
        let region = [Span { start: 1, len: 2 }, Span { start: 0, len: 1 }];
        tile.write(0, &region, &mut Vec::new(), |panel| panel.row_mut(0).voxels.fill(1));
    }
}
