//! Rows as vectors see them: where each vector of a row is, how it is written, and what is read instead of lines that are too short for one.

use super::Vector;
use crate::simd::lines::Line;
use crate::simd::seam::Seam;
use crate::simd::views::{Row, Voxel};
use std::mem::MaybeUninit;

/// Where the next vector is: behind the last one, and if there is less than a vector left, as much over again as makes one
/// full. For loops that may do a voxel twice.
#[inline(always)]
pub fn next(i: usize, lanes: usize, len: usize) -> Option<usize> {
    if i + lanes <= len {
        Some(i)
    } else if i < len && lanes <= len {
        Some(len - lanes)
    } else {
        None
    }
}

/// Where vectors of a row are written: line by line, and past the caches, if the row wants it and is made of whole vectors; a rest
/// would be slower than what it saves. What is behind a row that is `SHORT`, less than a vector, stays as it is.
pub struct Out<'a, T, V: Vector, const SHORT: bool> {
    origin: *mut T,
    len: usize,
    /// If it is written line by line: vectors are, from so many bytes before the row on, each with the end of the one before.
    seam: Option<&'a Seam>,
    past: bool,
    before: usize,
    shift: V::Shift,
    first: V,
    last: V,
}

impl<'a, T: Voxel, V: Vector, const SHORT: bool> Out<'a, T, V, SHORT> {
    /// Of the row, `full` voxels are full vectors.
    ///
    /// # Safety
    /// Needs the instructions.
    #[inline(always)]
    pub unsafe fn new(row: Row<'a, T>, full: usize) -> Self {
        let (origin, len) = (row.voxels.as_mut_ptr(), row.voxels.len());
        let before = origin.addr() % V::BYTES;
        let seam = row.seam.filter(|_| !SHORT && len == full && full > 0 && before.is_multiple_of(V::STEP));
        // SAFETY: the caller has the instructions.
        let (shift, zero) = unsafe { (V::shift(if seam.is_some() { before } else { 0 }), V::zero()) };
        Out { origin, len, seam, past: seam.is_some_and(|seam| seam.past), before, shift, first: zero, last: zero }
    }

    /// Bytes of a vector from voxel `i` on that are in the row, if it is short.
    #[inline(always)]
    fn left(&self, i: usize) -> usize {
        (self.len.saturating_sub(i) * size_of::<T>()).min(V::BYTES)
    }

    /// # Safety
    /// Needs the instructions; a vector from voxel `i` on is within the row, or it is short. Those of a row that is written line by line come one after
    /// the other.
    #[inline(always)]
    pub unsafe fn put(&mut self, i: usize, v: V) {
        let at = self.origin.wrapping_add(i);
        // SAFETY: the caller's promise; of a short row no more than is left.
        unsafe {
            if SHORT {
                v.store_few(at, self.left(i));
            } else if self.seam.is_none() {
                v.store(at);
            } else {
                if i == 0 {
                    self.first = v;
                } else {
                    v.behind(self.last, self.shift).put(at.wrapping_byte_sub(self.before), self.past);
                }
                self.last = v;
            }
        }
    }

    /// The first half of a vector of a row that isn't made of whole ones.
    ///
    /// # Safety
    /// As [`Out::put`], of half a vector.
    #[inline(always)]
    pub unsafe fn put_half(&mut self, i: usize, v: V) {
        const { assert!(!SHORT) };
        // SAFETY: the caller's promise.
        unsafe { v.store_half(self.origin.wrapping_add(i)) };
    }

    /// The row is done.
    ///
    /// # Safety
    /// Needs the instructions. All vectors of the row were put, and the seam is settled before anybody else has it.
    #[inline(always)]
    pub unsafe fn close(self) {
        if let Some(seam) = self.seam {
            let (bytes, ends) = (self.len * size_of::<T>(), [self.first, self.last]);
            // SAFETY: the caller's promise; the row is made of whole vectors, by `new`.
            unsafe { seam.join(self.origin.cast(), bytes, self.before, ends, self.shift) };
        }
    }

    /// What is there, and zeros behind a short row.
    ///
    /// # Safety
    /// As [`Out::put`].
    #[inline(always)]
    pub unsafe fn get(&self, i: usize) -> V {
        let at = self.origin.wrapping_add(i);
        // SAFETY: as in `put`.
        unsafe { if SHORT { V::load_few(at, self.left(i)) } else { V::load(at) } }
    }
}

/// Room for lines that are shorter than what is read of them at once: up to two vectors.
#[repr(align(64))]
pub struct Padded<const ROWS: usize>([MaybeUninit<[u8; 128]>; ROWS]);

impl<const ROWS: usize> Padded<ROWS> {
    #[inline(always)]
    pub fn new() -> Self {
        Padded([const { MaybeUninit::uninit() }; ROWS])
    }

    /// The lines, with zeros behind them up to `FX` vectors.
    ///
    /// # Safety
    /// Needs the instructions.
    #[inline(always)]
    pub unsafe fn fill<V: Vector, T: Voxel, const FX: usize>(&mut self, lines: &[Line<'_, T>]) -> [Line<'_, T>; ROWS] {
        const { assert!(FX * V::BYTES <= 128 && align_of::<T>() <= 64) };
        let mut padded = [Line::here(&[]); ROWS];
        for ((padded, room), line) in padded.iter_mut().zip(&mut self.0).zip(lines) {
            let (from, bytes, room) = (line.voxels.as_ptr(), size_of_val(line.voxels), room.as_mut_ptr().cast::<u8>());
            // SAFETY: so much of the line is read, and `FX` vectors of the room, which are aligned, are written before they are lent.
            *padded = Line::here(unsafe {
                V::load_few(from, bytes.min(V::BYTES)).store(room);
                if FX == 2 {
                    V::load_few(from.wrapping_byte_add(V::BYTES), bytes.saturating_sub(V::BYTES).min(V::BYTES))
                        .store(room.add(V::BYTES));
                }
                std::slice::from_raw_parts(room.cast(), FX * V::BYTES / size_of::<T>())
            });
        }
        padded
    }
}
