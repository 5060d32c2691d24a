"""The golden cases of EDM's networks and their preconditioning."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.nets.edm_precond import EDMPrecond, build_edm, edm_scalings


def filled_edm(case: Case) -> EDMPrecond:
    """The case's network with weights by name; the resampling filters keep what was computed."""
    network = build_edm(case.config["net"])
    filters = {k: v.clone() for k, v in network.state_dict().items() if k.endswith("resample_filter")}
    case.fill(network).load_state_dict(filters, strict=False)
    return network


@adapter("edm", "net")
@torch.no_grad()
def edm_net(case: Case) -> dict[str, Tensor]:
    network = filled_edm(case)
    x, labels, sigma = case.inputs["x"], case.inputs.get("labels"), torch.tensor(case.config["sigma"])
    return {
        "raw": network.model(x, case.inputs["c_noise"], labels, case.inputs.get("augment")),
        "denoised": network(x, sigma, labels),
        "denoised_no_label": network(x, sigma),
    }


@adapter("edm", "precond")
def edm_precond(case: Case) -> dict[str, Tensor]:
    c = edm_scalings(torch.tensor(case.config["sigma"]), case.config["sigma_data"])
    return {"c_skip": c.skip, "c_out": c.out, "c_in": c.input, "c_noise": c.noise}
