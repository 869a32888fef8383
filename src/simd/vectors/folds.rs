//! Lines of a cell added up, as many as there are.
//!
//! The last vector of a row overlaps the one before. It is made first and written last: until then nothing is added to what it
//! is added to.

use super::means::{cells, pair_of};
use super::{Pairs, Sums, Vector, VectorOf, length, set_or_add};
use crate::simd::lines::{Line, announce, announce_again};

/// Where the last vector of a row of `len` is, if it is not one of those that lie one behind the other.
#[inline(always)]
pub fn ragged(len: usize, lanes: usize) -> Option<usize> {
    (len > lanes && !len.is_multiple_of(lanes)).then(|| len - lanes)
}

/// How many of a row of `len` are done by vectors.
#[inline(always)]
pub fn done(len: usize, lanes: usize) -> usize {
    if len < lanes { 0 } else { len }
}

/// Calls `$walk` for the number of lines, `0` for more than two.
macro_rules! by_lines {
    ($lines:ident, $walk:ident::<$($p:tt),*>($($arg:expr),*)) => {
        match $lines.len() {
            1 => $walk::<$($p,)* 1>($lines, $($arg),*),
            2 => $walk::<$($p,)* 2>($lines, $($arg),*),
            _ => $walk::<$($p,)* 0>($lines, $($arg),*),
        }
    };
}

/// Sums (`COUNT`: counts) of cells of `FX` (1 or 2) columns of any number of lines, set or added.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn sums<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [P::Wide],
) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe { by_lines!(lines, sums_of::<P, FX, ADD, COUNT>(sums)) }
}

/// # Safety
/// Needs the instructions; there are `N` lines, or any number if that is 0.
#[inline(always)]
unsafe fn sums_of<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [P::Wide],
) -> usize {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / FX);
    let origin = sums.as_mut_ptr();
    // SAFETY: FX (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let last = match ragged(len, lanes) {
            Some(i) => Some((i, onto::<P, FX, ADD, COUNT, N>(lines, i, origin.add(i)))),
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            let (low, high) = onto::<P, FX, ADD, COUNT, N>(lines, i, origin.add(i));
            low.store(origin.add(i));
            high.store(origin.add(i + lanes / 2));
        }
        if let Some((i, (low, high))) = last {
            low.store(origin.add(i));
            high.store(origin.add(i + lanes / 2));
        }
    }
    done(len, lanes)
}

/// The sums of the vector of cells at `i`, twice as wide as voxels, `ADD`ed to those at `to`: a pair of lines after the other.
///
/// # Safety
/// Needs the instructions; `FX` vectors from `FX i` on are within the lines, and two at `to` may be read.
#[inline(always)]
unsafe fn onto<P: Pairs, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    i: usize,
    to: *const P::Wide,
) -> (VectorOf<P>, VectorOf<P>) {
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let pair = &lines[..2.min(lines.len())];
        announce(pair, FX * i, FX * VectorOf::<P>::BYTES);
        let (mut low, mut high) = match (N, lines) {
            (1, &[a]) => cells::<P, FX, COUNT, 1>(&[a], i),
            (2.., &[a, b]) => cells::<P, FX, COUNT, 2>(&[a, b], i),
            (_, &[a, b, ..]) => cells::<P, FX, COUNT, 2>(&[a, b], i),
            _ => unreachable!("there are lines"),
        };
        if ADD {
            low = P::Sums::plus(VectorOf::<P>::load(to), low);
            high = P::Sums::plus(VectorOf::<P>::load(to.add(lanes / 2)), high);
        }
        announce_again(pair, FX * i, FX * VectorOf::<P>::BYTES);
        if N == 0 {
            for pair in lines[2..].chunks(2) {
                announce(pair, FX * i, FX * VectorOf::<P>::BYTES);
                let (a, b) = pair_of::<P, FX, COUNT>(pair, FX * i, lanes);
                (low, high) = (P::Sums::plus(low, a), P::Sums::plus(high, b));
                announce_again(pair, FX * i, FX * VectorOf::<P>::BYTES);
            }
        }
        (low, high)
    }
}

/// As [`sums`], in a type twice as wide again: the lines are added up in `P`'s, which hold as many as there are, and the sums in `Q`'s.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn wider_sums<P, Q, const FX: usize, const ADD: bool, const COUNT: bool>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [Q::Wide],
) -> usize
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    // SAFETY: the caller has the instructions.
    unsafe { by_lines!(lines, wider_of::<P, Q, FX, ADD, COUNT>(sums)) }
}

/// # Safety
/// As of [`sums_of`].
#[inline(always)]
unsafe fn wider_of<P, Q, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    sums: &mut [Q::Wide],
) -> usize
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    let len = sums.len().min(length(lines) / FX);
    let origin = sums.as_mut_ptr();
    // SAFETY: FX (i + lanes) <= line.len() and i + lanes <= sums.len(), by `len`.
    unsafe {
        let last = match ragged(len, lanes) {
            Some(i) => Some((i, wider_onto::<P, Q, FX, ADD, COUNT, N>(lines, i, origin.add(i)))),
            None => None,
        };
        for i in (0..len / lanes * lanes).step_by(lanes) {
            let all = wider_onto::<P, Q, FX, ADD, COUNT, N>(lines, i, origin.add(i));
            store_parts(all, origin.add(i), lanes / 4);
        }
        if let Some((i, all)) = last {
            store_parts(all, origin.add(i), lanes / 4);
        }
    }
    done(len, lanes)
}

/// # Safety
/// As of [`onto`], but that four vectors at `to` may be read.
#[inline(always)]
unsafe fn wider_onto<P, Q, const FX: usize, const ADD: bool, const COUNT: bool, const N: usize>(
    lines: &[Line<'_, P::Voxel>],
    i: usize,
    to: *const Q::Wide,
) -> [VectorOf<P>; 4]
where
    P: Pairs,
    Q: Pairs<Voxel = P::Wide, Sums: Sums<V = VectorOf<P>>>,
{
    let lanes = VectorOf::<P>::BYTES / size_of::<P::Voxel>();
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = onto::<P, FX, false, COUNT, N>(lines, i, std::ptr::null());
        let ((a, b), (c, d)) = (Q::widen(low), Q::widen(high));
        let mut all = [a, b, c, d];
        if ADD {
            for (k, sums) in all.iter_mut().enumerate() {
                *sums = Q::Sums::plus(VectorOf::<P>::load(to.add(k * (lanes / 4))), *sums);
            }
        }
        all
    }
}

/// # Safety
/// Needs the instructions; `N` vectors at `to` are the caller's to write.
#[inline(always)]
pub unsafe fn store_parts<V: Vector, A, const N: usize>(all: [V; N], to: *mut A, part: usize) {
    for (k, sums) in all.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { sums.store(to.add(k * part)) };
    }
}

/// Calls `$walk` for the number of lines.
macro_rules! side_by_side {
    ($lines:ident, $walk:ident::<$($p:tt),*>($($arg:expr),*)) => {
        match *$lines {
            [a] => $walk::<$($p,)* 1>(&[a], $($arg),*),
            [a, b] => $walk::<$($p,)* 2>(&[a, b], $($arg),*),
            _ => 0,
        }
    };
}

/// Sums of neighbouring sums, set or added.
///
/// # Safety
/// Needs the instructions; `A` is the type of the sums.
#[inline(always)]
pub unsafe fn adjacent_sums<S: Sums, A, const ADD: bool>(lines: &[Line<'_, A>], sums: &mut [A]) -> usize {
    // SAFETY: the caller has the instructions.
    unsafe { side_by_side!(lines, adjacent_of::<S, A, ADD>(sums)) }
}

/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn adjacent_of<S: Sums, A, const ADD: bool, const ROWS: usize>(
    lines: &[Line<'_, A>; ROWS],
    sums: &mut [A],
) -> usize {
    const { assert!(S::V::BYTES.is_multiple_of(size_of::<A>())) };
    let lanes = S::V::BYTES / size_of::<A>();
    let full = sums.len().min(length(lines) / 2) / lanes * lanes;
    for i in (0..full).step_by(lanes) {
        announce(lines, 2 * i, 2 * S::V::BYTES);
        // SAFETY: 2 i + 2 lanes <= line.len() and i + lanes <= sums.len(), by `full`.
        unsafe {
            let from = lines[0].voxels.as_ptr().add(2 * i);
            let (mut a, mut b) = (S::V::load(from), S::V::load(from.add(lanes)));
            for line in &lines[1..] {
                let from = line.voxels.as_ptr().add(2 * i);
                (a, b) = (S::plus(a, S::V::load(from)), S::plus(b, S::V::load(from.add(lanes))));
            }
            set_or_add::<S, _, ADD>(sums.as_mut_ptr().add(i), S::adjacent(a, b));
        }
    }
    full
}
