"""What DPI runs with where little is said: the settings of a preset and the corrector that goes with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .. import weights
from .corrector import Corrector, load_corrector
from .method import PRESETS, DPISettings, preset

AUTO, NONE, REAL = "auto", "none", "real"
AUTO_STEPS = 100  # a tenth of the published steps: tau and omega mean the same


def shipped_correctors() -> list[str]:
    """Names of the correctors that come with the package."""
    return weights.shipped("corrector")


def choose_settings(name: str, scale: float, steps: int = 0, **own) -> DPISettings:
    """The settings of a preset; `auto` is that of the scale in 100 steps. steps: 0 for those of the preset.
    own: what differs.

    Raises ValueError for an unknown preset and for settings that cannot work.
    """
    if name not in (AUTO, *PRESETS):
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join((AUTO, *PRESETS))}")
    if steps < 0:
        raise ValueError(f"{steps} steps cannot be taken: give 1 or more, or 0 for those of the preset")
    base = preset(scale) if name == AUTO else PRESETS[name]
    kept = own.pop("respacing", "") or steps or (AUTO_STEPS if name == AUTO else base.respacing)
    return replace(base, respacing=str(kept), **own)


def choose_corrector(
    name: str,
    channels: int,
    scale: float,
    k: int = 2,
    real: bool = False,
    report: Callable[[str], None] | None = None,
    size: int = 0,
) -> Corrector | None:
    """A corrector by its name or file, None for `none`; `auto` takes the shipped one for such pictures, if
    any, and reports which.

    real: that is the one trained on real-world degradations and every scale. size: pixels of the prior's
    faces, which the corrector must have been trained on; 0 for any. Raises as `load_corrector`.
    """
    if name == NONE:
        return None
    if name != AUTO:
        return load_corrector(name)
    trained = None if real else scale
    found = ((shipped, load_corrector(shipped)) for shipped in shipped_correctors())
    fitting = ((shipped, one) for shipped, one in found if one.serves(channels, k, trained, size))
    shipped, corrector = next(fitting, (None, None))
    if report:
        what = (
            f"real-world pictures, {channels} channels, {size} pixels and k {k}"
            if real
            else f"x{scale:g}, {channels} channels, {size} pixels and k {k}"
        )
        report(
            f"corrector {shipped}"
            if shipped
            else f"no corrector comes along for {what}: the conditions stay as the enlargement gives them"
        )
    return corrector
