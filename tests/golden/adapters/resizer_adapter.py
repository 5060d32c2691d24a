"""The measurement operator of DPS and EDM-DPS."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.imaging.resize import Resampler


@adapter("dps", "resizer")
def dps_resizer(case: Case) -> dict[str, Tensor]:
    x = case.inputs["x"]
    operator = _operator(x, 1 / case.config["scale_factor"])
    tables = {"weights": "weight", "field_of_view": "index"}
    return {
        "out": operator(x),
        "transpose_gradient": operator.adjoint(case.inputs["g"]),
        **_tables(operator, tables),
    }


@adapter("edm", "resizer")
def edm_resizer(case: Case) -> dict[str, Tensor]:
    numerator, denominator = case.config["scale"]
    operator = _operator(case.inputs["x"], numerator / denominator)
    return {"out": operator(case.inputs["x"]), **_tables(operator, {"weights": "weight", "index": "index"})}


def _operator(x: Tensor, scale: float) -> Resampler:
    return Resampler(tuple(x.shape[-2:]), scale=scale, border="mirror", centred=True)


def _tables(operator: Resampler, names: dict[str, str]) -> dict[str, Tensor]:
    axes = {"dim2": operator.rows, "dim3": operator.cols}
    return {
        f"{name}_{dim}": torch.from_numpy(getattr(axis, part))
        for dim, axis in axes.items()
        for name, part in names.items()
    }
