"""The golden cases of EDM's networks and their preconditioning."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.nets.edm_precond import build_edm, edm_scalings


@adapter("edm", "net")
@torch.no_grad()
def edm_net(case: Case) -> dict[str, Tensor]:
    network = case.fill(build_edm(case.config["net"]))
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
