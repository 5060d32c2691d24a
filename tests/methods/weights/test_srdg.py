"""Files of SDE-SR and SRDG: torch checkpoints with an average, Flax msgpack, safetensors, and all that is
wrong with them.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict

import pytest
import torch
from fill import filled
from safetensors.torch import save_file

from priorsr.methods import weights
from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.nets.srdg_released import flax_modules
from priorsr.methods.srdg.attributes import load_attribute
from priorsr.methods.srdg.method import load_sr_prior
from priorsr.methods.weights.flax import read_flax

CONFIG = NCSNppConfig(
    16, 3, 4, (1, 1, 2, 2), 1, (16,), sigma_max=50.0, num_scales=10
)  # four levels: those of Flax files are told by the coarsest
JUDGE = DenseNetConfig(16, (2, 1), 4)


@pytest.fixture(scope="module")
def network():
    return filled(NCSNpp(CONFIG), "sigmas")


@pytest.fixture(scope="module")
def judge():
    return filled(DenseNet(JUDGE))


def packed(value) -> bytes:
    """msgpack, as Flax writes it."""
    if isinstance(value, dict):
        return (
            b"\xdf"
            + struct.pack(">I", len(value))
            + b"".join(packed(k) + packed(v) for k, v in value.items())
        )
    if isinstance(value, (list, tuple)):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    inside = packed(
        (tuple(value.shape), str(value.dtype).removeprefix("torch."), value.contiguous().numpy().tobytes())
    )
    return b"\xc9" + struct.pack(">I", len(inside)) + b"\x01" + inside


def nested(arrays):
    tree = {}
    for path, value in arrays.items():
        *parts, leaf = path.split("/")
        at = tree
        for part in parts:
            at = at.setdefault(part, {})
        at[leaf] = value
    return tree


def flax_leaf(path, value):
    """Our key and layout as Flax has them."""
    *parts, leaf = path.split(".")
    if leaf == "weight":
        leaf = "scale" if value.ndim == 1 else "kernel"
        value = value if value.ndim == 1 else value.mT if value.ndim == 2 else value.permute(2, 3, 1, 0)
    return "/".join(
        [*parts, {"running_mean": "mean", "running_var": "var"}.get(leaf, leaf)]
    ), value.contiguous()


def flax_score(network):
    names = {v: k for k, v in flax_modules(network).items()}
    items = ((k, v) for k, v in network.state_dict().items() if k != "sigmas")
    return dict(flax_leaf(f"{names['.'.join(k.split('.')[:2])]}.{k.split('.', 2)[2]}", v) for k, v in items)


def flax_judge(judge):
    items = (flax_leaf(k, v) for k, v in judge.state_dict().items())
    return {("batch_stats/" if k.endswith(("/mean", "/var")) else "params/") + k: v for k, v in items}


def same(found, network, but=()):
    state = network.state_dict()
    return all(torch.equal(v, state[k].to(v)) for k, v in found.state_dict().items() if k not in but)


def checkpoint(network, **changes):
    """As SDE-SR saves its training: the average differs from the weights."""
    model = {
        f"module.{k}": torch.zeros_like(v) if k not in ("sigmas", "all_modules.0.W") else v
        for k, v in network.state_dict().items()
    }
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": [p.detach() for p in network.parameters()]}
    return {"optimizer": {"state": {}}, "model": model, "ema": ema, "step": 7, **changes}


def test_the_average_of_a_torch_checkpoint_is_loaded(tmp_path, network):
    torch.save(checkpoint(network), tmp_path / "checkpoint_30.pth")
    prior = load_sr_prior(str(tmp_path / "checkpoint_30.pth"))
    assert same(prior.network, network)
    assert (prior.size, prior.multiple, prior.channels) == (16, 8, 3)
    assert (prior.schedule.smallest, prior.schedule.largest) == (0.01, 50.0)  # of the file's table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ema": None}, "without averaged weights"),
        ({"ema": {"decay": 0.9}}, "without averaged weights"),
        ({"ema": {"shadow_params": [torch.zeros(3)]}}, "average of 1 tensors does not belong"),
    ],
)
def test_a_checkpoint_without_its_average_is_refused(tmp_path, network, change, words):
    torch.save(checkpoint(network, **change), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"a\.pth: .*{words}"):
        weights.load(tmp_path / "a.pth")


def test_a_flax_training_state_gives_its_average(tmp_path, network):
    state = {
        "step": 3,
        "optimizer": {"target": nested({k: v * 0 for k, v in flax_score(network).items()})},
        "ema_rate": 0.999,
        "rng": torch.zeros(2),
    }
    path = tmp_path / "checkpoint_30"  # Flax gives no suffix
    path.write_bytes(packed({**state, "params_ema": nested(flax_score(network))}))
    found = weights.load(path, "ncsnpp").network
    assert same(found, network, but=("sigmas",))
    assert float(found.sigmas.max()) == pytest.approx(348)  # the published noise, as Flax files hold no table
    path.write_bytes(packed(state))
    with pytest.raises(ValueError, match="without averaged weights"):
        weights.load(path)


def test_flax_classifiers_load_from_msgpack_and_safetensors(tmp_path, judge):
    (tmp_path / "ckpt_glasses").write_bytes(packed(nested(flax_judge(judge))))
    save_file(flax_judge(judge), tmp_path / "glasses.safetensors")
    for name in ("ckpt_glasses", "glasses.safetensors"):
        found = load_attribute(str(tmp_path / name))
        assert same(found.network, judge)
        assert (found.attribute, found.classes) == ("glasses", ("no eyeglasses", "eyeglasses"))


def test_our_own_files_keep_their_settings(tmp_path, network, judge):
    weights.save(network, tmp_path / "a.safetensors", {"settings": json.dumps(asdict(CONFIG))})
    assert weights.load(tmp_path / "a.safetensors", "ncsnpp").network.config == CONFIG
    weights.save(judge, tmp_path / "b.safetensors", {"attribute": "hat", "classes": "bare,hat"})
    hat = load_attribute(str(tmp_path / "b.safetensors"))
    assert (hat.attribute, hat.label("hat")) == ("hat", 1)


def test_what_a_file_does_not_say_is_asked_for(tmp_path, judge):
    weights.save(judge, tmp_path / "a.safetensors", {})
    with pytest.raises(ValueError, match="does not say which attribute"):
        load_attribute(str(tmp_path / "a.safetensors"))
    assert load_attribute(str(tmp_path / "a.safetensors"), "beard").classes == ("beard", "no beard")
    with pytest.raises(ValueError, match="classes of attribute 'hat'"):
        load_attribute(str(tmp_path / "a.safetensors"), "hat")


def test_a_classifier_that_was_trained_without_noise_is_refused(tmp_path, judge):
    state = {
        k: v
        for k, v in judge.state_dict().items()
        if not k.startswith(("GaussianFourier", "Dense_0", "Dense_1", "Dense_2"))
    }
    save_file(state, tmp_path / "gender.safetensors")
    with pytest.raises(ValueError, match=r"gender\.safetensors: .*trained without noise"):
        load_attribute(str(tmp_path / "gender.safetensors"))


def test_incomplete_and_foreign_flax_files_are_named(tmp_path, network):
    arrays = flax_score(network)
    path = tmp_path / "a.msgpack"
    path.write_bytes(packed(nested({k: v for k, v in arrays.items() if not k.startswith("Conv_1")})))
    with pytest.raises(ValueError, match=r"2 missing \(all_modules"):
        weights.load(path)
    other = filled(NCSNpp(NCSNppConfig(16, 3, 4, (1, 1, 2, 2), 1, (16, 8))), "sigmas")
    path.write_bytes(packed(nested(flax_score(other))))
    with pytest.raises(ValueError, match="do not tell where its attention lies"):
        weights.load(path)
    path.write_bytes(packed({"a": {"kernel": torch.zeros(2)}}))
    with pytest.raises(ValueError, match="holds no network that PriorSR knows"):
        weights.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x80\x80",
        b"\x81\xa1a" + b"\x91" * 100,
        packed({"a": b"x"})[:-1],
        b"PK\x03\x04",
        b"\x81\xa1a\xc7\x0b\x01\x93\x91\x7f\xa5int64\xc4\x00",  # an array of 127 without a byte
        b"\x81\xa1a\xc7\x0a\x01\x93\x91\x01\xa6object",
        b"\x81\x80\x01",  # a dict as a key
    ],
)
def test_damaged_msgpack_is_refused(tmp_path, content):
    (tmp_path / "a.msgpack").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*a\.msgpack"):
        read_flax(tmp_path / "a.msgpack")


def test_every_form_of_msgpack_is_read(tmp_path):
    short = (
        b"\x84\xa1a\x05\xa1b\xe0\xa1c\x92\xc0\xc3\xa1d" + b"\xd4\x01\x00"
    )  # an extension that holds no array
    (tmp_path / "a.msgpack").write_bytes(short)
    with pytest.raises(ValueError, match="d is no array"):
        read_flax(tmp_path / "a.msgpack")
    small = b"\x93\x90\xa7float32\xc4\x04" + struct.pack("<f", 2.5)
    (tmp_path / "a.msgpack").write_bytes(
        b"\xde\x00\x02\xd9\x01x\xc7"
        + bytes([len(small)])
        + b"\x01"
        + small
        + b"\xa1y\xca"
        + struct.pack(">f", 1)
    )
    assert read_flax(tmp_path / "a.msgpack") == {"x": torch.tensor(2.5)}
