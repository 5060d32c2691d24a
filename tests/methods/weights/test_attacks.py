"""Files that were made to run code, to take memory or never to end."""

from __future__ import annotations

import json
import struct
import zipfile

import pytest
import torch
from pickle_attacks import MiB, attacks, legacy, refused, state, tensor, zipped
from safetensors.torch import save_file

from priorsr.methods import weights
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.weights import listing as reader
from priorsr.methods.weights import pickles
from priorsr.methods.weights.load import describe

FORMS = {
    "raw": lambda path, data: path.write_bytes(data) and path,
    "zip": zipped,
    "legacy": legacy,
}


@pytest.mark.parametrize("suffix", [".ckpt", ".pkl"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opcode", attacks(""))
def test_nothing_in_a_file_is_called(tmp_path, opcode, form, suffix):
    mark = tmp_path / "mark"
    path = FORMS[form](tmp_path / f"evil{suffix}", attacks(f"touch {mark}")[opcode])
    refused(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "nt.system",
        "builtins.eval",
        "builtins.exec",
        "builtins.getattr",
        "__builtin__.eval",
        "subprocess.Popen",
        "runpy.run_path",
        "shutil.rmtree",
        "importlib.import_module",
        "pickle.loads",
        "_pickle.loads",
    ],
)
def test_code_is_named_as_such(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = zipped(tmp_path / "evil.ckpt", attacks("true", module, function)["GLOBAL"])
    refused(path, "holds pickled code", name)


def test_names_of_other_programs_become_records_and_are_not_imported(tmp_path):
    import sys

    sys.modules.pop("this", None)
    data = attacks("true", "antigravity_and_friends", "boom")["in a dict"]
    path = zipped(tmp_path / "a.ckpt", data)
    assert weights.read_state(path) == ({}, {})
    refused_plain = pytest.raises(ValueError, match="pickled code")
    with refused_plain:
        weights.check_plain(path)


def test_torch_is_not_asked_to_unpickle(tmp_path, monkeypatch):
    torch.save(SRCNN().state_dict(), tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch.load was called"))
    assert weights.load(tmp_path / "a.pth").kind == "srcnn"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("modern", [True, False])
def test_every_protocol_is_read(tmp_path, protocol, modern):
    wanted = SRCNN().state_dict()
    path = tmp_path / "a.pth"
    torch.save(wanted, path, pickle_protocol=protocol, _use_new_zipfile_serialization=modern)
    found = weights.load(path).network.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in wanted.items())


# memory


def test_a_memo_of_2_to_28_costs_nothing(tmp_path):
    data = b"\x80\x02]r\xff\xff\xff\x0f."
    for suffix in (".pkl", ".pt"):
        (tmp_path / f"a{suffix}").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.p"):
            weights.load(tmp_path / f"a{suffix}")


def test_claims_of_lengths_are_not_believed(tmp_path):
    path = tmp_path / "a.pt"
    for data in (
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x96" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02T\xff\xff\xff\x7f.",
        b"\x80\x02T\xff\xff\xff\xff.",
        b"I" + b"9" * 4000 + b"\n.",
        b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    ):
        path.write_bytes(data)
        refused(path)


def test_tensors_without_strides_are_bounded_by_the_file(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"conv1.weight": torch.zeros(1).expand(1 << 30)}, path)
    with pytest.raises(ValueError, match=r"a\.pt.* the file has"):
        weights.read_state(path)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in SRCNN(3, (4096, 4096)).state_dict().items()}
    whole = {k: torch.zeros(1).expand(shape) for k, shape in shapes.items()}
    torch.save(whole, path)
    with pytest.raises(ValueError, match=r"a\.pt.* the file has"):
        weights.load(path)


def test_a_shared_storage_is_read_once(tmp_path):
    path = tmp_path / "a.pt"
    whole = torch.arange(MiB, dtype=torch.float32)
    torch.save({f"part{i}": whole[i:] for i in range(15)}, path)
    state, _ = weights.read_state(path)
    assert len({v.untyped_storage().data_ptr() for v in state.values()}) == 1
    assert torch.equal(state["part14"], whole[14:])
    torch.save({f"part{i}": whole for i in range(500)}, path)
    refused_or_read = {"part7"}
    state, _ = weights.read_state(path, refused_or_read.__contains__)
    assert torch.equal(state["part7"], whole)
    with pytest.raises(ValueError, match="the file has"):
        weights.read_state(path)


def test_compressed_archives_are_refused_before_they_unpack(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"N0" * (32 * MiB) + b"N.")
    refused(path, "compressed")


def test_archives_whose_parts_lie_elsewhere_or_twice_are_refused(tmp_path):
    head = state({"a": tensor("0", 4, (4,), (1,))})
    refused(zipped(tmp_path / "short.pt", head, _0=bytes(8)))
    refused(zipped(tmp_path / "none.pt", head))
    path = zipped(tmp_path / "twice.pt", head, _0=bytes(16))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", attacks("true")["GLOBAL"])
    refused(path, "one name")


@pytest.mark.parametrize(
    ("shape", "stride"),
    [((5,), (1,)), ((4,), (2,)), ((-1,), (1,)), ((2, 2), (1,)), ((1 << 50,), (0,)), ((1,) * 9, (1,) * 9)],
)
def test_tensors_that_leave_their_storage_are_refused(tmp_path, shape, stride):
    data = state({"a": tensor("0", 4, shape, stride)})
    refused(zipped(tmp_path / "a.pt", data, _0=bytes(16)))


# files that never end


def test_a_dict_that_holds_itself_ends(tmp_path):
    path = tmp_path / "a.pt"
    own: dict = {}
    own["model"] = own["state_dict"] = own["ema"] = own
    torch.save(own, path)
    with pytest.raises(ValueError, match=r"a\.pt holds no network"):
        weights.load(path)


def test_nested_values_are_never_hashed_or_walked(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02}N" + b"2\x86" * 200 + b"K\x01s.")  # (x, x) of (x, x) of ..., as a key
    assert weights.read_state(path) == ({}, {})
    path.write_bytes(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    refused(path)


def test_the_operations_of_a_pickle_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "OPCODES", 1000)
    (tmp_path / "a.pt").write_bytes(b"\x80\x02" + b"N0" * 1000 + b"N.")
    refused(tmp_path / "a.pt", "operations")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("adm", {"num_res_blocks": 10**9}),
        ("adm", {"num_res_blocks": 100_000}),
        ("adm", {"channel_mult": [1] * 100_000}),
        ("adm", {"model_channels": 10**9}),
        ("adm", {"model_channels": "32"}),
        ("adm", {"image_size": "64"}),
        ("adm", {"dropout": None}),
        ("adm", {"unheard_of": 1}),
        ("adm", None),
        ("adm", []),
        ("adm", 3),
        ("edm", {"img_resolution": 10**9, "img_channels": 3}),
        ("edm", {"img_resolution": 64, "img_channels": 3, "model_type": "SongUNet", "num_blocks": 10**5}),
        ("edm", {"img_resolution": 64, "img_channels": "three"}),
        ("ncsnpp", {"num_scales": 10**9}),
        ("ncsnpp", {"num_res_blocks": 10**5}),
        ("ncsnpp", {"sigma_max": float("nan")}),
        ("codeformer", {"layers": 10**6}),
        ("codeformer", {"vqgan": None, "fused": 3}),
        ("vqgan", {"width": 10**6}),
    ],
)
def test_what_a_file_says_of_its_network_is_bounded(tmp_path, kind, settings):
    keys = {
        "adm": ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight"),
        "edm": ("model.map_layer0.weight", "model.map_layer1.weight"),
        "ncsnpp": ("all_modules.0.W", "all_modules.3.weight", "all_modules.4.GroupNorm_0.weight"),
        "codeformer": ("position_emb", "quantize.embedding.weight", "idx_pred_layer.1.weight"),
        "vqgan": ("quantize.embedding.weight", "encoder.blocks.0.weight", "generator.blocks.0.weight"),
    }[kind]
    path = tmp_path / "a.safetensors"
    save_file({k: torch.zeros(2, 2) for k in keys}, path, {"settings": json.dumps(settings), "kind": "prior"})
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        weights.load(path)
    assert describe(path).problem


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "[" * 100_000, '{"a": NaN}', "{" * 99, "\ud7ff"])
def test_settings_that_are_no_settings_are_refused(tmp_path, text):
    path = tmp_path / "a.safetensors"
    keys = ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight")
    save_file({k: torch.zeros(2, 2) for k in keys}, path, {"settings": text})
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        weights.load(path)


@pytest.mark.parametrize(
    "key",
    [
        "DenseBlock_999999999.DenseLayer_0.Conv_0.weight",
        "DenseBlock_0.DenseLayer_999999999.Conv_0.weight",
        "DenseBlock_" + "9" * 5000 + ".DenseLayer_0.Conv_0.weight",
    ],
)
def test_keys_that_count_to_a_billion_are_refused(tmp_path, key):
    path = tmp_path / "a.pt"
    own = {"DenseBlock_0.DenseLayer_0.Conv_0.weight": torch.zeros(1, 1, 1, 1), key: torch.zeros(1)}
    torch.save({**own, "GaussianFourierProjection_0.W": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"a\.pt.*counts further"):
        weights.load(path)


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MOST_TENSORS", 1000)
    path = tmp_path / "a.safetensors"
    header = {f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(2000)}
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    refused(path, "2000 tensors")
