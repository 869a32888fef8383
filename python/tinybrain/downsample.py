"""Image pyramids of volumes: average, mode, min and max pooling, and striding.

The public functions: each checks its arguments, chooses between the kernels and numpy (`explain` tells
which), and allocates what it returns. What is computed, and how fast, is decided in the Rust module
``tinybrain._native``.

All functions share these rules. A *factor* says how many voxels along each axis make one voxel of the next
mip; it may be shorter than the image's rank, and missing entries are 1. Extents are divided and rounded up.
Any rank, memory order, strides and byte order is welcome; inputs are never written to, and results have the
input's memory order.

A `dask.array.Array` is welcome too (``pip install "tinybrain[dask]"``): the mips are then lazy dask arrays of the same
numbers. One task per block makes all its mips from one read. Blocks begin at multiples of ``factor**num_mips``; where
chunks don't, their borders are moved to the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from tinybrain._arguments import Array, Factor
from tinybrain._call import METHODS, Call, Route, pyramid
from tinybrain._countless import (
    DimensionError,
    countless,
    countless2d,
    countless3d,
    downsample_segmentation_2d,
    downsample_with_averaging_numpy,
    odd_to_even2d,
    stippled_countless2d,
)

__all__ = [
    "DimensionError",
    "Route",
    "countless",
    "countless2d",
    "countless3d",
    "downsample_segmentation",
    "downsample_segmentation_2d",
    "downsample_with_averaging",
    "downsample_with_averaging_numpy",
    "downsample_with_max_pooling",
    "downsample_with_min_pooling",
    "downsample_with_striding",
    "explain",
    "odd_to_even2d",
    "stippled_countless2d",
]


def downsample_with_averaging(
    img: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    sparse: bool | np.bool_ = False,
    *,
    exact: bool | np.bool_ = False,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of means.

    Parameters
    ----------
    img : array_like or dask.array.Array, shape (n0, n1, ...)
        The image; bool, integers, floats or complex numbers, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip, such as ``(2, 2, 1)``.
    num_mips : int
        Number of mips.
    sparse : bool
        Leave background (zero) out: the mean of the voxels that aren't 0, and 0 where there are none. NaN
        counts as a value, -0.0 as background.
    exact : bool
        Let every mip be the mean of the voxels of `img` that exist in its cell of ``factor**k``, rounded to the nearest
        (see Notes); any factor and any size.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no
        memory. Not for dask arrays.
    parallel : int
        Number of threads; 0 means all cores this process may use, and one in a task on a dask array, as the
        scheduler has the cores. Results are the same for every value.

    Returns
    -------
    list of ndarray, or of dask.array.Array
        Mip 1 first; shapes (ceil(n0 / f0), ceil(n1 / f1), ...), dtype of `img`. With a factor of all ones,
        `img` itself `num_mips` times.

    Raises
    ------
    TypeError
        For dtypes without a mean (object, strings, records, datetimes) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative
        `num_mips` or `parallel`, arrays in `out` that can't be filled, dask arrays of unknown shape; and, unless
        `exact`, where two or three axes are pooled by 2, for extents from 1 to ``2**num_mips - 1`` along them.

    Notes
    -----
    *Rounding.* Integer sums are exact, and carried from mip to mip; a mip is the quotient truncated toward
    zero. With two pooled axes of factor 2, 8- and 16-bit integers restart from the written mip after every 4
    mips; with three, 8-bit integers after every 8 and 16-bit integers after every 5. Floats are rounded
    once per mip: float32 is summed in float64, float64 in pairs of float64 (D. E. Knuth, TAOCP 2, 4.2.2). bool: True
    where any voxel is.

    With `exact`, sums are never truncated, and a mip is the quotient rounded to the nearest integer, ties to even:
    brightness doesn't drift. Floats are divided once, bool is True above one half.

    *Edge.* If all pooled axes have factor 2, a lone trailing row, column or slice counts twice, at every
    level. With any other factor, or `exact`, a voxel is the mean of those voxels of `img` that exist in its cell.

    A pyramid by repeated means of 2x2 cells is the classic of L. Williams, "Pyramidal parametrics", SIGGRAPH
    1983.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> img = np.arange(16, dtype=np.uint8).reshape(4, 4)
    >>> tinybrain.downsample_with_averaging(img, (2, 2), num_mips=2)
    [array([[ 2,  4],
           [10, 12]], dtype=uint8), array([[7]], dtype=uint8)]
    >>> tinybrain.downsample_with_averaging(img * (img > 9), (2, 2), sparse=True)[0]
    array([[ 0,  0],
           [12, 12]], dtype=uint8)
    >>> tinybrain.downsample_with_averaging(img, (2, 2), num_mips=2, exact=True)[1]
    array([[8]], dtype=uint8)
    """
    return pyramid("averaging", img, factor, num_mips, out, parallel, sparse, exact)


def downsample_segmentation(
    img: npt.ArrayLike,
    factor: Factor,
    sparse: bool | np.bool_ = False,
    num_mips: SupportsIndex = 1,
    *,
    exact: bool | np.bool_ = False,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of the most frequent labels.

    Parameters
    ----------
    img : array_like or dask.array.Array, shape (n0, n1, ...)
        The labels: bool, integers, floats, complex numbers or datetimes of 1, 2, 4 or 8 bytes. They are compared by
        their bits, so 0, -1 and the largest value are labels like any other, and so is -0.0.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip, such as ``(2, 2, 2)``.
    sparse : bool
        Leave background (all bits zero) out where a cell holds anything else.
    num_mips : int
        Number of mips.
    exact : bool
        Let every mip be the most frequent label of the voxels of `img` that exist in its cell of ``factor**k``, the
        smallest of equally frequent ones; any factor. For bool and integers. With `sparse`, background isn't counted.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no
        memory. Not for dask arrays.
    parallel : int
        Number of threads; 0 means all cores this process may use, and one in a task on a dask array, as the
        scheduler has the cores. Results are the same for every value.

    Returns
    -------
    list of ndarray, or of dask.array.Array
        Mip 1 first; shapes (ceil(n0 / f0), ceil(n1 / f1), ...), dtype of `img`. With a factor of all ones,
        `img` itself `num_mips` times.

    Raises
    ------
    TypeError
        For other dtypes (with `exact`, for all but bool and integers) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative
        `num_mips` or `parallel`, arrays in `out` that can't be filled, and dask arrays of unknown
        shape.

    Notes
    -----
    A mip is made from the mip above it. If all entries of the factor are powers of two, every axis whose
    remaining factor is at least 2 is halved, step by step: ``(4, 4, 1)`` is two steps of ``(2, 2, 1)``. If
    any is not, the labels are strided: the first voxel of each cell, `sparse` or not.

    *Ties.* A step over exactly two axes, with a the first voxel of a cell, b one along the first of the axes,
    c one along the second, and d both: a if it equals b or c, else b if it equals c, else d. Any other step:
    the most frequent label, and of equally frequent ones the one met first in raster order (axis 0 fastest).
    With `sparse`, pairs of background don't count in the rule of pairs; where none is left it is d, or else
    the first that isn't background of a, c, b.

    *Edge.* Cells at an odd edge are decided by the voxels that exist.

    *Exact.* A mode of modes is not the mode of the labels; with `exact`, every mip is. Cells that aren't uniform carry
    lists of their labels while the call runs: up to a quarter of the memory of `img` for labels that all differ, at
    (2, 2, 2) and 5 mips, and more for larger cells, if they hold more labels.

    The rule for 2x2 cells is the one of W. Silversmith, "Countless: high performance 2x downsampling of
    labeled images using Python and Numpy", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> labels = np.array([[7, 7, 0, 0], [7, 9, 0, 5]], dtype=np.uint64)
    >>> tinybrain.downsample_segmentation(labels, (2, 2))[0]
    array([[7, 0]], dtype=uint64)
    >>> tinybrain.downsample_segmentation(labels, (2, 2), sparse=True)[0]
    array([[7, 5]], dtype=uint64)
    >>> tinybrain.downsample_segmentation(labels, (2, 3), exact=True)[0]
    array([[7, 0]], dtype=uint64)
    """
    return pyramid("segmentation", img, factor, num_mips, out, parallel, sparse, exact)


def downsample_with_min_pooling(
    array: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    *,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of minima.

    Parameters
    ----------
    array : array_like or dask.array.Array, shape (n0, n1, ...)
        The image: bool, integers, floats or datetimes, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no
        memory. Not for dask arrays.
    parallel : int
        Number of threads; 0 means all cores this process may use, and one in a task on a dask array, as the
        scheduler has the cores.

    Returns
    -------
    list of ndarray, or of dask.array.Array
        Mip 1 first; mip k holds the minimum of the voxels of `array` that exist in each cell of
        ``factor**k``. NaN propagates, as in `numpy.minimum`.

    Raises
    ------
    TypeError
        For dtypes without an order (complex, object, strings, records) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative
        `num_mips` or `parallel`, arrays in `out` that can't be filled, and dask arrays of unknown
        shape.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_min_pooling(np.array([5, 3, 8, 7, 9]), (2,))[0]
    array([3, 7, 9])
    """
    return pyramid("min", array, factor, num_mips, out, parallel, name="array")


def downsample_with_max_pooling(
    array: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    *,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of maxima.

    Parameters
    ----------
    array : array_like or dask.array.Array, shape (n0, n1, ...)
        The image: bool, integers, floats or datetimes, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no
        memory. Not for dask arrays.
    parallel : int
        Number of threads; 0 means all cores this process may use, and one in a task on a dask array, as the
        scheduler has the cores.

    Returns
    -------
    list of ndarray, or of dask.array.Array
        Mip 1 first; mip k holds the maximum of the voxels of `array` that exist in each cell of
        ``factor**k``. NaN propagates, as in `numpy.maximum`.

    Raises
    ------
    TypeError
        For dtypes without an order (complex, object, strings, records) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative
        `num_mips` or `parallel`, arrays in `out` that can't be filled, and dask arrays of unknown
        shape.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_max_pooling(np.array([5, 3, 8, 7, 9]), (2,))[0]
    array([5, 8, 9])
    """
    return pyramid("max", array, factor, num_mips, out, parallel, name="array")


def downsample_with_striding(array: npt.ArrayLike, factor: Factor, num_mips: SupportsIndex = 1) -> list[Array]:
    """Make a pyramid of the first voxel of every cell, without copying.

    Parameters
    ----------
    array : array_like or dask.array.Array, shape (n0, n1, ...)
        The image, of any dtype.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.

    Returns
    -------
    list of ndarray, or of dask.array.Array
        Views of `array`, mip 1 first: ``array[::f0, ::f1, ...]``, repeated; of blocks of a dask array, copies. With
        a factor of all ones, `array` itself `num_mips` times.

    Raises
    ------
    TypeError
        For arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative `num_mips`,
        and dask arrays of unknown shape.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_striding(np.arange(9), (2,), num_mips=2)
    [array([0, 2, 4, 6, 8]), array([0, 4, 8])]
    """
    return Call("striding", array, factor, num_mips).run()


def explain(
    img: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    sparse: bool | np.bool_ = False,
    *,
    method: str = "averaging",
    exact: bool | np.bool_ = False,
    parallel: SupportsIndex = 0,
) -> Route:
    """Tell how a call would be computed: by which kernel, with which instructions, or why not by a kernel.

    Set the environment variable ``TINYBRAIN_STRICT=1`` to make every call that would leave the kernels for
    numpy an error.

    Parameters
    ----------
    img : array_like or dask.array.Array
        The image or labels. Of a dask array, the route is that of its largest block.
    factor, num_mips, sparse, exact, parallel
        As in the call.
    method : {"averaging", "segmentation", "min", "max", "striding"}
        The function.

    Returns
    -------
    Route
        Nothing is computed.

    Raises
    ------
    TypeError, ValueError
        As the call would; `ValueError` for an unknown method.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.explain(np.zeros((64, 64), np.uint8), (2, 2), method="averaging").kernel
    'mean, sums in 16 bits'
    >>> print(tinybrain.explain(np.zeros((64, 64), np.float16), (2, 2)))
    numpy: mean (numpy, 1 thread); there is no kernel for float16
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}; accepted are {', '.join(METHODS)}")
    return Call(method, img, factor, num_mips, None, parallel, sparse, exact).route()
