"""Image pyramids for volumes: average, mode, min and max pooling of any numpy array."""

from tinybrain import accelerated
from tinybrain._native import __version__
from tinybrain.downsample import (
    DimensionError,
    Route,
    downsample_segmentation,
    downsample_with_averaging,
    downsample_with_max_pooling,
    downsample_with_min_pooling,
    downsample_with_striding,
    explain,
)

__all__ = [
    "DimensionError",
    "Route",
    "__version__",
    "accelerated",
    "downsample_segmentation",
    "downsample_with_averaging",
    "downsample_with_max_pooling",
    "downsample_with_min_pooling",
    "downsample_with_striding",
    "explain",
]
