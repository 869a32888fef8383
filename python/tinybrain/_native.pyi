from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str
__all__ = [
    "__version__",
    "averaging",
    "backend",
    "backends",
    "explain",
    "extrema",
    "segmentation",
    "stream",
    "usual",
]

def averaging(
    img: npt.NDArray[Any],
    factor: Sequence[int],
    sparse: bool,
    out: Sequence[npt.NDArray[Any]],
    parallel: int,
    backend: str | None = None,
    exact: bool = False,
) -> None: ...
def extrema(
    img: npt.NDArray[Any],
    factor: Sequence[int],
    largest: bool,
    out: Sequence[npt.NDArray[Any]],
    parallel: int,
    backend: str | None = None,
) -> None: ...
def segmentation(
    img: npt.NDArray[Any],
    factor: Sequence[int],
    sparse: bool,
    out: Sequence[npt.NDArray[Any]],
    parallel: int,
    backend: str | None = None,
    exact: bool = False,
) -> None: ...
def usual(
    method: str,
    img: object,
    factor: object,
    num_mips: object,
    sparse: object,
    exact: object,
    out: object,
    parallel: object,
    /,
) -> list[npt.NDArray[Any]] | None: ...
def explain(
    operation: str,
    img: npt.NDArray[Any],
    factor: Sequence[int],
    num_mips: int,
    sparse: bool,
    parallel: int,
    exact: bool = False,
) -> tuple[str, str, int]: ...
def stream(img: npt.NDArray[Any], parallel: int, out: npt.NDArray[np.uint8] | None = None) -> int: ...
def backends() -> list[str]: ...
def backend() -> str: ...
