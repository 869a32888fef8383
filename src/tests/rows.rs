//! Rows of every length, and what lies between them.

use super::{Noise, Volume, fill, indices, mips, noise};
use crate::grid::Array;
use crate::simd::Backend;
use crate::{averaging, extrema, mode};

#[test]
fn rows_of_every_length_come_out_the_same_on_every_backend() {
    fn check<T: averaging::Average + extrema::Ordered + PartialEq + std::fmt::Debug>(
        voxel: impl Fn(&mut Noise) -> T + Copy,
    ) {
        for width in 1..=150 {
            for (factor, count) in
                [([2, 2, 1], 2), ([2, 2, 2], 1), ([1, 2, 2], 2), ([2, 1, 1], 1), ([3, 2, 1], 1), ([7, 1, 1], 1)]
            {
                // Three rows of whole cells, and a lone one.
                let input = noise([width, 7, 4], [0, 1, 2], 1, voxel);
                let call = |backend, kind: usize| {
                    let mut out = mips(input.shape, [0, 1, 2], factor, count);
                    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                    if kind < 2 {
                        let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, count, kind == 1, false);
                        fill(&input, &mut out, &plan.grid, |source, tiles| {
                            plan.run(backend, source, tiles, 1, &|| false).unwrap();
                        });
                    } else {
                        let end = if kind == 2 { extrema::Extremum::Min } else { extrema::Extremum::Max };
                        let plan = extrema::Plan::new::<T>(&input.array(), &arrays, &factor, count, end);
                        fill(&input, &mut out, &plan.grid, |source, tiles| {
                            plan.run(backend, source, tiles, 1, &|| false).unwrap();
                        });
                    }
                    out.into_iter().map(|mip| mip.voxels).collect::<Vec<_>>()
                };
                for kind in 0..4 {
                    let scalar = call(Backend::all()[0], kind);
                    for backend in Backend::all() {
                        assert_eq!(call(backend, kind), scalar, "{backend:?} {width} {factor:?} {kind}");
                    }
                }
            }
        }
    }
    check::<u8>(|noise| [0, 1, 254, 255, noise.below(256) as u8][noise.below(5) as usize]);
    check::<i8>(|noise| [0, -1, -128, 127, noise.below(256) as u8 as i8][noise.below(5) as usize]);
    check::<u16>(|noise| [0, 1, 65535, noise.below(65536) as u16][noise.below(4) as usize]);
    check::<i16>(|noise| [0, -1, i16::MIN, i16::MAX, noise.below(65536) as u16 as i16][noise.below(5) as usize]);
    check::<u32>(|noise| [0, 1, u32::MAX, noise.below(1 << 32) as u32][noise.below(4) as usize]);
    check::<i32>(|noise| [0, -1, i32::MIN, i32::MAX, noise.below(1 << 32) as u32 as i32][noise.below(5) as usize]);
    check::<u64>(|noise| [0, 1, u64::MAX, noise.below(u64::MAX)][noise.below(4) as usize]);
    check::<i64>(|noise| [0, -1, i64::MIN, i64::MAX, noise.below(u64::MAX) as i64][noise.below(5) as usize]);
    check::<f32>(|noise| [0.0, -0.0, f32::MAX, noise.below(1000) as f32 / 7.0][noise.below(4) as usize]);
    check::<f64>(|noise| [0.0, -0.0, 1e300, noise.below(1000) as f64 / 7.0][noise.below(4) as usize]);
}

#[test]
fn what_lies_between_the_rows_of_a_mip_stays_as_it_is() {
    const BETWEEN: u8 = 77;
    for backend in Backend::all() {
        for (width, kind) in (1..=150).flat_map(|width| (0..3).map(move |kind| (width, kind))) {
            let (shape, factor) = ([width, 6, 2], [2, 2, 1]);
            let input = noise(shape, [0, 1, 2], 1, |noise| noise.below(256) as u8);
            let mut dense = mips(shape, [0, 1, 2], factor, 2);
            let mut apart = dense.clone();
            for mip in &mut apart {
                mip.strides = [1, mip.shape[0] + 3, (mip.shape[0] + 3) * mip.shape[1]];
                mip.voxels = vec![BETWEEN; mip.strides[2] * mip.shape[2]];
            }
            for out in [&mut dense, &mut apart] {
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                if kind < 2 {
                    let plan = averaging::Plan::new::<u8>(&input.array(), &arrays, &factor, 2, kind == 1, false);
                    fill(&input, out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                } else {
                    let plan = extrema::Plan::new::<u8>(&input.array(), &arrays, &factor, 2, extrema::Extremum::Max);
                    fill(&input, out, &plan.grid, |source, tiles| {
                        plan.run(backend, source, tiles, 1, &|| false).unwrap();
                    });
                }
            }
            for (dense, apart) in dense.iter().zip(&mut apart) {
                for index in indices(dense.shape) {
                    assert_eq!(apart.at(index), dense.at(index), "{backend:?} {width} {kind} {index:?}");
                    let place = apart.place(index);
                    apart.voxels[place] = BETWEEN;
                }
                assert!(apart.voxels.iter().all(|&voxel| voxel == BETWEEN), "{backend:?} {width} {kind}");
            }
        }
    }
}

#[test]
fn rows_begin_anywhere_in_a_line_of_the_memory() {
    const AROUND: u16 = 0x4d4d;
    for (width, gap) in [(64, 0), (128, 0), (192, 0), (256, 0), (1024, 0), (96, 0), (1024, 24), (1056, 5)] {
        let (shape, factor) = ([2 * width, 12, 2], [2, 2, 1]);
        let input = noise(shape, [0, 1, 2], 1, |noise| noise.below(9) as u16);
        for kind in 0..4 {
            let count = if kind < 2 { 3 } else { 1 };
            let call = |backend, first: usize| {
                let mut out = mips(shape, [0, 1, 2], factor, count);
                for mip in &mut out {
                    let pitch = mip.shape[0] + gap;
                    (mip.first, mip.strides) = (first, [1, pitch, pitch * mip.shape[1]]);
                    mip.voxels = vec![AROUND; first + mip.strides[2] * mip.shape[2] + 64];
                }
                let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
                match kind {
                    0 | 1 => {
                        let sparse = kind == 1;
                        let plan = averaging::Plan::new::<u16>(&input.array(), &arrays, &factor, count, sparse, false);
                        fill(&input, &mut out, &plan.grid, |source, tiles| {
                            plan.run(backend, source, tiles, 1, &|| false).unwrap();
                        });
                    }
                    2 => {
                        let plan = mode::Plan::new(&input.array(), &arrays, &factor, count, false, 2);
                        fill(&input, &mut out, &plan.grid, |source, tiles| {
                            plan.run(backend, source, tiles, 1, &|| false).unwrap();
                        });
                    }
                    _ => {
                        let end = extrema::Extremum::Min;
                        let plan = extrema::Plan::new::<u16>(&input.array(), &arrays, &factor, count, end);
                        fill(&input, &mut out, &plan.grid, |source, tiles| {
                            plan.run(backend, source, tiles, 1, &|| false).unwrap();
                        });
                    }
                }
                out
            };
            let scalar = call(Backend::all()[0], 0);
            for (backend, first) in Backend::all().into_iter().flat_map(|b| (0..40).map(move |first| (b, first))) {
                for (mip, scalar) in call(backend, first).iter().zip(&scalar) {
                    let what = format!("{backend:?} {width} {gap} {kind} {first}");
                    let (before, inside) = mip.voxels.split_at(first);
                    assert!(before.iter().all(|&voxel| voxel == AROUND), "{what}");
                    assert!(inside == scalar.voxels, "{what}");
                }
            }
        }
    }
}
