"""Files of trained correctors: what they were trained for, and what they must say."""

from __future__ import annotations

import json

import pytest
import torch
from corrector_trainings import RECIPE, faces
from trainings import options as training_options
from trainings import written

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.dpi.corrector import load_corrector
from priorsr.methods.dpi.masks import sparse
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.corrector import SMALL, CorrectorUNet
from priorsr.methods.train.corrector.recipe import CorrectorRecipe
from priorsr.methods.train.corrector.task import TIMES, TUNED, metadata


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("faces"), faces(6))


@pytest.mark.parametrize(
    ("options", "scale"),
    [(["--scale", "4"], 4), (["--degradation", "mild", "--objective", "released"], None)],
)
def test_a_trained_file_is_loaded_for_what_it_was_trained_for(tmp_path, folder, options, scale):
    out = tmp_path / "crt.safetensors"
    common = training_options(folder, out, 2, 2)
    assert (
        cli.main(
            [
                "train",
                "corrector",
                *common,
                "--size",
                "16",
                "--mult",
                "1",
                "--attention",
                "",
                "--unshuffle",
                "2",
                *options,
            ]
        )
        == 0
    )
    found = load_corrector(str(out))
    assert (found.k, found.scale, found.channels, found.multiple) == (2, scale, 1, 2)
    assert next(iter(weights.read_state(out)[0].values())).dtype == torch.float16
    said = weights.read_metadata(out)
    assert (said["kind"], said["degradation"]) == ("corrector", "mild" if scale is None else "bicubic")
    assert json.loads(said["training"])["steps"] == 2
    assert json.loads(said["settings"])["unshuffle"] == 2
    assert float(said[f"gap@{TIMES[0]}"]) > 0
    found.check(1, 2, scale)
    for wrong, words in (
        ((3, 2), "for 1 channels"),
        ((1, 4), "k 2, not 4"),
        *([((1, 2, 8), "for x4, not x8")] if scale else []),
    ):
        with pytest.raises(ValueError, match=words):
            found.check(*wrong)
    x = sparse(torch.rand(1, 1, 8, 8), 2)
    assert not torch.equal(found(x, 5.0, x), x)


def test_files_that_say_too_little_or_nonsense(tmp_path):
    network = CorrectorUNet(RECIPE.config())
    own = metadata(RECIPE, TUNED)
    for name, changed, words in (
        ("jumpy", {"ema": 0}, "without EMA"),
        ("gridless", {"k": "two"}, "k 'two'"),
        ("everywhere", {"k": 1}, "k '1'"),
    ):
        weights.save(network, tmp_path / f"{name}.safetensors", {**own, **changed})
        with pytest.raises(ValueError, match=words):
            load_corrector(str(tmp_path / f"{name}.safetensors"))
    published = CorrectorUNet(
        ADMConfig(
            image_size=16,
            model_channels=32,
            out_channels=3,
            num_res_blocks=1,
            channel_mult=(1, 1),
            attention_factors=(),
            num_head_channels=16,
        )
    )
    for name, refused in (
        ("ema_0.9999_1", False),
        ("model000001", True),
    ):  # as another program would write them, with metadata of its own
        weights.save(published, tmp_path / f"{name}.safetensors", {"format": "pt"})
        if refused:
            with pytest.raises(ValueError, match="without EMA"):
                load_corrector(str(tmp_path / f"{name}.safetensors"))
        else:
            assert load_corrector(str(tmp_path / f"{name}.safetensors")).channels == 3


def test_the_default_network_is_small_enough_to_ship():
    assert CorrectorRecipe().config() == SMALL
    with torch.device("meta"):
        network = CorrectorUNet(SMALL)
    assert (
        2 * sum(v.numel() for v in network.state_dict().values()) < 0.98e6
    )  # bytes in half precision, with room for what the file says
