"""Names that earlier releases had for the fast paths, kept for programs that import them.

Every one is a call of `tinybrain.downsample` with its factor filled in; new code says the factor itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinybrain.downsample import downsample_segmentation, downsample_with_averaging

__all__ = ["average_pooling_2x2", "average_pooling_2x2x2", "mode_pooling_2x2", "mode_pooling_2x2x2"]


def average_pooling_2x2(
    channel: npt.ArrayLike, num_mips: int = 1, sparse: bool | np.bool_ = False
) -> list[npt.NDArray[Any]]:
    """Average over 2x2 cells of axes 0 and 1.

    Parameters
    ----------
    channel : array_like
        An image of any rank, layout and numeric dtype.
    num_mips : int
        How many mips to make.
    sparse : bool
        Leave zeros out of the averages.

    Returns
    -------
    list of numpy.ndarray
        What ``downsample_with_averaging(channel, (2, 2), num_mips, sparse)`` returns.

    Examples
    --------
    >>> average_pooling_2x2(np.array([[1, 3], [5, 8]]))[0].tolist()
    [[4]]
    """
    return downsample_with_averaging(channel, (2, 2), num_mips, sparse)


def average_pooling_2x2x2(
    channel: npt.ArrayLike, num_mips: int = 1, sparse: bool | np.bool_ = False
) -> list[npt.NDArray[Any]]:
    """Average over 2x2x2 cells of axes 0, 1 and 2.

    Parameters
    ----------
    channel : array_like
        An image of rank 3 or more, any layout and numeric dtype.
    num_mips : int
        How many mips to make.
    sparse : bool
        Leave zeros out of the averages.

    Returns
    -------
    list of numpy.ndarray
        What ``downsample_with_averaging(channel, (2, 2, 2), num_mips, sparse)`` returns.

    Examples
    --------
    >>> average_pooling_2x2x2(np.arange(8).reshape(2, 2, 2), sparse=True)[0].tolist()
    [[[4]]]
    """
    return downsample_with_averaging(channel, (2, 2, 2), num_mips, sparse)


def mode_pooling_2x2(img: npt.ArrayLike, num_mips: int = 1) -> list[npt.NDArray[Any]]:
    """Take the most frequent label of 2x2 cells of axes 0 and 1.

    Parameters
    ----------
    img : array_like
        Labels of 1, 2, 4 or 8 bytes in any rank and layout.
    num_mips : int
        How many mips to make.

    Returns
    -------
    list of numpy.ndarray
        What ``downsample_segmentation(img, (2, 2), False, num_mips)`` returns.

    Examples
    --------
    >>> mode_pooling_2x2(np.array([[7, 2], [7, 2]]))[0].tolist()
    [[7]]
    """
    return downsample_segmentation(img, (2, 2), False, num_mips)


def mode_pooling_2x2x2(
    img: npt.ArrayLike, num_mips: int = 1, sparse: bool | np.bool_ = False
) -> list[npt.NDArray[Any]]:
    """Take the most frequent label of 2x2x2 cells of axes 0, 1 and 2.

    Parameters
    ----------
    img : array_like
        Labels of 1, 2, 4 or 8 bytes, of rank 3 or more and any layout.
    num_mips : int
        How many mips to make.
    sparse : bool
        Background (0) wins only where nothing else is.

    Returns
    -------
    list of numpy.ndarray
        What ``downsample_segmentation(img, (2, 2, 2), sparse, num_mips)`` returns.

    Examples
    --------
    >>> labels = np.array([[[0, 0], [0, 9]], [[0, 0], [0, 9]]])
    >>> mode_pooling_2x2x2(labels)[0].tolist(), mode_pooling_2x2x2(labels, sparse=True)[0].tolist()
    ([[[0]]], [[[9]]])
    """
    return downsample_segmentation(img, (2, 2, 2), sparse, num_mips)
