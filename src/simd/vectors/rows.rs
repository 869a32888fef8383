//! Rows as vectors see them: where each vector of a row is, how it is written, and what is read instead of lines that are too short for one.

use super::Vector;
use crate::simd::lines::Line;
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

/// Where vectors of a row are written: past the caches, if the row wants it and that can be done vector by vector; a rest
/// would be slower than what it saves. What is behind a row that is `SHORT`, less than a vector, stays as it is.
pub struct Out<T, const SHORT: bool> {
    origin: *mut T,
    len: usize,
    streams: bool,
}

impl<T: Voxel, const SHORT: bool> Out<T, SHORT> {
    /// Of the row, `full` voxels are full vectors.
    #[inline(always)]
    pub fn new(row: Row<'_, T>, full: usize) -> Self {
        let streams = row.streams && row.voxels.len() == full && row.voxels.as_ptr().align_offset(16) == 0;
        Out { origin: row.voxels.as_mut_ptr(), len: row.voxels.len(), streams }
    }

    /// Bytes of a vector from voxel `i` on that are in the row, if it is short.
    #[inline(always)]
    fn left<V: Vector>(&self, i: usize) -> usize {
        (self.len.saturating_sub(i) * size_of::<T>()).min(V::BYTES)
    }

    /// # Safety
    /// Needs the instructions; a vector from voxel `i` on is within the row, or it is short.
    #[inline(always)]
    pub unsafe fn put<V: Vector>(&self, i: usize, v: V) {
        let at = self.origin.wrapping_add(i);
        // SAFETY: the caller's promise; of a short row no more than is left.
        unsafe {
            if SHORT {
                v.store_few(at, self.left::<V>(i));
            } else if self.streams {
                v.stream(at);
            } else {
                v.store(at);
            }
        }
    }

    /// The first half of a vector of a row that is not short.
    ///
    /// # Safety
    /// As [`Out::put`], of half a vector.
    #[inline(always)]
    pub unsafe fn put_half<V: Vector>(&self, i: usize, v: V) {
        const { assert!(!SHORT) };
        let at = self.origin.wrapping_add(i);
        // SAFETY: the caller's promise.
        unsafe {
            if self.streams {
                v.stream_half(at);
            } else {
                v.store_half(at);
            }
        }
    }

    /// What is there, and zeros behind a short row.
    ///
    /// # Safety
    /// As [`Out::put`].
    #[inline(always)]
    pub unsafe fn get<V: Vector>(&self, i: usize) -> V {
        let at = self.origin.wrapping_add(i);
        // SAFETY: as in `put`.
        unsafe { if SHORT { V::load_few(at, self.left::<V>(i)) } else { V::load(at) } }
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
