//! Sums in the types that hold them, and what they are divided by.

use super::{Noise, Volume, fill, indices, mips, noise};
use crate::averaging;
use crate::grid::Array;
use crate::simd::Backend;
use crate::simd::views::Extent;

#[test]
fn sums_wider_than_needed_give_the_same_means() {
    fn check<T: averaging::Average + PartialEq + std::fmt::Debug>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        let input = noise([67, 33, 9], [0, 1, 2], 1, voxel);
        let kinds =
            [([2, 2, 1], false, false), ([2, 2, 1], false, true), ([2, 2, 2], true, false), ([3, 2, 1], true, true)];
        for (factor, sparse, exact) in kinds {
            let call = |backend, widths| {
                let mut out = mips(input.shape, [0, 1, 2], factor, 6);
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                let mut plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, 6, sparse, exact);
                assert!(plan.widths <= widths);
                plan.widths = widths;
                fill(&input, &mut out, &plan.grid, |source, tiles| {
                    plan.run(backend, source, tiles, 1, &|| false).unwrap();
                });
                out.into_iter().map(|mip| mip.voxels).collect::<Vec<_>>()
            };
            let planned = averaging::Plan::new::<T>(&input.array(), &[], &factor, 6, sparse, exact).widths;
            for backend in Backend::all() {
                for &wider in T::WIDTHS.iter().filter(|&&widths| widths > planned) {
                    assert_eq!(call(backend, wider), call(backend, planned), "{backend:?} {factor:?} {wider:?}");
                }
            }
        }
    }
    check::<u8>(|noise| [255, noise.below(256) as u8][usize::from(noise.below(50) == 0)]);
    check::<i8>(|noise| [-128, noise.below(256) as i8][usize::from(noise.below(50) == 0)]);
    check::<i16>(|noise| noise.below(65536) as i16);
    check::<u32>(|noise| noise.below(1 << 32) as u32);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<i64>(|noise| [0, i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(4) as usize]);
}

#[test]
fn sums_are_as_wide_as_the_largest_cell_needs() {
    let widths = |lens: &[usize], mips| {
        let axes = lens.iter().map(|&len| Extent { len, stride: 8 }).collect();
        let source = Array { origin: std::ptr::null_mut(), axes };
        let factor = vec![2; lens.len()];
        let of = |exact| averaging::Plan::new::<u64>(&source, &[], &factor, mips, false, exact).widths;
        assert_eq!(of(true), of(false));
        of(true)
    };
    assert_eq!(widths(&[1 << 20, 1 << 20, 1 << 20], 10), (96, 96));
    assert_eq!(widths(&[1 << 20, 1 << 20, 1 << 20], 11), (128, 128));
    assert_eq!(widths(&[1 << 20, 1 << 12], 40), (96, 96));
    assert_eq!(widths(&[1 << 20, (1 << 12) + 1], 40), (128, 128));
}

/// Sparse means by (2, 2, 2) of cells that hold `values[i]` each, on every backend.
fn sparse_means<T: averaging::Average>(values: &[[T; 8]]) -> Vec<(Backend, Vec<T>)> {
    let mut input = Volume::new([2 * values.len(), 2, 2], [0, 1, 2], 1);
    for (i, cell) in values.iter().enumerate() {
        for (&voxel, at) in cell.iter().zip(indices([2, 2, 2])) {
            let place = input.place([2 * i + at[0], at[1], at[2]]);
            input.voxels[place] = voxel;
        }
    }
    let one = |backend| {
        let mut out = mips(input.shape, [0, 1, 2], [2, 2, 2], 1);
        let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
        let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &[2, 2, 2], 1, true, false);
        fill(&input, &mut out, &plan.grid, |source, tiles| {
            plan.run(backend, source, tiles, 1, &|| false).unwrap();
        });
        (backend, out.remove(0).voxels)
    };
    Backend::all().into_iter().map(one).collect()
}

/// A cell of `count` voxels whose sum is `sum`, none of them 0 while there is enough.
fn cell_of(count: u32, sum: u32, most: u32) -> [u32; 8] {
    let mut cell = [0; 8];
    let mut left = sum;
    for (i, voxel) in cell.iter_mut().take(count as usize).enumerate() {
        let others = count - 1 - i as u32;
        *voxel = most.min(left.saturating_sub(others));
        left -= *voxel;
    }
    assert!(left == 0 || sum < count);
    cell
}

#[test]
fn every_quotient_of_a_sum_of_bytes_by_a_count_is_truncated() {
    let all = (1..=8u32).flat_map(|count| (count..=255 * count).map(move |sum| (count, sum)));
    let (cells, wanted): (Vec<[u8; 8]>, Vec<u8>) =
        all.map(|(count, sum)| (cell_of(count, sum, 255).map(|v| v as u8), (sum / count) as u8)).unzip();
    for (backend, means) in sparse_means(&cells) {
        assert!(means == wanted, "{backend:?}");
    }
}

#[test]
fn quotients_of_sums_of_words_are_truncated_on_both_sides_of_every_integer() {
    let all = (1..=8u32).flat_map(|count| {
        (1..=65535u32)
            .flat_map(move |mean| [count * mean, (count * mean + count - 1).min(count * 65535)].map(|s| (count, s)))
    });
    let (cells, wanted): (Vec<[u16; 8]>, Vec<u16>) =
        all.map(|(count, sum)| (cell_of(count, sum, 65535).map(|v| v as u16), (sum / count) as u16)).unzip();
    for (backend, means) in sparse_means(&cells) {
        assert!(means == wanted, "{backend:?}");
    }
}
