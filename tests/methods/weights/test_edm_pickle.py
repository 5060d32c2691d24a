"""EDM's pickles are read and never run: networks come back, and hostile files are refused by name."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import struct
import sys
import types

import numpy as np
import pytest
import torch
from edm_checkpoints import SETTINGS, Checkpoint
from torch import nn

from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.weights.edm_pickle import read_edm_pickle


class Hostile:
    """Unpickled, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def trap(tmp_path):
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "the file ran code"


@pytest.fixture
def write(tmp_path, monkeypatch, trap):
    """A function writing a checkpoint that only reads where EDM's own modules are named, not present."""

    def reconstruct(meta):
        raise AssertionError("the checkpoint was rebuilt by its own function")

    reconstruct.__module__, reconstruct.__qualname__ = (
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
    )
    persistence = types.ModuleType("torch_utils.persistence")
    persistence._reconstruct_persistent_obj = reconstruct
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", persistence)

    def write(content, name="network.pkl", **options):
        path = tmp_path / name
        with path.open("wb") as file:
            Checkpoint(file, f"import os\nos.mkdir({str(trap)!r})\n", **options).dump(content)
        return path

    return write


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_edm(SETTINGS).eval()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: n,
        lambda n: {"ema": n},
        lambda n: {"ema": n, "loss_fn": nn.Identity(), "dataset_kwargs": {"path": "x"}},
    ],
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_tensors_and_settings_come_back(write, network, wrap, protocol):
    state, settings = read_edm_pickle(write(wrap(network), protocol=protocol))
    wanted = network.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(v, wanted[k]) for k, v in state.items())
    assert not any(v.requires_grad for v in state.values())
    assert {k: settings[k] for k in SETTINGS} == SETTINGS
    assert (settings["sigma_data"], settings["sigma_max"], settings["use_fp16"]) == (0.5, float("inf"), False)
    again = build_edm(settings).eval()
    again.load_state_dict(state)
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x, 2.0), network(x, 2.0))


def test_half_precision_and_views_come_back(write, network):
    network.model.map_layer0.half()
    whole = torch.arange(24.0).reshape(4, 6)
    network.model.map_layer1.register_buffer("window", whole[1:3, ::2])
    network.model.map_layer1.register_buffer("temporary", whole, persistent=False)
    network.model.map_layer1.register_buffer("nothing", None)
    state, _ = read_edm_pickle(write({"ema": network}))
    assert state["model.map_layer0.weight"].dtype == torch.float16
    assert torch.equal(state["model.map_layer1.window"], whole[1:3, ::2])
    assert state.keys() == network.state_dict().keys()


@pytest.mark.parametrize("value", [np.float32(0.25), np.float64(0.1), np.int64(3), np.bool_(True)])
def test_numpy_numbers_become_plain(write, network, value):
    _, settings = read_edm_pickle(write({"ema": network}, module_extra={"sigma_data": value}))
    assert settings["sigma_data"] == value.item()
    assert type(settings["sigma_data"]) is type(value.item())


def refused(path, *words):
    with pytest.raises(ValueError) as caught:
        read_edm_pickle(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


NEVER = "PriorSR never runs code"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_hostile_pickles_are_refused_by_name(tmp_path, trap, protocol):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps({"ema": Hostile(trap)}, protocol))
    refused(path, NEVER, f"{os.name if os.name == 'nt' else 'posix'}.mkdir")


def test_code_inside_the_network_is_refused(write, network, trap):
    refused(
        write({"ema": network}, module_extra={"_init_kwargs": {"model_type": Hostile(trap)}}), NEVER, "mkdir"
    )
    refused(write({"ema": network, "other": [Hostile(trap)]}), NEVER, "mkdir")
    network._buffers["x"] = Hostile(trap)
    refused(write({"ema": network}), NEVER, "mkdir")


@pytest.mark.parametrize(
    "name",
    [
        "builtins.eval",
        "builtins.getattr",
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.linear.Linear",
        "os.system",
    ],
)
def test_no_other_name_is_looked_up(tmp_path, name):
    path = tmp_path / "name.pkl"
    module, _, attribute = name.rpartition(".")
    path.write_bytes(f"c{module}\n{attribute}\n.".encode())
    refused(path, NEVER, name)


def stack_global(module, name):
    """Opcodes of protocol 4 that look up a dotted name."""
    text = b"".join(b"\x8c" + struct.pack("<B", len(t)) + t.encode() for t in (module, name))
    return b"\x80\x04" + text + b"\x93"


@pytest.mark.parametrize("name", ["OrderedDict.fromkeys", "abc", "_sys.modules"])
def test_names_are_not_followed_through_known_modules(tmp_path, name):
    path = tmp_path / "dotted.pkl"
    path.write_bytes(stack_global("collections", name) + b".")
    refused(path, NEVER, f"collections.{name}")


class HostileStorage:
    """Bytes that torch.load would read as code, where the tensor's numbers belong."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


class TensorOf:
    def __init__(self, storage, size=(2,), stride=(1,), offset=0):
        self.args = (storage, offset, size, stride, False, {})

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.args


def saved(value, zipped):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.mark.parametrize("form", ["raw", "legacy", "zip"])
def test_code_in_the_stored_numbers_is_refused(write, network, trap, form):
    data = pickle.dumps(Hostile(trap), protocol=2) if form == "raw" else saved(Hostile(trap), form == "zip")
    network._buffers["x"] = TensorOf(HostileStorage(data))
    refused(write({"ema": network}), NEVER)


@pytest.mark.parametrize(
    "tensor",
    [
        lambda data: TensorOf(HostileStorage(data), size=(9,)),
        lambda data: TensorOf(HostileStorage(data), size=(2, 2**40), stride=(1, 0)),
        lambda data: TensorOf(HostileStorage(data), offset=3),
        lambda data: TensorOf(HostileStorage(data), stride=(-1,)),
        lambda data: TensorOf(HostileStorage(data), size="ab"),
        lambda data: TensorOf(HostileStorage(data[:-4])),
        lambda data: TensorOf(HostileStorage(b"")),
        lambda data: TensorOf(HostileStorage(saved({"a": 1}, True))),
        lambda data: TensorOf([1, 2]),
        lambda data: [1, 2],
    ],
)
def test_tensors_that_leave_their_numbers_are_refused(write, network, tensor):
    network._buffers["x"] = tensor(saved(torch.arange(2.0)._typed_storage(), False))
    refused(write({"ema": network}))


def test_state_set_on_known_names_stays_in_the_file(write, network, tmp_path):
    path = tmp_path / "build.pkl"
    for name in (
        "collections OrderedDict",
        "torch_utils.persistence _reconstruct_persistent_obj",
        "numpy dtype",
    ):
        module, attribute = name.split()
        # (None, {"name": "changed"}) given as state to the class itself
        path.write_bytes(stack_global(module, attribute) + b"N}\x8c\x04name\x8c\x07changeds\x86b.")
        refused(path)
    read_edm_pickle(write({"ema": network}))


def test_damaged_and_foreign_files_are_named(write, network, tmp_path):
    whole = write({"ema": network}).read_bytes()
    for length in (0, 1, 2, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "cut.pkl"
        path.write_bytes(whole[:length])
        refused(path, "damaged or no EDM checkpoint")
    path = tmp_path / "text.pkl"
    for content in (
        b"not a pickle",
        b"PK\x03\x04 an archive",
        pickle.dumps([1, 2]),
        pickle.dumps({"G": 1}),
        pickle.dumps({"ema": 1}),
        pickle.dumps({}),
    ):
        path.write_bytes(content)
        refused(path, "damaged or no EDM checkpoint")
    refused(write({"ema": network}, class_name="VPPrecond"), "VPPrecond", "only EDMPrecond")
    refused(write({"ema": network}, module_extra={"_init_kwargs": {"a": [[[[1]]]]}}), "settings")
    refused(write({"ema": network}, module_extra={"_init_kwargs": [1]}))
    refused(write({"ema": network}, module_extra={"_modules": {"model": 3}}), "model")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pkl"):
        read_edm_pickle(tmp_path / "nowhere.pkl")


@pytest.mark.filterwarnings("ignore")
def test_changed_bytes_give_a_readable_error_or_a_checkpoint(write, network, tmp_path):
    whole, path, dice = write({"ema": network}).read_bytes(), tmp_path / "changed.pkl", random.Random(0)
    for i in range(120):
        content = bytearray(whole)
        for _ in range(1 + i % 4):
            content[dice.randrange(3000 if i % 2 else len(content))] = dice.randrange(256)
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # any other exception fails
            read_edm_pickle(path)


def test_modules_that_hold_each_other_end(write, network):
    network.model._modules["loop"] = network.model.enc
    network.model.enc._modules["loop"] = network.model.enc
    refused(write({"ema": network}), "used twice")
