"""What is computed of a volume, mip after mip, and what must be carried on where one read doesn't make all mips.

A pyramid is a chain of *runs* of equal factors. A run is one call in memory; the next run is a call on the last mip
of the one before. With ``exact`` there is no chain: every mip is made of the voxels of mip 0.

Between two mips the *state* is what the rest of the pyramid needs to know of the voxels so far. Often that is the mip
itself: modes, minima, maxima and strides are made from the mip before, and averages of 8- and 16-bit integers start
afresh from a mip after every truncation period. Else it is the exact sum of every cell (in limbs of 32 bits where 63
bits are too few) and, for sparse averages, how many voxels are in it. Of float64 it is the sum and what rounding took
from it; of float32 and complex numbers halved the mean, the sum divided by a power of two. Exact modes can't be
carried: they would need all labels of every cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tinybrain._arguments import mip_shapes
from tinybrain.volumes.storage import Shape

METHODS = ("average", "mode", "min", "max", "stride")
FUNCTIONS = {
    "average": "downsample_with_averaging",
    "mode": "downsample_segmentation",
    "min": "downsample_with_min_pooling",
    "max": "downsample_with_max_pooling",
    "stride": "downsample_with_striding",
}


class Part(NamedTuple):
    """One array of a state, of `limbs` numbers per voxel."""

    name: str  # "rendered", "scaled", "present", "sums" or "counts"
    dtype: str
    limbs: int = 1

    @property
    def itemsize(self) -> int:
        """Bytes per voxel."""
        return np.dtype(self.dtype).itemsize * self.limbs


class Run(NamedTuple):
    """Mips `first` + 1 to `last`, all by one factor."""

    first: int
    last: int
    factor: Shape


@dataclass(frozen=True)
class Recipe:
    """A pyramid to be made.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    factors : tuple of tuple of int
        One factor per mip, with an entry per axis.
    dtype : str
        Of the voxels, in native byte order.
    sparse, exact : bool
        As in the functions in memory.
    """

    method: str
    factors: tuple[Shape, ...]
    dtype: str
    sparse: bool = False
    exact: bool = False

    @property
    def num_mips(self) -> int:
        """Mips below mip 0."""
        return len(self.factors)

    @property
    def runs(self) -> list[Run]:
        """The runs of equal factors."""
        runs: list[Run] = []
        for mip, factor in enumerate(self.factors, 1):
            if runs and runs[-1].factor == factor:
                runs[-1] = runs[-1]._replace(last=mip)
            else:
                runs.append(Run(mip - 1, mip, factor))
        return runs

    @property
    def name(self) -> str:
        """The method in words, as the metadata has it."""
        words = {"average": "mean"}.get(self.method, self.method)
        return " ".join(["exact"] * self.exact + ["sparse"] * self.sparse + [words])

    def shapes(self, shape: Shape) -> list[Shape]:
        """Shapes of all mips, mip 0 first."""
        shapes = [shape]
        for factor in self.factors:
            shapes += mip_shapes(shapes[-1], factor, 1)
        return shapes

    def scale(self, first: int, last: int) -> Shape:
        """Voxels of mip `first` along each axis that make one of mip `last`."""
        if first == last:
            return (1,) * len(self.factors[0])
        return tuple(math.prod(entries) for entries in zip(*self.factors[first:last], strict=True))

    def run_of(self, mip: int) -> Run:
        """Return the run that makes a mip."""
        return next(run for run in self.runs if run.first < mip <= run.last)

    def halves(self, factor: Shape) -> bool:
        """Whether averages by this factor let lone trailing voxels count twice: every pooled axis is halved."""
        return self.method == "average" and not self.exact and max(factor) == 2

    def restarts(self, mip: int) -> bool:
        """Whether the mip itself is all that the next ones need."""
        if mip == 0 or self.method != "average":
            return not (self.exact and mip > 0)
        if self.exact:
            return False
        run = self.run_of(mip)
        period = self._period(run.factor)
        return mip == run.last or (period > 0 and (mip - run.first) % period == 0) or max(run.factor) == 1

    def segment_end(self, mip: int) -> int:
        """Return the mip at which the state of mip `mip`, no mip itself, ends: the next restart or the last mip."""
        return next((k for k in range(mip + 1, self.num_mips) if self.restarts(k)), self.num_mips)

    def origin(self, mip: int) -> int:
        """Return the last mip, at most `mip`, that the others start from."""
        return next(k for k in range(mip, -1, -1) if self.restarts(k))

    def state(self, mip: int) -> tuple[Part, ...] | None:
        """Return the parts of the state at a mip, or None if there is no state smaller than the voxels."""
        if self.restarts(mip):
            return (Part("rendered", self.dtype),)
        if self.method != "average":
            return None
        dtype = np.dtype(self.dtype)
        wide = "complex128" if dtype.kind == "c" else "float64"
        if dtype.kind in "fc":
            rounds = dtype == np.float64
            if self.halves(self.run_of(mip).factor) and not rounds:
                return (Part("scaled", wide), *[Part("present", "float64")] * self.sparse)
            return (Part("sums", wide, 1 + rounds), *[Part("counts", "int64")] * self.sparse)
        return (Part("sums", "int64", self.limbs), *[Part("counts", "int64")] * self.sparse)

    @property
    def limbs(self) -> int:
        """How many limbs the largest sum of integers takes: one of 63 bits, or several of 32."""
        most = max(sum(math.log2(f) for f in self.scale(run.first, run.last)) for run in self._sum_runs())
        bits = 8 * np.dtype(self.dtype).itemsize + math.ceil(most)
        return 1 if bits <= 62 else -(-(bits + 1) // 32)

    def _sum_runs(self) -> list[Run]:
        return [Run(0, self.num_mips, self.factors[0])] if self.exact else self.runs

    def _period(self, factor: Shape) -> int:
        """Mips after which 8- and 16-bit integers start afresh (0: never)."""
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "iu" or dtype.itemsize > 2 or not self.halves(factor):
            return 0
        pooled = sum(f > 1 for f in factor)
        return {2: 4, 3: 8 if dtype.itemsize == 1 else 5}.get(pooled, 0)
