"""Every method by its name: those of this package, and those that other packages add by the entry points
`priorsr.methods`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

from . import weights
from .method import Method, Upscaler, nearest

GROUP = "priorsr.methods"
BUILT_IN = (  # module and name of each method's value, in the order of help tables
    "bicubic:METHOD",
    "no_prior:METHOD",
    "visionrefine.upscalers:SRCNN_METHOD",
    "diffsr.upscaler:METHOD",
    "dpi.upscaler:METHOD",
    "srdg.upscaler:METHOD",
    "ddrm.method:METHOD",
    "ddnm.method:METHOD",
    "ilvr.method:METHOD",
    "repaint.method:METHOD",
    "dps.upscaler:DPS_METHOD",
    "dps.upscaler:EDM_DPS_METHOD",
    "visionrefine.upscalers:GUIDED_METHOD",
    "stablesr.upscaler:METHOD",
    "clean.method:METHOD",
    "upscale_model.method:METHOD",
)


@lru_cache(1)
def methods() -> dict[str, Method]:
    """All of them.

    Raises ValueError where another package's entry is no method or takes a name that is taken.
    """
    found = {}
    for entry in BUILT_IN:
        module, name = entry.split(":")
        method = getattr(import_module(f".{module}", __package__), name)
        found[method.name] = method
    for point in entry_points(group=GROUP):
        method = point.load()
        if not isinstance(method, Method) or method.name in found:
            raise ValueError(
                f"the entry point {point.name} of {point.value} is no method, or its name is taken"
            )
        found[method.name] = method
    return found


def method_named(name: str) -> Method:
    """The method of a name. Raises ValueError with the nearest one."""
    known = methods()
    if name not in known:
        raise ValueError(f"there is no method {name!r}{nearest(name, list(known))}")
    return known[name]


TAKERS = {"srcnn": "srcnn", "cleaner": "clean"}  # methods by the kind of weights that they take alone
CODEFORMER = "codeformer"


def restorer_named(name: str) -> Upscaler:
    """What makes better pictures of pictures: a method, `codeformer`, or what takes the weight file of that
    name, upscale models of other authors included.

    Raises ValueError, and FileNotFoundError that says what there is.
    """
    if name in methods():
        return methods()[name].prepare()
    try:
        path = weights.locate(name)
    except FileNotFoundError as error:
        known = ", ".join([*methods(), CODEFORMER])
        raise FileNotFoundError(f"{error}. Give a weight file, or one of {known}") from error
    kind = weights.describe(path).kind
    if kind is not None and kind.id == CODEFORMER:  # by name, for faces lie above whatever asks for this
        faces = import_module(".faces.load", __package__)
        return import_module(".faces.codeformer", __package__).CodeFormerUpscaler(faces.load_codeformer(name))
    taker = TAKERS.get(kind.id if kind else "", "model")
    return methods()[taker].prepare({"weights": name})
