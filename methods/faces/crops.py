"""Aligned faces handed out and taken back, for restorers that are no function here: other programs, other
nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .align import cut, similarity, template
from .detect import Faces
from .paint import Restorer, RestoreSettings, usable
from .restore import visible


def cut_faces(x: Tensor, faces: Sequence[Faces], settings: RestoreSettings = RestoreSettings()) -> Tensor:
    """The faces of pictures B C H W in 0..1 that `restore_faces` would hand to a restorer, in order:

    N 3 S S. Raises ValueError.
    """
    points, found = template(settings.size, settings.frame), []
    for picture, some in zip(visible(x.float()), faces, strict=True):
        matrices = similarity(some[usable(some)].landmarks, points, settings.robust)
        found.append(cut(picture[None], matrices, settings.size))
    return torch.cat(found)


def returned(restored: Tensor, faces: Sequence[Faces]) -> Restorer:
    """A restorer for `restore_faces` that answers faces restored elsewhere, N 3 S' S' or N 1 S' S' in the
    order of `cut_faces`.

    Raises ValueError for another number of them.
    """
    count = sum(len(usable(some)) for some in faces)
    if len(restored) != count:
        raise ValueError(
            f"{count} faces were cut out and {len(restored)} come back: restore each of them, in their order"
        )
    left = iter(restored)
    return lambda aligned, seeds: torch.stack([next(left) for _ in seeds])
