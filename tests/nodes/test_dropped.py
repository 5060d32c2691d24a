"""Every node works as it is dropped: defaults, what ships or tiny checkpoints, obvious neighbours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from dropping import LATENT_TYPES, OURS, Dropped, faults, misshapen
from torch import nn

from priorsr.methods.graph.definitions import carried
from priorsr.methods.graph.standin import calling
from priorsr.methods.graph.standin.describing import described_node

RANDOM = {  # whose networks in these tests are of random weights: what they make is no picture
    *("UpscaleDPS", "UpscaleEDMDPS", "UpscaleGuided", "CodeFormer", "RestoreAlignedFace"),
    *("LoadPixelPrior", "GuideClassifier"),
}
# outputs that show something else than the picture, and levels that leave nothing of it
OTHERWISE = {"plot", "preview", "comparison", "aligned", "sigmas"}


HOSTS = {"PriorSRUpscaleModel", "PriorSRStableSRStart"}


def on_the_host_only(name: str) -> bool:
    """Those that need Stable Diffusion or an upscale model of the host."""
    told = carried()[name]
    types = {one["type"] for one in [*told["inputs"], *told["outputs"]] if not one.get("optional")}
    return bool(types & LATENT_TYPES) or name in HOSTS


OURS_LISTED = [name for name in carried() if name.startswith(OURS)]
# whole runs of diffusion methods at their defaults take up to half a minute each, guided ones minutes
LONG = {"PriorSRGuideClassifier", "PriorSRLoadPixelPrior", "PriorSRSigmasByRespacing"}
HERE = [
    pytest.param(name, marks=pytest.mark.slow) if "Upscale" in name or name in LONG else name
    for name in OURS_LISTED
    if not on_the_host_only(name)
]


class Runner:
    """Runs graphs of our nodes and of the few of the host's that sample."""

    def __init__(self, pack):
        self.pack, self.done = pack, {}

    def __call__(self, dropped: Dropped, link: list):
        key, i = link
        if key not in self.done:
            node = dropped.graph[key]
            given = {n: self(dropped, v) if isinstance(v, list) else v for n, v in node["inputs"].items()}
            own = {
                "RandomNoise": self.noise,
                "BasicGuider": self.guider,
                "SamplerCustomAdvanced": self.sample,
            }
            kind = node["class_type"]
            self.done[key] = own[kind](**given) if kind in own else self.ours(kind, given)
        return self.done[key][i]

    def ours(self, kind: str, given: dict) -> tuple:
        return calling.execute(self.pack.nodes[kind], **given)

    def noise(self, noise_seed: int, **more) -> tuple:
        return (noise_seed,)

    def guider(self, model, conditioning) -> tuple:
        parts = {"model_patcher": model, "model_options": {}, "conditioning": conditioning}
        return (SimpleNamespace(**parts),)

    def sample(self, noise, guider, sampler, sigmas, latent_image) -> tuple:
        """From the latent at the noise of the first of the sigmas, as the host does."""
        model, latent = guider.model_patcher, latent_image["samples"]
        drawn = torch.randn(latent.shape, generator=torch.Generator().manual_seed(noise))

        class Inner(nn.Module):
            def __init__(self):
                super().__init__()
                parts = {"loaded_models": [], "model_patcher": model, "inner_model": model.model}
                self.__dict__["inner_model"] = SimpleNamespace(**parts)

            def forward(self, x, sigma, **arguments):
                call = model.model._apply_model
                for cut in model.get_wrappers("APPLY_MODEL", "priorsr_tiles"):
                    return cut(call, x, sigma)
                return call(x, sigma)

        model.model.memory_required = lambda shape: 0
        options = {"seed": noise, "model_options": {"transformer_options": {}}}
        with torch.inference_mode():
            start = latent + drawn * float(sigmas[0])
            return ({"samples": sampler.sampler_function(Inner(), start, sigmas, options, None)},)


@pytest.fixture(scope="module")
def definitions(pack):
    return {**carried(), **{name: described_node(node) for name, node in pack.nodes.items()}}


def test_the_list_is_the_extensions(pack):
    assert set(OURS_LISTED) == set(pack.nodes)


@pytest.mark.parametrize("name", HERE)
def test_a_dropped_node_works(pack, definitions, name):
    dropped, run = Dropped(definitions, name), Runner(pack)
    with torch.inference_mode():
        source = run(dropped, dropped.source)
        for output, link in dropped.outputs.items():
            found = run(dropped, link)
            if isinstance(found, torch.Tensor) and found.ndim == 4:
                if name.removeprefix(OURS) in RANDOM or output in OTHERWISE:
                    wrong = misshapen(found)
                else:
                    wrong = faults(found, source)
                assert not wrong, f"{name}.{output} {', '.join(wrong)}"
            elif isinstance(found, torch.Tensor):
                assert torch.isfinite(found).all()
            else:
                assert found is not None
