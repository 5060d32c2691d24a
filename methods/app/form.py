"""An option of a command as a part of a form, by its kind and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]

from .choices import Option

YES = {"yes": True, "no": False}
CLOSE, FINE = 2, 100  # the highest limit of a slider, and its steps


def component(option: Option, values: Mapping[str, Any]) -> Any:
    """What takes a value of the option, which begins with that of `values` or its default."""
    value = values.get(option.name, option.default)
    told: dict[str, Any] = {"label": option.label, "info": option.help, "interactive": True}
    if option.kind is bool and option.default is None:
        return gr.Dropdown([(option.unset, ""), *YES.items()], value="", **told)
    if option.kind is bool:
        return gr.Checkbox(bool(value), **told)
    if option.free:
        return gr.Dropdown(list(option.choices), value=value, allow_custom_value=True, **told)
    if option.choices:
        first = [(option.unset, "")] if option.default is None else []
        kept = [(str(one), one) for one in option.choices]
        return gr.Dropdown([*first, *kept], value="" if value is None else value, **told)
    if option.kind not in (int, float):
        return gr.Textbox(str(value or ""), **told)
    whole = option.kind is int
    low, high = option.low, option.high
    if not whole and value is not None and low is not None and high is not None and high <= CLOSE:
        return gr.Slider(low, high, value=value, step=(high - low) / FINE, **told)
    return gr.Number(
        value,
        precision=0 if whole else None,
        minimum=low,
        maximum=high,
        step=1 if whole else 0.1,
        placeholder=option.unset if option.default is None else None,
        **told,
    )
