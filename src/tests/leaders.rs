//! Exact modes of many mips, by leaders: volumes of blocks, of noise, and of both.

use super::{Index, Noise, Volume, cell, fill, indices, mips};
use crate::exact_mode::Plan;
use crate::grid::Array;
use crate::simd::{Backend, Label};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Blocks of labels with grains in them, and noise from slice `noisy` on.
fn blocks<T: Label>(shape: Index, grain: usize, noisy: usize, label: impl Fn(u64) -> T) -> Volume<T> {
    let mut random = Noise(0x2545_f491_4f6c_dd1d);
    let mut volume = Volume::new(shape, [0, 1, 2], 1);
    for index in indices(shape) {
        let [x, y, z] = [0, 1, 2].map(|a| index[a] / grain);
        let number = match random.below(12) {
            _ if index[2] >= noisy => random.below(300),
            0 => random.below(60),
            _ => (x * x + 3 * y + 5 * z) as u64 % 23,
        };
        let place = volume.place(index);
        volume.voxels[place] = label(number);
    }
    volume
}

fn mode_of<T: Label>(cell: Vec<T>, signed: bool, sparse: bool) -> T {
    let mut counts = BTreeMap::new();
    for label in cell.into_iter().filter(|&label| !sparse || label != T::ZERO) {
        *counts.entry(if signed { label ^ T::TOP } else { label }).or_insert(0) += 1;
    }
    let mode = counts.into_iter().max_by_key(|&(key, count)| (count, Reverse(key)));
    mode.map_or(T::ZERO, |(key, _)| if signed { key ^ T::TOP } else { key })
}

fn check<T: Label + std::fmt::Debug>(input: &Volume<T>, factor: Index, count: usize, signed: bool, sparse: bool) {
    let mut want: Vec<Vec<T>> = Vec::new();
    for backend in Backend::all() {
        let mut out = mips(input.shape, [0, 1, 2], factor, count);
        let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
        let plan = Plan::new(&input.array(), &arrays, &factor, count, sparse, signed, size_of::<T>());
        fill(input, &mut out, &plan.grid, |source, tiles| {
            plan.run(backend, source, tiles, 1, &|| false).unwrap();
        });
        if want.is_empty() {
            let powers = std::iter::successors(Some(factor), |power| Some([0, 1, 2].map(|a| power[a] * factor[a])));
            let mode = |index, power| mode_of(cell(input, index, power), signed, sparse);
            let mip = |(mip, power): (&Volume<T>, _)| indices(mip.shape).map(|index| mode(index, power)).collect();
            want = out.iter().zip(powers).map(mip).collect();
        }
        for ((mip, want), k) in out.iter().zip(&want).zip(1..) {
            let got: Vec<T> = indices(mip.shape).map(|index| mip.at(index)).collect();
            assert!(got == *want, "{backend:?} {:?} {factor:?} {signed} {sparse} mip {k} of {count}", input.shape);
        }
    }
}

#[test]
fn exact_modes_of_many_mips_are_those_of_the_input() {
    for grain in [3, 9, 40] {
        // Without noise, with some panels of it, and with nothing else.
        for noisy in [usize::MAX, 4, 0] {
            for sparse in [false, true] {
                let wide = blocks([131, 70, 9], grain, noisy, |number| number << 40 | number);
                check::<u64>(&wide, [2, 2, 1], 5, false, sparse);
                check::<u64>(&wide, [2, 2, 2], 4, false, sparse);
                check::<u64>(&wide, [1, 2, 2], 4, false, sparse);
                check::<u64>(&wide, [8, 8, 4], 1, false, sparse);
                let narrow = blocks([37, 66, 40], grain, noisy, |number| (number as u32).wrapping_mul(0x9e37_79b9));
                check::<u32>(&narrow, [2, 2, 2], 5, true, sparse);
                check::<u32>(&narrow, [2, 1, 1], 6, true, sparse);
                check::<u32>(&narrow, [8, 8, 8], 1, true, sparse);
            }
        }
        // More voxels in a cell than are looked at again.
        let deep = blocks([68, 66, 70], grain, 40, |number| number as u32);
        check::<u32>(&deep, [2, 2, 2], 6, false, true);
    }
}
