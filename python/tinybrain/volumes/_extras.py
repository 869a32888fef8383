"""Third-party modules on demand: `import tinybrain` needs numpy alone, and what is missing is named with its extra."""

from __future__ import annotations

import importlib
from typing import Any


def extra(module: str, name: str = "volumes") -> Any:
    """Import a module that comes with an extra of tinybrain.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"ome_zarr_models.v05.image"``.
    name : str
        The extra that brings it.

    Raises
    ------
    ImportError
        Naming the extra, if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{package} is needed and not installed: pip install "tinybrain[{name}]"') from error
