//! Labels of single cells, and rows of labels compared: what exact modes look at.

use super::{Lanes, Vector};
use crate::simd::lines::{Line, announce};
use crate::simd::{Found, Label, PIECE, SIDE};

/// The labels of the first `n` voxels, the first one first, if they are few: whether they are.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn tell_apart<L: Lanes>(cell: &[L::Label; PIECE], n: usize, found: &mut Found<L::Label>) -> bool {
    let mut left = u64::MAX >> (PIECE - n);
    // Two labels first, without a look at whether there is a second: nearly always there is, and mostly no third.
    // SAFETY: the caller has the instructions.
    let first = unsafe { next_label::<L>(cell, n, &mut left) };
    let mut second = (first.0, 0);
    if left > 0 {
        // SAFETY: as above.
        second = unsafe { next_label::<L>(cell, n, &mut left) };
    }
    found.start(first, second);
    // Labels that all differ are not told apart one by one.
    if left.count_ones() as usize > n - n / 8 {
        return false;
    }
    while left > 0 {
        // SAFETY: as above.
        let (label, count) = unsafe { next_label::<L>(cell, n, &mut left) };
        if !found.push(label, count) {
            return false;
        }
    }
    true
}

/// The first label that is `left`, and how often it is there.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
unsafe fn next_label<L: Lanes>(cell: &[L::Label; PIECE], n: usize, left: &mut u64) -> (L::Label, u64) {
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let label = cell[left.trailing_zeros() as usize % PIECE];
    let mut equal = 0;
    for i in (0..n).step_by(lanes) {
        // SAFETY: the caller has the instructions, and a cell is a whole number of vectors.
        let mask = unsafe { L::bits(L::equal(L::V::load(cell.as_ptr().add(i)), L::splat(label))) };
        equal |= mask << i;
    }
    equal &= *left;
    *left ^= equal;
    (label, equal.count_ones().into())
}

/// Where the labels are among the first `n` voxels, if these make a vector: nothing, if they don't.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn find<L: Lanes, const N: usize>(
    voxels: &[L::Label],
    n: usize,
    labels: &[L::Label; N],
) -> Option<[u64; N]> {
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let (n, last) = (n.min(voxels.len()).min(PIECE), voxels.len().checked_sub(lanes)?);
    let mut found = [0; N];
    // SAFETY: at <= last, so that at + lanes <= voxels.len(); the caller has the instructions.
    unsafe {
        let labels = labels.map(|label| L::splat(label));
        for i in (0..n).step_by(lanes) {
            // The last vector may begin earlier, with voxels that were seen.
            let at = i.min(last);
            let v = L::V::load(voxels.as_ptr().add(at));
            for (found, &label) in found.iter_mut().zip(&labels) {
                *found |= L::bits(L::equal(v, label)) << at;
            }
        }
    }
    Some(found.map(|found| found & u64::MAX >> (PIECE - n.max(1))))
}

/// How often each label is there in the `width` columns of rows from `first` on, if these are whole vectors.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn count_rows<L: Lanes, const N: usize>(
    rows: &[&[L::Label]],
    first: usize,
    width: usize,
    labels: &[L::Label; N],
) -> Option<[u64; N]> {
    let lanes = L::V::BYTES / size_of::<L::Label>();
    if !width.is_multiple_of(lanes) {
        return None;
    }
    let mut counts = [0; N];
    // SAFETY: the part of each row is a slice of whole vectors; the caller has the instructions.
    unsafe {
        let labels = labels.map(|label| L::splat(label));
        let mut sums = [L::V::zero(); N];
        let one = L::splat(std::hint::black_box(L::Label::from(1)));
        for row in rows {
            for piece in row[first..first + width].chunks_exact(lanes) {
                let v = L::V::load(piece.as_ptr());
                for ((sum, count), &label) in sums.iter_mut().zip(&mut counts).zip(&labels) {
                    let equal = L::equal(v, label);
                    // Wide lanes do not overflow.
                    if size_of::<L::Label>() >= 4 {
                        *sum = L::add(*sum, one, equal);
                    } else {
                        *count += u64::from(L::bits(equal).count_ones());
                    }
                }
            }
        }
        let mut of_lanes = [L::Label::ZERO; 64];
        for (count, sum) in counts.iter_mut().zip(sums) {
            sum.store(of_lanes.as_mut_ptr());
            *count += of_lanes[..lanes].iter().map(|&of_lane| of_lane.into()).sum::<u64>();
        }
    }
    Some(counts)
}

/// Where lines differ and labels change, if they are longer than a vector: whether they are.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub unsafe fn compare<L: Lanes>(lines: &[Line<'_, L::Label>], differs: &mut [u64], changes: &mut [u64]) -> bool {
    let lanes = L::V::BYTES / size_of::<L::Label>();
    let first = lines[0].voxels;
    let mut len = first.len().min(64 * differs.len()).min(64 * changes.len());
    for line in lines {
        len = len.min(line.voxels.len());
    }
    if len <= lanes {
        return false;
    }
    // A vector that begins a column later has to be in the line too.
    let full = (len - 1) / lanes * lanes;
    // A few lines at once: rows of a power of two bytes lie in the same few places of the first cache.
    let (side, more) = lines.split_at(SIDE.min(lines.len()));
    // SAFETY: at + lanes + 1 <= len, by `full`; 1 <= last and last + lanes <= len; the caller has the instructions.
    unsafe {
        for (w, (differs, changes)) in differs.iter_mut().zip(&mut *changes).enumerate() {
            (*differs, *changes) = (0, 0);
            for at in (64 * w..full.min(64 * w + 64)).step_by(lanes) {
                announce(side, at, L::V::BYTES);
                let stays = L::equal(L::V::load(first.as_ptr().add(at)), L::V::load(first.as_ptr().add(at + 1)));
                *differs |= differ::<L>(first, side, at) << (at % 64);
                *changes |= unlike::<L>(stays) << (at % 64);
            }
        }
        for side in more.chunks(SIDE) {
            for (w, differs) in differs.iter_mut().enumerate() {
                for at in (64 * w..full.min(64 * w + 64)).step_by(lanes) {
                    announce(side, at, L::V::BYTES);
                    *differs |= differ::<L>(first, side, at) << (at % 64);
                }
            }
        }
        let last = len - lanes;
        let stays = L::equal(L::V::load(first.as_ptr().add(last - 1)), L::V::load(first.as_ptr().add(last)));
        set(differs, last, differ::<L>(first, lines, last));
        set(changes, last - 1, unlike::<L>(stays));
    }
    true
}

/// Sets bits from column `at` on.
#[inline(always)]
pub(super) fn set(words: &mut [u64], at: usize, bits: u64) {
    words[at / 64] |= bits << (at % 64);
    if let (Some(word), Some(bits)) = (words.get_mut(at / 64 + 1), bits.checked_shr(64 - at as u32 % 64)) {
        *word |= bits;
    }
}

/// The labels that are not in the mask.
///
/// # Safety
/// Needs the instructions.
#[inline(always)]
pub(super) unsafe fn unlike<L: Lanes>(mask: L::Mask) -> u64 {
    // SAFETY: the caller has the instructions.
    unsafe { L::bits(mask) ^ u64::MAX >> (64 - L::V::BYTES / size_of::<L::Label>()) }
}

/// Where lines differ from the first one, in the vector from column `at` on.
///
/// # Safety
/// Needs the instructions; so long are the lines.
#[inline(always)]
unsafe fn differ<L: Lanes>(first: &[L::Label], lines: &[Line<'_, L::Label>], at: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let labels = L::V::load(first.as_ptr().add(at));
        let mut same = L::equal(labels, labels);
        for line in lines {
            same = L::and(same, L::equal(labels, L::V::load(line.voxels.as_ptr().add(at))));
        }
        unlike::<L>(same)
    }
}
