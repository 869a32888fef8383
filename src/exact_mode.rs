//! Exact mode pooling: of every cell the most frequent label of the input, at every mip and by any factor; ties go to the least.
//!
//! A cell carries one label, if all its voxels have it, as nearly all cells of real volumes do for several mips; else a list of
//! its labels with their counts. Uniform cells merge without a look at any list: their labels are compared along whole rows. Lists live
//! for the panels that are pending, a few for every level, so that memory is bounded by what the cells of a tile hold.
//!
//! Cells of up to eight voxels are decided in vectors, straight from the input; lists of these are the voxels as they are, and
//! labels are told apart on the next level, where there are fewer cells.

use crate::grid::{Amounts, Array, Ascent, Edge, Grid, Interrupted, Pooling};
use crate::simd::lines::Line;
use crate::simd::tiles::{Tile, Tiles};
use crate::simd::views::{Panel, Row, Source, Span};
use crate::simd::{Backend, Cells, Isa, Kernel, Label, Rule};
use crate::tally::{Entries, Lists, Tally};
use std::ops::Range;

/// Voxels of the largest cell that vectors decide.
const SMALL: usize = 8;

/// The shape of a call of exact mode pooling.
pub struct Plan {
    /// How it walks: a level for every mip.
    pub grid: Grid,
    /// Whether background is not counted.
    pub sparse: bool,
    /// Whether labels are signed numbers, which decides ties.
    pub signed: bool,
}

impl Plan {
    /// The plan for `mips` mips of `source`, labels of `size` bytes, by `factor` (an entry per axis).
    pub fn new(
        source: &Array,
        targets: &[Array],
        factor: &[usize],
        mips: usize,
        sparse: bool,
        signed: bool,
        size: usize,
    ) -> Self {
        let outputs = (1..=mips).take(targets.len()).collect();
        // In the worst case, an entry for every voxel.
        let state = size + size_of::<u64>();
        let grid = Grid::new(source, targets, outputs, &vec![factor.to_vec(); mips], Edge::Existing, size, state);
        Plan { grid, sparse, signed }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Interrupted`] if `interrupted` said so.
    pub fn run<T: Label>(
        &self,
        backend: Backend,
        source: Source<'_, T>,
        tiles: &Tiles<'_, T>,
        threads: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), Interrupted> {
        self.grid.run(&ExactModes { plan: self, backend, source }, tiles, threads, interrupted)
    }
}

/// The pooling: keeps the cells of all children until the last has come.
struct ExactModes<'a, T> {
    plan: &'a Plan,
    backend: Backend,
    source: Source<'a, T>,
}

/// A thread's cells.
struct Levels<T> {
    levels: Vec<Level<T>>,
    work: Work<T>,
    scattered: Vec<T>,
}

/// The pending panel of a level.
struct Level<T> {
    children: Vec<Child<T>>,
    /// How many of them have come.
    come: usize,
    /// The finished panel, for the level above.
    tallied: Tallied<T>,
}

/// A child panel.
struct Child<T> {
    /// Where it is; of the input, rows are lent as they lie if they can be.
    region: Vec<Span>,
    lent: bool,
    /// Of the input, if it is not lent: the voxels.
    tallied: Tallied<T>,
}

/// A panel of cells.
#[derive(Default)]
struct Tallied<T> {
    modes: Vec<T>,
    /// 1 where a cell is not uniform; of the input, empty.
    mixed: Vec<u8>,
    /// How many lists there are before each row.
    before: Vec<usize>,
    /// Those of the cells that are not uniform, in their order.
    lists: Lists<T>,
}

/// What a thread needs on the way.
struct Work<T> {
    tally: Tally<T>,
    entries: Entries<T>,
    /// Along a row: not zero where the rows of a cell differ.
    differs: Vec<T>,
    mixed: Vec<u8>,
}

impl<T: Label> Pooling<T> for ExactModes<'_, T> {
    type Panels = Levels<T>;

    fn panels(&self) -> Levels<T> {
        let level = |_| Level { children: Vec::new(), come: 0, tallied: Tallied::default() };
        let tally = Tally::new(self.backend, self.plan.signed);
        Levels {
            levels: (1..=self.plan.grid.levels()).map(level).collect(),
            work: Work { tally, entries: Entries::default(), differs: Vec::new(), mixed: Vec::new() },
            scattered: Vec::new(),
        }
    }

    fn take(&self, panels: &mut Levels<T>, ascent: Ascent<'_>, tile: &mut Tile<'_, T>) {
        for (_, region) in ascent.siblings {
            self.absorb(panels, 1, region);
        }
        for (k, child) in ascent.children.iter().enumerate() {
            if k > 0 {
                self.absorb(panels, k + 1, &ascent.regions[k]);
            }
            if child.last {
                self.finish(panels, k + 1, &ascent.regions[k + 1], tile);
            }
        }
    }
}

impl<T: Label> ExactModes<'_, T> {
    /// Takes up the panel at `region` of level `level - 1` into the pending panel of `level`.
    fn absorb(&self, panels: &mut Levels<T>, level: usize, region: &[Span]) {
        let (lower, upper) = panels.levels.split_at_mut(level - 1);
        let Level { children, come, .. } = &mut upper[0];
        if *come == children.len() {
            children.push(Child { region: region.to_vec(), lent: false, tallied: Tallied::default() });
        }
        let child = &mut children[*come];
        *come += 1;
        child.region.copy_from_slice(region);
        match lower.last_mut() {
            None => {
                child.lent = self.source.lend(region).is_some();
                if !child.lent {
                    self.source.gather(self.backend, region, &mut child.tallied.modes);
                }
            }
            Some(below) => std::mem::swap(&mut below.tallied, &mut child.tallied),
        }
    }

    /// Ends the pending panel of `level`, which is `region`, and writes it.
    fn finish(&self, panels: &mut Levels<T>, level: usize, region: &[Span], tile: &mut Tile<'_, T>) {
        let Plan { grid, sparse, signed } = self.plan;
        let Levels { levels, work, scattered } = panels;
        let Level { children, come, tallied } = &mut levels[level - 1];
        let children: Vec<_> = children[..std::mem::take(come)].iter().map(|child| self.open(level, child)).collect();
        let goes_on = level < grid.levels();
        tallied.lists.clear();
        tallied.before.clear();
        tallied.modes.resize(if goes_on { region[0].len * region[1].len } else { 0 }, T::ZERO);
        tallied.mixed.resize(tallied.modes.len(), 0);
        // Every level is an output.
        tile.write(level - 1, region, scattered, |out| {
            if goes_on {
                out.keep();
            }
            let (fx, fy) = (grid.inner_factor(0, level), grid.inner_factor(1, level));
            let mut rows = Vec::with_capacity(fy * children.len());
            for j in 0..out.rows() {
                rows.clear();
                rows.extend(children.iter().flat_map(|child| child.rows(j * fy..(j + 1) * fy, children.len())));
                let cells = CellRow { rows: &mut rows, fx, sparse: *sparse, signed: *signed };
                let row = j * region[0].len..(j + 1) * region[0].len;
                let (mixed, lists) = if goes_on {
                    tallied.before.push(tallied.lists.count());
                    (&mut tallied.mixed[row.clone()], Some(&mut tallied.lists))
                } else {
                    (&mut [][..], None)
                };
                self.backend.run(Decide { cells, out: out.row_mut(j), mixed, lists, work });
                if goes_on {
                    tallied.modes[row].copy_from_slice(out.row_mut(j).voxels);
                }
            }
        });
    }

    /// A child of a panel of `level`, to be read.
    fn open<'c>(&'c self, level: usize, child: &'c Child<T>) -> Opened<'c, T> {
        let Child { region, lent, tallied } = child;
        let lent = if *lent { self.source.lend(region) } else { None };
        let panel = lent.unwrap_or_else(|| Panel::dense(&tallied.modes, region[0].len));
        let voxels = self.plan.grid.amounts(region, |axis, index| axis.existing(level - 1, index) as u128);
        Opened { panel, tallied: (level > 1).then_some(tallied), voxels }
    }
}

/// A child panel to be read.
struct Opened<'a, T> {
    panel: Panel<'a, T>,
    /// Nothing for the input.
    tallied: Option<&'a Tallied<T>>,
    /// How many voxels are in a cell.
    voxels: Amounts,
}

impl<T: Label> Opened<'_, T> {
    /// Those rows of a cell that exist, of so many panels that are read side by side.
    fn rows(&self, cell: Range<usize>, panels: usize) -> impl Iterator<Item = ChildRow<'_, T>> {
        let (cols, end) = (self.panel.cols(), cell.end.min(self.panel.rows()));
        let (Amounts { x, y, rest }, first) = (self.voxels, cell.start);
        (first..end).map(move |j| {
            let each = rest * if j + 1 == self.panel.rows() { y.1 } else { y.0 };
            ChildRow {
                line: self.panel.line(j, first, end - first, panels),
                tallied: self.tallied.map(|tallied| {
                    let mixed = &tallied.mixed[j * cols..(j + 1) * cols];
                    RowLists { mixed, lists: &tallied.lists, next: tallied.before[j] }
                }),
                voxels: ((each * x.0) as u64, (each * x.1) as u64),
            }
        })
    }
}

/// A row of a child.
struct ChildRow<'a, T> {
    line: Line<'a, T>,
    /// Nothing for the input.
    tallied: Option<RowLists<'a, T>>,
    /// Voxels in each of its cells but the last, and in that.
    voxels: (u64, u64),
}

/// The lists of a row's cells.
struct RowLists<'a, T> {
    mixed: &'a [u8],
    lists: &'a Lists<T>,
    /// The list of the next cell that is not uniform.
    next: usize,
}

/// A row of cells.
struct CellRow<'a, 'c, T> {
    rows: &'a mut [ChildRow<'c, T>],
    fx: usize,
    sparse: bool,
    signed: bool,
}

/// Decides a row of cells: writes their modes, and if the level above asks for them, which are mixed, and their lists.
struct Decide<'a, 'c, T> {
    cells: CellRow<'a, 'c, T>,
    out: Row<'a, T>,
    mixed: &'a mut [u8],
    lists: Option<&'a mut Lists<T>>,
    work: &'a mut Work<T>,
}

impl<T: Label> Kernel for Decide<'_, '_, T> {
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Decide { mut cells, mut out, mut mixed, mut lists, work } = self;
        let Work { tally, entries, differs, mixed: own } = work;
        let cols = out.voxels.len();
        let small = cells.in_vectors(isa, out.part(0..cols));
        if lists.is_none() {
            if small {
                return;
            }
            own.resize(cols, 0);
            mixed = own;
        }
        cells.find_mixed(small, differs, mixed);
        let first = cells.rows[0].line.voxels;
        if !small {
            out.voxels.iter_mut().zip(first.chunks(cells.fx)).for_each(|(mode, cell)| *mode = cell[0]);
        }
        for (c, eight) in mixed.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..eight.len()].copy_from_slice(eight);
            let mut left = u64::from_le_bytes(bytes);
            while left > 0 {
                let i = 8 * c + left.trailing_zeros() as usize / 8;
                left &= left - 1;
                match &mut lists {
                    Some(lists) if small => {
                        cells.gather(i, &mut lists.entries);
                        lists.close();
                    }
                    lists => {
                        entries.clear();
                        cells.gather(i, entries);
                        out.voxels[i] = tally.mode(entries, lists.as_deref_mut());
                    }
                }
            }
        }
    }
}

impl<T: Label> CellRow<'_, '_, T> {
    /// Decides the cells in vectors, if they are small, and of the input: whether they are.
    #[inline(always)]
    fn in_vectors<I: Isa>(&self, isa: I, out: Row<'_, T>) -> bool {
        let CellRow { rows, fx, sparse, signed } = self;
        let voxels = rows.len() * fx;
        if rows[0].tallied.is_some() || !voxels.is_power_of_two() || !(2..=SMALL).contains(&voxels) {
            return false;
        }
        let mut lines = [rows[0].line; SMALL];
        lines.iter_mut().zip(rows.iter()).for_each(|(line, row)| *line = row.line);
        let column_bit = match fx {
            1 => None,
            2 => Some(0),
            _ => return false,
        };
        let (lines, rule) = (&lines[..rows.len()], Rule::Least { signed: *signed });
        isa.modes(Cells { lines, column_bit, rule, sparse: *sparse }, out);
        true
    }

    /// Tells which cells are mixed; `read`: the rows have been read before.
    #[inline(always)]
    fn find_mixed(&self, read: bool, differs: &mut Vec<T>, mixed: &mut [u8]) {
        let first = self.rows[0].line.voxels;
        differs.resize(first.len(), T::ZERO);
        differs.fill(T::ZERO);
        for row in self.rows.iter() {
            let labels = if read { row.line.voxels } else { row.line.announced() };
            for ((differs, &label), &other) in differs.iter_mut().zip(labels).zip(first) {
                *differs = *differs | (label ^ other);
            }
            if let Some(RowLists { mixed, .. }) = &row.tallied {
                differs.iter_mut().zip(*mixed).for_each(|(differs, &mixed)| *differs = *differs | T::from(mixed));
            }
        }
        match self.fx {
            1 => differs_in_cells::<T, 1>(differs, first, mixed),
            2 => differs_in_cells::<T, 2>(differs, first, mixed),
            3 => differs_in_cells::<T, 3>(differs, first, mixed),
            4 => differs_in_cells::<T, 4>(differs, first, mixed),
            fx => differs.chunks(fx).zip(first.chunks(fx)).zip(mixed).for_each(|((differs, first), mixed)| {
                *mixed = u8::from(differs_in(differs, first));
            }),
        }
    }

    /// Appends the entries of cell `i`.
    #[inline(always)]
    fn gather(&mut self, i: usize, to: &mut Entries<T>) {
        let width = self.rows[0].line.voxels.len();
        let columns = self.fx * i..(self.fx * i + self.fx).min(width);
        to.reserve(self.rows.len() * columns.len());
        let there = |label| !self.sparse || label != T::ZERO;
        for row in self.rows.iter_mut() {
            let labels = &row.line.voxels[columns.clone()];
            match &mut row.tallied {
                None => labels.iter().for_each(|&label| to.push(label, 1, there(label))),
                Some(RowLists { mixed, lists, next }) => {
                    for ((column, &label), &mixed) in columns.clone().zip(labels).zip(&mixed[columns.clone()]) {
                        if mixed > 0 {
                            let (labels, counts) = lists.list(*next);
                            *next += 1;
                            to.extend(labels, counts);
                        } else {
                            let voxels = if column + 1 == width { row.voxels.1 } else { row.voxels.0 };
                            to.reserve(1);
                            to.push(label, voxels, there(label));
                        }
                    }
                }
            }
        }
    }
}

/// Whether the columns of a cell differ, or the rows of one do.
#[inline(always)]
fn differs_in<T: Label>(differs: &[T], first: &[T]) -> bool {
    differs.iter().zip(first).fold(T::ZERO, |all, (&differs, &label)| all | differs | (label ^ first[0])) != T::ZERO
}

/// As [`differs_in`], of all cells of a row: cells whose length the compiler knows, and what is left.
#[inline(always)]
fn differs_in_cells<T: Label, const FX: usize>(differs: &[T], first: &[T], mixed: &mut [u8]) {
    let ((cells, rest), (firsts, rest_firsts)) = (differs.as_chunks::<FX>(), first.as_chunks::<FX>());
    for ((differs, first), mixed) in cells.iter().zip(firsts).zip(&mut *mixed) {
        *mixed = u8::from(differs_in(differs, first));
    }
    if !rest.is_empty() {
        mixed[cells.len()] = u8::from(differs_in(rest, rest_firsts));
    }
}
