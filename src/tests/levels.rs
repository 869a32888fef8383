//! Mips that are made several at once, row by row: they are those that the scalar backend makes one after the other.

use super::{Index, Noise, Volume, fill, mips, noise};
use crate::averaging::{self, Average};
use crate::grid::Array;
use crate::simd::Backend;

#[test]
fn mips_made_row_by_row_are_those_made_one_after_the_other() {
    fn check<T: Average + PartialEq>(voxel: impl Fn(&mut Noise) -> T + Copy) {
        // Rows with cells left over, of level 1, 2 and 3, and that need more than one panel.
        let widths = (64..=72).chain([127, 128, 129, 130, 131, 190, 256, 257, 261, 513]);
        let shapes = widths.flat_map(|width| [[width, 4, 1], [width, 7, 3], [width, 13, 2], [width, 37, 9]]);
        for shape in shapes.chain([[300, 1025, 2], [131, 2051, 3]]) {
            for factor in [[2, 2, 1], [2, 2, 2], [1, 2, 2], [1, 2, 1]] {
                let input = noise(shape, [0, 1, 2], 1, voxel);
                for (count, sparse, exact) in [(2, false, false), (5, false, false), (4, true, false), (4, false, true)]
                {
                    let scalar = means(Backend::all()[0], &input, factor, count, sparse, exact);
                    for &backend in &Backend::all()[1..] {
                        let same = means(backend, &input, factor, count, sparse, exact) == scalar;
                        assert!(same, "{backend:?} {shape:?} {factor:?} {count} {sparse} {exact}");
                    }
                }
            }
        }
    }
    check_ends::<u8>(|noise| [0, 0, 255, noise.below(256) as u8][noise.below(4) as usize]);
    check_ends::<u16>(|noise| [0, 65535, noise.below(65536) as u16][noise.below(3) as usize]);
    check_ends::<f64>(|noise| [0.0, 1e9, noise.below(1000) as f64 / 7.0][noise.below(3) as usize]);
    check::<u8>(|noise| [0, 0, 255, noise.below(256) as u8][noise.below(4) as usize]);
    check::<i8>(|noise| [0, -128, 127, noise.below(256) as u8 as i8][noise.below(4) as usize]);
    check::<u16>(|noise| [0, 0, 65535, noise.below(65536) as u16][noise.below(4) as usize]);
    check::<i32>(|noise| [0, i32::MIN, i32::MAX, noise.below(1 << 32) as i32][noise.below(4) as usize]);
    check::<u64>(|noise| [0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]);
    check::<f32>(|noise| [0.0, -0.0, 3.5, noise.below(1000) as f32][noise.below(4) as usize]);
    check::<f64>(|noise| [0.0, -0.0, 1e200, noise.below(1000) as f64 / 7.0][noise.below(4) as usize]);
}

#[test]
fn short_rows_of_large_mips_are_those_of_the_scalar_backend() {
    fn check<T: Average + PartialEq + From<u8>>(width: usize) {
        let shape = [width, 516, 330];
        // Rows on whole lines of the memory or not, of mips that are written past the caches.
        let input = noise(shape, [0, 1, 2], 1, |noise| T::from(noise.below(256) as u8));
        let scalar = means(Backend::all()[0], &input, [1, 2, 2], 3, false, false);
        for &backend in &Backend::all()[1..] {
            assert!(means(backend, &input, [1, 2, 2], 3, false, false) == scalar, "{backend:?} {width}");
        }
    }
    check::<u8>(100);
    check::<u8>(128);
    check::<u16>(75);
}

/// Axes that end: cells of the first levels have two columns, those of the others one, or two rows and then one.
fn check_ends<T: Average + PartialEq>(voxel: impl Fn(&mut Noise) -> T + Copy) {
    for (inner, rows) in [2, 4, 8, 16].into_iter().flat_map(|inner| [20, 33, 64].map(|rows| (inner, rows))) {
        for (shape, factor) in [
            ([inner, rows, 16], [2, 1, 2]),
            ([inner, rows, 37], [2, 1, 2]),
            ([16 * rows, inner, 9], [2, 2, 1]),
            ([16 * rows, inner, 9], [1, 2, 2]),
        ] {
            let input = noise(shape, [0, 1, 2], 1, voxel);
            for (count, sparse, exact) in [(3, false, false), (5, false, true), (4, true, false), (6, true, false)] {
                let scalar = means(Backend::all()[0], &input, factor, count, sparse, exact);
                for &backend in &Backend::all()[1..] {
                    let same = means(backend, &input, factor, count, sparse, exact) == scalar;
                    assert!(same, "{backend:?} {shape:?} {factor:?} {count} {sparse} {exact}");
                }
            }
        }
    }
}

fn means<T: Average>(
    backend: Backend,
    input: &Volume<T>,
    factor: Index,
    count: usize,
    sparse: bool,
    exact: bool,
) -> Vec<Vec<T>> {
    let mut out = mips(input.shape, [0, 1, 2], factor, count);
    let arrays: Vec<Array> = out.iter().map(Volume::array).collect();
    let plan = averaging::Plan::new::<T>(&input.array(), &arrays, &factor, count, sparse, exact);
    fill(input, &mut out, &plan.grid, |source, tiles| plan.run(backend, source, tiles, 1, &|| false).unwrap());
    out.into_iter().map(|mip| mip.voxels).collect()
}
