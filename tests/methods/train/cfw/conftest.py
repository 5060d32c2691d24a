"""A small training of StableSR's feature wrapping: its files, recipe, latents and end."""

from __future__ import annotations

import pytest
from cfw_trainings import QUICK, made, sampled
from safetensors.torch import save_file
from stablesr_tiny import base_file, context, pictures, tiny

from priorsr.methods.train.loop import fit
from priorsr.methods.train.stablesr import cfw
from priorsr.methods.train.stablesr.cfw import CFWRecipe, files, metadata
from priorsr.methods.weights import save


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Fewer pictures to judge by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cfw, "JUDGED", 3)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cfw")
    pictures(folder / "data")
    base_file(folder / "base.safetensors")
    save_file({"context": context()}, folder / "empty.safetensors")
    save_file(tiny().layers.released_state(), folder / "layers.safetensors")
    return folder


@pytest.fixture(scope="module")
def recipe(place):
    files = {
        name: str(place / f"{file}.safetensors")
        for name, file in {"base": "base", "layers": "layers", "context": "empty"}.items()
    }
    sampled = {"size": 32, "pairs": 5, "sampling": 2, "part": 2, "latents": str(place / "latents")}
    return CFWRecipe(**files, **sampled, blocks=1, growth=8, batch=4, workers=2, perceptual=0.0, after=2)


@pytest.fixture(scope="module")
def latents(recipe, place):
    return sampled(recipe, place)


@pytest.fixture(scope="module")
def trained(recipe, latents, place):
    job = made(recipe, latents)
    before = job.validate(job.network)
    network = fit(job, QUICK, place / "run", progress=False)
    ((out, part, said),) = files(network, metadata(recipe, QUICK), place / "cfw.safetensors")
    return job, network, save(part, out, said), before
