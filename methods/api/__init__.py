"""The functions of `import priorsr`.

Every setting, weight, preset, default and warning is that of the method itself, as on the command line.
"""

from ..imaging.images import Picture, read
from . import graph
from .faces import Faces, restore_faces
from .judged import judge
from .pictures import compare, degrade, write
from .upscale import Loaded, list_methods, load, upscale

__all__ = [
    "Faces",
    "Loaded",
    "Picture",
    "compare",
    "degrade",
    "graph",
    "judge",
    "list_methods",
    "load",
    "read",
    "restore_faces",
    "upscale",
    "write",
]
