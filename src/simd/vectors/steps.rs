//! Every so manieth voxel of a row: interleaved channels, of which one is wanted.

use super::Vector;
use crate::simd::lines::{Line, announce};
use crate::simd::views::Voxel;

/// The most voxels from one that is wanted to the next.
const MOST: usize = 4;

/// Of the bytes of a vector of voxels: which are in the k-th of the vectors that they are taken from, and where.
struct Places {
    own: [[u8; 64]; MOST],
    order: [[u8; 64]; MOST],
}

impl Places {
    /// The voxels at `place`, `place + step` ... of as many vectors as the step.
    const fn new(step: usize, bytes: usize, size: usize, place: usize) -> Self {
        let mut places = Places { own: [[0; 64]; MOST], order: [[0; 64]; MOST] };
        let mut byte = 0;
        while byte < bytes {
            let from = (byte / size * step + place) * size + byte % size;
            places.own[from / bytes][byte] = 0xff;
            places.order[from / bytes][byte] = (from % bytes) as u8;
            byte += 1;
        }
        places
    }
}

/// Copies the voxels of a line of bytes that begin with the first one and are `STEP` voxels apart, if they are more than a vector:
/// how many.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn every<V: Vector, T: Voxel, const STEP: usize>(line: Line<'_, u8>, row: &mut [T]) -> usize {
    let size = size_of::<T>();
    let (lanes, len) = (V::BYTES / size, row.len());
    if len <= lanes || line.voxels.len() < (STEP * (len - 1) + 1) * size {
        return 0;
    }
    let (from, to) = (line.voxels.as_ptr(), row.as_mut_ptr());
    let at = |i: usize| STEP * i * size;
    // SAFETY: i + lanes < len: all vectors end before the last voxel does, but for the last of them, which ends with it.
    unsafe {
        let places = const { &Places::new(STEP, V::BYTES, size_of::<T>(), 0) };
        let (own, order) = load_all::<V>(places);
        for i in (0..(len - 1) / lanes * lanes).step_by(lanes) {
            announce(&[line], at(i), STEP * V::BYTES);
            picked::<V, STEP>(from.add(at(i)), &own, &order).store(to.add(i));
        }
        // The last vector may hold voxels once more.
        let places = const { &Places::new(STEP, V::BYTES, size_of::<T>(), STEP - 1) };
        let (own, order) = load_all::<V>(places);
        let i = len - lanes;
        picked::<V, STEP>(from.add(at(i) - (STEP - 1) * size), &own, &order).store(to.add(i));
    }
    len
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn load_all<V: Vector>(places: &Places) -> ([V; MOST], [V::Order; MOST]) {
    // SAFETY: the caller has the instructions; no vector is longer than 64 bytes.
    unsafe {
        let (mut own, mut order) = ([V::zero(); MOST], [V::order(&places.order[0]); MOST]);
        for k in 0..MOST {
            own[k] = V::load(places.own[k].as_ptr());
            order[k] = V::order(&places.order[k]);
        }
        (own, order)
    }
}

/// # Safety
/// Needs the instructions; `STEP` vectors at `from` may be read.
#[inline(always)]
unsafe fn picked<V: Vector, const STEP: usize>(from: *const u8, own: &[V; MOST], order: &[V::Order; MOST]) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let mut all = V::load(from).reorder(order[0]);
        for k in 1..STEP {
            all = V::load(from.add(k * V::BYTES)).reorder(order[k]).select(own[k], all);
        }
        all
    }
}
