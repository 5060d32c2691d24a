"""One call of a MODEL as several on tiles, and which of its conditions are cut with the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...samplers.denoiser import Cond, Prediction
from ...samplers.schedule import CLEAN, Level
from ...samplers.tiled import Tiled, gaussian_weights, starts

CONTROL, TILES = "control ", "priorsr_tiles"


class TiledCall:
    """A wrapper of the host's apply_model: x B C H W is cut into tiles, and what belongs to its pixels with
    it.

    Tensors of B numbers, vectors or tokens go to every tile, maps of H x W or an even part of it are cut.
    Raises ValueError for what can be neither. weights: of a tile of given height and width.
    """

    def __init__(
        self, size: int, overlap: int, batch: int, weights: Callable[[int, int], Tensor] = gaussian_weights
    ):
        starts(size, size, overlap)  # raises where they do not fit
        self.tiles = Tiled(None, size, overlap, batch, weights)  # each call brings its own denoiser

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """What one call sees of a whole B C H W; other shapes pass as they are."""
        if len(whole) != 4 or max(whole[2:]) <= self.tiles.size:
            return whole
        return (whole[0] * self.tiles.batch, whole[1], *(min(n, self.tiles.size) for n in whole[2:]))

    def __call__(
        self,
        call: Callable[..., Tensor],
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Mapping[str, list] | None = None,
        transformer_options: Mapping | None = None,
        **conds,
    ) -> Tensor:
        if x.ndim != 4:
            raise ValueError(
                f"Tiled Denoiser cuts pictures B C H W, this MODEL works on {tuple(x.shape)}: leave it out"
            )
        options = transformer_options or {}
        if max(x.shape[-2:]) <= self.tiles.size:
            return call(x, t, c_concat, c_crossattn, control, options, **conds)
        if "middle_patch" in options.get("patches", {}):
            raise ValueError(
                "Tiled Denoiser cannot move the boxes of GLIGEN with its tiles: leave one of them out"
            )
        given = {"t": t, "c_concat": c_concat, "c_crossattn": c_crossattn, **conds, **_flattened(control)}
        sorted_: dict[str, dict] = {"spatial": {}, "flat": {}, "fixed": {}}
        for name, value in given.items():
            sorted_[_kind(name, value, x)][name] = value

        def denoise(tile: Tensor, level: Level, cond: Cond) -> Prediction:
            count = len(tile) // len(x)
            # hooks of other nodes find the halves of a batch by these lists
            repeated = {k: list(options[k]) * count for k in ("cond_or_uncond", "uuids") if k in options}
            named = {**sorted_["fixed"], **cond.flat, **cond.spatial}
            pieces = {k: named.pop(k) for k in list(named) if k.startswith(CONTROL)}
            whole = [named.pop(k) for k in ("t", "c_concat", "c_crossattn")]
            x0 = call(tile, *whole, _nested(pieces, control), {**options, **repeated}, **named)
            return Prediction(x0, x0[:, :0])  # the host asks for x0 alone

        return replace(self.tiles, denoiser=denoise)(x, CLEAN, Cond(sorted_["spatial"], sorted_["flat"])).x0


def seen(model, shape: Sequence[int]) -> Sequence[int]:
    """What one call of a MODEL sees of a whole picture."""
    for cut in model.get_wrappers(WrappersMP.APPLY_MODEL, TILES):
        shape = cut.shape(shape)
    return shape


def _kind(name: str, value: object, x: Tensor) -> str:
    """Whether a condition is cut with the picture (spatial), follows its samples (flat), or is the same for
    all (fixed).
    """
    cure = "leave it or Tiled Denoiser out"
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        raise ValueError(f"Tiled Denoiser cannot cut the condition {name!r}, a list of tensors: {cure}")
    if not isinstance(value, Tensor):
        return "fixed"
    if name.startswith(CONTROL) and value.ndim != 4:
        raise ValueError(
            f"Tiled Denoiser cannot cut what this ControlNet gives ({name}: {tuple(value.shape)}): {cure}"
        )
    if value.ndim < 4:
        return "flat" if value.ndim and len(value) == len(x) else "fixed"
    (height, width), (h, w) = x.shape[-2:], value.shape[-2:]
    if value.ndim > 4 or len(value) != len(x) or h * width != w * height:
        raise ValueError(
            f"Tiled Denoiser cannot cut the condition {name!r} of {tuple(value.shape)} as the {height} x "
            f"{width} picture: {cure}"
        )
    return "spatial"


def _flattened(control: Mapping[str, list] | None) -> dict[str, Tensor | None]:
    """The maps of a ControlNet by name; where it gives none, the host writes None."""
    return {
        f"{CONTROL}{place} {i}": value
        for place, values in (control or {}).items()
        for i, value in enumerate(values)
    }


def _nested(
    pieces: Mapping[str, Tensor | None], control: Mapping[str, list] | None
) -> dict[str, list] | None:
    if control is None:
        return None
    return {
        place: [pieces[f"{CONTROL}{place} {i}"] for i in range(len(values))]
        for place, values in control.items()
    }
