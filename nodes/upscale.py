"""A node for every method: inputs, defaults and help are read from the Method, the run is the library's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from comfy_api.latest import io

from ..methods.batches import one_by_one
from ..methods.imaging.alpha import upscale_with_alpha
from ..methods.imaging.region import RegionSettings, within
from ..methods.inputs import WeightInput
from ..methods.method import AUTO, NONE, Method, Upscaler, seeds_from
from ..methods.priors.upscaler import PriorUpscaler
from ..methods.registry import methods
from . import host
from .attributes import Attributes, classifiers_of, load_classifier
from .host import managed
from .host.images import join, own, split
from .region import region_inputs, region_of

CUSTOM = "custom"  # the preset by which every widget counts, at its default too
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}


@dataclass(frozen=True)
class Layout:
    """What nodes keep from before they were derived: widgets in saved work have no names, only their order.

    first: inputs that come before all others. last: what was added since, after all others and optional, so
    that graphs without it run. custom: settings that only the preset `custom` shows. names: settings whose
    input is called otherwise. advanced: inputs that are seldom changed.
    """

    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    advanced: tuple[str, ...] = ()
    seed: bool = True


NEW = Layout(last=("vary",))
LAYOUTS = {
    "bicubic": Layout(seed=False, aliases=("resize",)),
    "no-prior": Layout(seed=False, aliases=("back projection",)),
    "srcnn": Layout(("scale", "weights"), ("longest",), seed=False),
    "diffsr": Layout(
        last=("vary", "omega", "signature_limit", "fidelity_limit"), aliases=("sdedit", "face restoration")
    ),
    "dpi": Layout(
        ("scale", "longest", "prior", "corrector", "preset", "seed"),
        ("compound", "respacing", "vary"),
        custom=("tau", "s", "omega", "sampler", "eta"),
        aliases=("face restoration", "face hallucination"),
    ),
    "srdg": Layout(
        ("prior", "scale", "seed", "classifier", "attributes", "weights", "preset"),
        ("longest", "vary", "start_sigma"),
        names={"attribute_weights": "weights"},
        advanced=("weights",),
        aliases=("sde-sr", "face hallucination", "attributes"),
    ),
    "dps": Layout(("prior", "scale"), ("longest", "vary"), aliases=("posterior sampling",)),
    "edm-dps": Layout(
        ("prior", "scale"),
        ("longest", "vary", "squared", "guide_last"),
        aliases=("posterior sampling", "karras"),
    ),
    "guided": Layout(
        ("prior", "classifier", "label", "scale"),
        ("longest", "vary"),
        aliases=("guided diffusion", "classifier guidance"),
    ),
}


def layout_of(method: Method) -> Layout:
    return LAYOUTS.get(method.name, NEW)


def weight_input(one: WeightInput) -> io.Input:
    """The files of models/priorsr, after what comes along and what stands for a file."""
    names = [NONE] if one.many else one.words
    text = f"{one.help[0].upper()}{one.help[1:]}."
    where = "From models/priorsr" + (", or one that comes along." if one.shipped() else ".")
    default = NONE if one.many else one.default
    return host.file_input(one.name, one.kinds, f"{text} {where}", [*names, *one.shipped()], default)


def more_weights(method: Method) -> list[io.Input]:
    """Sockets for weights of which a method takes several."""
    tooltip = "From Load Attribute Classifier, for several attributes."
    return [
        Attributes.Input(f"{one.name}s", optional=True, tooltip=tooltip) for one in method.weights if one.many
    ]


def setting_inputs(method: Method, but: Sequence[str] = (), advanced: bool = True) -> list[io.Input]:
    """An input for every setting, but those that name files outside the host's folders."""
    names = layout_of(method).names
    inputs = []
    for kind in method.settings:
        only = [f.name for f in fields(kind) if f.name not in but and not f.metadata.get("path")]
        if only:
            inputs += host.settings_inputs(kind, only, advanced and not kind.primary, names)
    return inputs


def preset_input(method: Method) -> io.Input:
    """Presets, and `custom`, by which every widget counts."""
    tooltip = (
        "What decides the settings whose widgets stand at their defaults; what you change counts. auto: as "
        "suits the scale and the weights. custom: every widget counts."
    )
    shown = layout_of(method).custom
    if not shown:
        options = [AUTO, CUSTOM, *method.presets]
        return io.Combo.Input("preset", options=options, default=AUTO, tooltip=tooltip)
    own = [one for one in setting_inputs(method, advanced=False) if one.id in shown]
    options = [io.DynamicCombo.Option(name, []) for name in (AUTO, *method.presets)]
    return io.DynamicCombo.Input(
        "preset", options=[*options, io.DynamicCombo.Option(CUSTOM, own)], tooltip=tooltip
    )


def vary_input() -> io.Input:
    return io.Boolean.Input(
        "vary",
        default=True,
        optional=True,
        tooltip="Image i of a batch gets the seed plus i, so that not all get the same inventions.",
        extra_dict={"advanced": True},
    )


def inputs_of(method: Method) -> list[io.Input]:
    """What the node of a method asks for, in the order of its layout."""
    layout, scales = layout_of(method), method.scales
    scale = io.Float.Input(
        "scale",
        default=scales.default,
        min=scales.least,
        max=scales.most,
        step=0.05,
        tooltip="Enlargement of both sides.",
    )
    seed = io.Int.Input(
        "seed",
        tooltip="Decides what is invented; the same picture and seed give the same result.",
        **SEED,
    )
    presets = [preset_input(method)] if method.presets else []
    drawn = [seed, vary_input()] if layout.seed else []
    settings = setting_inputs(method, layout.custom)
    files = [weight_input(one) for one in method.weights]
    every = [*files, scale, host.longest_input(), *drawn[:1], *presets, *settings, *drawn[1:]]
    by_name = {one.id: one for one in every}
    middle = [name for name in by_name if name not in (*layout.first, *layout.last)]
    for name in layout.last:
        by_name[name].optional = True
    host.advanced([by_name[name] for name in layout.advanced])
    image = io.Image.Input("image", tooltip="Images of any size, each enlarged by itself. Alpha is kept.")
    ordered = [by_name[name] for name in (*layout.first, *middle, *layout.last)]
    return [image, *ordered, *more_weights(method), *region_inputs()]


def schema_of(method: Method) -> io.Schema:
    return host.schema(
        node_id=method.node_id,
        display_name=method.title,
        category=f"{host.CATEGORY}/upscale",
        description=method.about,
        search_aliases=["upscale", "super resolution", method.name, *layout_of(method).aliases],
        inputs=inputs_of(method),
        outputs=[
            io.Image.Output("image", display_name="image"),
            io.String.Output(
                "report", display_name="report", tooltip="What was chosen, and what to beware of."
            ),
        ],
    )


def prepared(method: Method, given: Mapping[str, Any], held: Sequence = (), every: bool = False) -> Upscaler:
    """The method with what widgets say. held: classifiers that other nodes have loaded.

    A widget at its default leaves its setting to the preset, any other value is the user's; with `custom`,
    where there are no presets, or with `every`, all are. Raises ValueError and FileNotFoundError.
    """
    given = dict(given)
    preset = given.pop("preset", None if layout_of(method).custom and not every else AUTO)
    if isinstance(preset, Mapping) or preset is None:
        preset, own = host.chosen(preset, "preset", (AUTO, *method.presets, CUSTOM))
        given |= own
    files = {one.name: _file(given.pop(one.name), one, held) for one in method.weights if one.name in given}
    names = {name: setting for setting, name in layout_of(method).names.items()}
    values = {names.get(name, name): value for name, value in given.items()}
    known = method.fields()
    if method.presets and preset != CUSTOM and not every:
        values = {name: v for name, v in values.items() if name not in known or v != known[name].default}
    with host.loading():
        return method.prepare(files, AUTO if preset == CUSTOM else preset, values)


def _file(name: str, one: WeightInput, held: Sequence) -> Any:
    """What a file widget names: a word or a shipped name as it is, else the path in models/priorsr."""
    if one.many:
        return [*classifiers_of(held), *([] if name == NONE else [load_classifier(name)])]
    return host.weight_name(name, one.names())


def networks_beside(upscaler: Upscaler, held: Sequence) -> list[torch.nn.Module]:
    """The networks that come and go with a run; those that are held stay where the host has them."""
    return [n for n in upscaler.networks if all(n is not m.classifier.network for m in held)]


def run(method: Method, image: torch.Tensor, scale: float, longest: int = 0, **given: Any) -> io.NodeOutput:
    """What a method makes of an IMAGE, and the report."""
    seed, vary = given.pop("seed", 0), given.pop("vary", True)
    region = region_of(given.pop("region", None), given.pop("feather", RegionSettings.feather))
    held = [m for one in method.weights if one.many for m in given.pop(f"{one.name}s", ())]
    with torch.inference_mode(False), torch.no_grad():
        pixels, alpha = split(own(image))
        size = tuple(pixels.shape[-2:])
        if longest:
            scale = method.scales.for_longest(longest, size, method.name)
        method.scales.check(scale, method.name)
        upscaler = prepared(method, given, held)
        plan = upscaler.plan(size, scale)
        for warning in plan.warnings:
            host.log.warning("PriorSR: %s", warning)
        seeds = seeds_from(seed, len(pixels), vary)
        networks, notes = networks_beside(upscaler, held), []

        def enlarge(low: torch.Tensor) -> torch.Tensor:
            notes.clear()
            room = upscaler.plan(size, scale).bytes
            with managed.classifiers_ready(held, room), host.on_device(*networks, activations=room):
                host.tell_plan(upscaler.predict(size, scale, len(low), measure=True))
                return one_by_one(upscaler, low, scale, seeds, host.call_progress(), notes.append)

        at = lambda low: _in_smaller_pieces(upscaler, enlarge, low, scale)  # noqa: E731
        with _looked_at(upscaler):
            done, alpha = upscale_with_alpha(pixels, alpha, within(region, at))
        if region:
            notes += filter(None, [region.said()])
        report = "\n".join(notes)
        return host.told(host.result(join(done, alpha)), report, text=report)


def _looked_at(upscaler: Upscaler) -> AbstractContextManager:
    """Whether the user cancels is asked between operations; a prior asks between its steps, for looking would
    slow down its many small operations.
    """
    return nullcontext() if isinstance(upscaler, PriorUpscaler) else host.cancellable()


def _in_smaller_pieces(
    upscaler: Upscaler, enlarge: Callable, low: torch.Tensor, scale: float
) -> torch.Tensor:
    """enlarge(low), in smaller pieces where memory runs out and the method has pieces that may be smaller."""
    if upscaler.tile is None:
        return enlarge(low)

    def at(tile: int) -> torch.Tensor:
        upscaler.tile = tile
        return enlarge(low)

    return host.with_smaller_tiles(at, upscaler.tile or math.ceil(max(2, scale)) * max(low.shape[-2:]))


def node_of(method: Method) -> type[io.ComfyNode]:
    """The node of a method."""

    class UpscaleNode(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return schema_of(method)

        @classmethod
        def execute(cls, **given):
            return run(method, **given)

    UpscaleNode.__name__ = UpscaleNode.__qualname__ = method.node_id.removeprefix("PriorSR")
    return UpscaleNode


def upscale_nodes(but: Sequence[str] = ()) -> list[type[io.ComfyNode]]:
    """A node for every method, but those with ids that nodes of their own have."""
    return [node_of(method) for method in methods().values() if method.node_id not in but]
