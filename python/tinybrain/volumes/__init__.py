"""Volumes larger than memory: multiscale volumes built, described, drawn and opened in Neuroglancer.

Everything here is the extra ``tinybrain[volumes]``; `import tinybrain` doesn't import it.
"""

# Modules of the same names: imported here and now, so that the names are the functions' for good.
from tinybrain.volumes.build import Report, build
from tinybrain.volumes.info import info
from tinybrain.volumes.preview import preview
from tinybrain.volumes.pyramid import open_pyramid
from tinybrain.volumes.storage import BuildError
from tinybrain.volumes.view import view

__all__ = ["BuildError", "Report", "build", "info", "open_pyramid", "preview", "view"]
