//! Minima and maxima of whole cells.

use super::{Lanes, Order, Out, Padded, Vector, length, next};
use crate::simd::lines::{Line, announce, announce_again};
use crate::simd::views::{Row, Voxel};

type OrderedOf<O> = <<O as Order>::Lanes as Lanes>::V;

/// Minima or maxima of cells of `FX` (1 or 2) columns, set or folded onto what is there, and written to `out` if it is given; without ends, only
/// there.
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
    let lanes = OrderedOf::<O>::BYTES / size_of::<T>();
    let len = out.as_ref().map_or(ends.len(), |out| out.voxels.len());
    assert!(len <= length(lines) / FX && (ends.len() == len || (ends.is_empty() && !ADD)));
    // SAFETY: the caller has the instructions; lines hold `FX` numbers for each end, or are padded to `FX` vectors.
    unsafe {
        if len < lanes {
            let mut room = Padded::new();
            let lines = &room.fill::<OrderedOf<O>, T, FX>(lines);
            extrema_of::<O, T, A, FX, ADD, MAX, ROWS, true>(lines, len, ends, out);
        } else {
            extrema_of::<O, T, A, FX, ADD, MAX, ROWS, false>(lines, len, ends, out);
        }
    }
    len
}

/// As [`extrema`], of rows of `len` that are `SHORT`, less than a vector, or not.
///
/// # Safety
/// Needs the instructions. Lines hold `FX` numbers for each result, or if these are short, for a vector of them; ends and row are as long as they
/// should.
#[inline(always)]
unsafe fn extrema_of<
    O: Order,
    T: Voxel,
    A: Voxel,
    const FX: usize,
    const ADD: bool,
    const MAX: bool,
    const ROWS: usize,
    const SHORT: bool,
>(
    lines: &[Line<'_, T>; ROWS],
    len: usize,
    ends: &mut [A],
    out: Option<Row<'_, T>>,
) {
    const { assert!((FX == 1 || FX == 2) && ROWS >= 1) };
    const { assert!(size_of::<T>() == size_of::<<O::Lanes as Lanes>::Label>() && size_of::<T>() == size_of::<A>()) };
    let lanes = OrderedOf::<O>::BYTES / size_of::<T>();
    let (full, keep) = (len / lanes * lanes, !ends.is_empty());
    // A closure may not be inlined into the function that has the instructions.
    #[allow(clippy::manual_map)]
    let mut out = match out {
        // SAFETY: the caller has the instructions.
        Some(row) => Some(unsafe { Out::<_, OrderedOf<O>, SHORT>::new(row, full) }),
        None => None,
    };
    // SAFETY: the caller has the instructions.
    let mut ends = unsafe { Out::<_, OrderedOf<O>, SHORT>::new(Row::new(ends), full) };
    let mut next_i = 0;
    while let Some(i) = next(next_i, lanes, if SHORT { lanes } else { len }) {
        next_i += lanes;
        announce(lines, FX * i, FX * OrderedOf::<O>::BYTES);
        // SAFETY: the caller's promise.
        unsafe {
            let mut end = ends_of::<O, T, FX, MAX>(lines[0].voxels.as_ptr().add(FX * i), lanes);
            for line in &lines[1..] {
                end = pick::<O, MAX>(end, ends_of::<O, T, FX, MAX>(line.voxels.as_ptr().add(FX * i), lanes));
            }
            if ADD {
                end = pick::<O, MAX>(ends.get(i), end);
            }
            announce_again(lines, FX * i, FX * OrderedOf::<O>::BYTES);
            if keep {
                ends.put(i, end);
            }
            if let Some(out) = &mut out {
                out.put(i, end);
            }
        }
    }
    if let Some(out) = out {
        // SAFETY: the caller has the instructions; all of the row was put.
        unsafe { out.close() };
    }
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
