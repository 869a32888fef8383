//! Minima and maxima of whole cells.

use super::{Lanes, Order, Out, Vector, again, length, next};
use crate::simd::lines::Line;
use crate::simd::views::{Row, Voxel};

type OrderedOf<O> = <<O as Order>::Lanes as Lanes>::V;

/// Minima or maxima of cells of `FX` (1 or 2) columns, set or folded onto what is there, and written to `out` if it is given.
///
/// # Safety
/// Needs the instructions; `T` and `A` hold what `O` compares.
#[inline(always)]
pub unsafe fn extrema<
    O: Order,
    T: Voxel,
    A: Voxel,
    const FX: usize,
    const ADD: bool,
    const MAX: bool,
    const ROWS: usize,
>(
    lines: &[Line<'_, T>; ROWS],
    ends: &mut [A],
    out: Option<Row<'_, T>>,
) -> usize {
    const { assert!((FX == 1 || FX == 2) && ROWS >= 1) };
    const { assert!(size_of::<T>() == size_of::<<O::Lanes as Lanes>::Label>() && size_of::<T>() == size_of::<A>()) };
    let lanes = OrderedOf::<O>::BYTES / size_of::<T>();
    let len = ends.len().min(length(lines) / FX);
    let out = out.map(|row| {
        assert!(row.voxels.len() >= len);
        Out::new(row, len / lanes * lanes)
    });
    let (mut next_i, mut done) = (0, 0);
    while let Some(i) = next(next_i, lanes, len) {
        lines.iter().for_each(|line| line.announce(FX * i, FX * OrderedOf::<O>::BYTES));
        // SAFETY: i + lanes <= len, and FX len numbers are in each line, len in the ends and in the row.
        unsafe {
            let at = ends.as_mut_ptr().add(i);
            let mut end = ends_of::<O, T, FX, MAX>(lines[0].voxels.as_ptr().add(FX * i), lanes);
            for line in &lines[1..] {
                end = pick::<O, MAX>(end, ends_of::<O, T, FX, MAX>(line.voxels.as_ptr().add(FX * i), lanes));
            }
            if ADD {
                end = pick::<O, MAX>(OrderedOf::<O>::load(at), end);
            }
            again(lines, FX * i, FX * OrderedOf::<O>::BYTES);
            end.store(at);
            if let Some(out) = &out {
                out.put(i, end);
            }
        }
        (next_i, done) = (next_i + lanes, len);
    }
    done
}

/// # Safety
/// Needs the instructions; `FX` vectors at `from` may be read.
#[inline(always)]
unsafe fn ends_of<O: Order, T, const FX: usize, const MAX: bool>(from: *const T, lanes: usize) -> OrderedOf<O> {
    // SAFETY: the caller's promise.
    unsafe {
        let a = OrderedOf::<O>::load(from);
        if FX == 1 {
            return a;
        }
        let (even, odd) = O::Lanes::part(a, OrderedOf::<O>::load(from.add(lanes)));
        pick::<O, MAX>(even, odd)
    }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn pick<O: Order, const MAX: bool>(a: OrderedOf<O>, b: OrderedOf<O>) -> OrderedOf<O> {
    // SAFETY: the caller has the instructions.
    unsafe { if MAX { O::greatest(a, b) } else { O::least(a, b) } }
}
