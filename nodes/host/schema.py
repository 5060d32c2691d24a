"""Inputs of nodes from the settings of methods, and schemas that every supported host understands."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from comfy_api.latest import io

from ...methods.imaging.resize import MAX_SIDE
from ...methods.weights.known import source_of, terms_of
from .checks import Least, nested
from .runtime import FOLDER, weight_files

# what papers name by a symbol, in words: by the id of an input its label, and the symbol where it is one
LABELS = {
    "h": ("attribute strength", "h"),
    "s": ("keep probability exponent", "s"),
    "k": ("grid", "k"),
    "t": ("timestep", "t"),
    "w": ("fidelity", "w"),
    "tau": ("second stage steps", "tau"),
    "omega": ("weighting", "omega"),
    "eta": ("randomness", "eta"),
    "eta_b": ("measurement step", "eta_b"),
    "zeta": ("guidance step", "zeta"),
    "rho": ("level spacing", "rho"),
    "sigma_min": ("lowest noise", "sigma_min"),
    "sigma_max": ("highest noise", "sigma_max"),
    "turned": ("quarter turns", ""),
}
MOST = 1e12  # of settings without an upper limit, which infinity shall not pass


def schema(**settings) -> io.Schema:
    """An io.Schema from the fields that this host knows; newer ones are dropped on older hosts.

    Inputs that are called by a symbol are labelled in words; ids stay, which saved work knows.
    """
    known = {f.name for f in dataclasses.fields(io.Schema)}
    for one in nested(settings.get("inputs", ())):
        _label(one)
        if one.io_type == io.Float.io_type and one.min is not None:
            one.min = Least(one.min)
    return io.Schema(**{k: v for k, v in settings.items() if k in known})


def _label(one: io.Input) -> None:
    label, symbol = LABELS.get(one.id, ("", ""))
    if label and not one.display_name:
        one.display_name = label
        if symbol:
            one.tooltip = f"{one.tooltip.rstrip('.')}. In the paper: {symbol}."


def settings_inputs(
    kind: type,
    only: Sequence[str] = (),
    advanced: bool = True,
    names: Mapping[str, str] = MappingProxyType({}),
) -> list[io.Input]:
    """One input for each field of a settings class, or for some of them, with its default, limits and help.

    names: of inputs that are not called as their field.
    """
    inputs, extra = [], {"advanced": True} if advanced else None
    for f in (f for f in dataclasses.fields(kind) if not only or f.name in only):
        rule, common = f.metadata, {"default": f.default, "tooltip": f.metadata["help"], "extra_dict": extra}
        name = names.get(f.name, f.name)
        if isinstance(f.default, bool):
            inputs.append(io.Boolean.Input(name, **common))
        elif rule["choices"]:
            inputs.append(io.Combo.Input(name, options=list(rule["choices"]), **common))
        elif isinstance(f.default, str):
            inputs.append(io.String.Input(name, **common))
        else:
            number = io.Int if isinstance(f.default, int) else io.Float
            most = MOST if rule["high"] is None else rule["high"]
            inputs.append(number.Input(name, min=rule["low"], max=most, **common))
    return inputs


def chosen(choice: Mapping | None, name: str, known: Iterable[str]) -> tuple[str, dict]:
    """What was chosen of the DynamicCombo `name`, and the values of the inputs that the choice brings.

    Raises ValueError for a choice that there is not: the host lets those of links and old graphs pass.
    """
    values = dict(choice or {})
    key, known = values.pop(name, None), list(known)
    if key not in known:
        raise ValueError(f"unknown {name} {key!r}: choose one of {', '.join(known)}")
    return key, values


def advanced(inputs: Sequence[io.Input]) -> list[io.Input]:
    """Inputs that are seldom changed, which front ends show on demand."""
    for one in inputs:
        one.extra_dict = {**(one.extra_dict or {}), "advanced": True}
    return list(inputs)


def longest_input() -> io.Input:
    """The size of a result by its longer side; `scale_for` turns it into a scale."""
    tooltip = "Pixels of the result's longer side, in place of the scale; 0: the scale decides."
    return io.Int.Input("longest", default=0, min=0, max=MAX_SIDE, tooltip=tooltip)


def file_input(
    name: str, kinds: Collection[str], tooltip: str, first: Sequence[str] = (), default: str | None = None
) -> io.Input:
    """A picker of the weight files of some kinds, after what comes along or stands for a file; where there
    are none, of a line that says where to get one.
    """
    options = [*first, *weight_files(kinds)] or [_missing(kinds)]
    chosen = default if default in options else None
    terms = terms_of(kinds)
    picker = io.Combo.Input(
        name, options=options, default=chosen, tooltip=f"{tooltip} {terms}" if terms else tooltip
    )
    picker.kinds = tuple(kinds)  # by which `checked` says why another file is refused
    return picker


def _missing(kinds: Collection[str]) -> str:
    return f"(none: put {source_of(kinds) or 'a file'} into models/{FOLDER})"
