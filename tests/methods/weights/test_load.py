from __future__ import annotations

import json
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.nets.srcnn import SRCNN


@pytest.fixture
def state():
    return SRCNN().state_dict()


def same(network, state):
    return all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_own_files_come_back_with_their_metadata(tmp_path, state):
    network = SRCNN()
    network.load_state_dict(state)
    found = weights.load(weights.save(network, tmp_path / "a.safetensors", {"scale": 3, "seed": 0}))
    assert same(found.network, state)
    assert (found.kind, found.scale, found.metadata["seed"]) == ("srcnn", 3, "0")
    assert not found.network.training
    assert not any(p.requires_grad for p in found.network.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s},
        lambda s: {"params_ema": s},
        lambda s: {"model": {"state_dict": s}},
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_published_containers_and_prefixes_are_understood(tmp_path, state, wrap, prefix, suffix):
    path = tmp_path / f"a{suffix}"
    torch.save(wrap({prefix + k: v for k, v in state.items()}), path)
    found = weights.load(path, "srcnn")
    assert same(found.network, state)
    assert found.scale is None


@pytest.mark.parametrize(
    ("name", "scale"), [("srcnn_x3.pth", 3), ("my_x2.pt", 2), ("x2_model.pt", None), ("own.pth", None)]
)
def test_published_files_tell_their_scale_by_name(tmp_path, state, name, scale):
    torch.save(state, tmp_path / name)
    assert weights.load(tmp_path / name).scale == scale


def test_half_precision_files_become_float32(tmp_path, state):
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "a.safetensors")
    assert weights.load(tmp_path / "a.safetensors").network.conv1.weight.dtype == torch.float32


def test_sizes_are_read_from_the_shapes(tmp_path):
    network = SRCNN(3, (16, 8), (5, 1, 3), (2, 0, 1))
    found = weights.load(weights.save(network, tmp_path / "a.safetensors", {})).network
    assert (found.conv1.in_channels, found.conv2.out_channels, found.conv3.kernel_size, found.reach) == (
        3,
        8,
        (3, 3),
        3,
    )


class Hostile:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin", ".safetensors"])
@pytest.mark.parametrize("raw", [True, False])
def test_pickled_code_is_never_run(tmp_path, suffix, raw):
    path, trap = tmp_path / f"hostile{suffix}", tmp_path / "executed"
    if raw:
        path.write_bytes(pickle.dumps({"conv1.weight": Hostile(trap)}, protocol=2))
    else:
        torch.save({"conv1.weight": Hostile(trap)}, path)
    with pytest.raises(
        ValueError,
        match="cannot read .*hostile" if suffix == ".safetensors" else "hostile.* holds pickled code",
    ):
        weights.load(path)
    assert not trap.exists()


def test_wrong_files_are_named_with_the_reason(tmp_path, state):
    def made(name, content):
        path = tmp_path / name
        save_file(content, path) if name.endswith(".safetensors") else path.write_bytes(content)
        return path

    partial = {k: v for k, v in state.items() if k != "conv3.bias"}
    misshapen = {**state, "conv2.bias": torch.zeros(7)}
    surplus = {**state, "conv4.weight": torch.zeros(1)}
    flat = {**state, "conv2.weight": torch.zeros(4)}
    cases = [
        (made("partial.safetensors", partial), "1 missing \\(conv3.bias\\)"),
        (made("misshapen.safetensors", misshapen), "1 misshapen \\(conv2.bias\\)"),
        (made("surplus.safetensors", surplus), "1 surplus \\(conv4.weight\\)"),
        (made("flat.safetensors", flat), "flat.safetensors"),
        (made("other.safetensors", {"weight": torch.zeros(1)}), "no network that PriorSR knows"),
        (made("cut.safetensors", {"a": torch.zeros(9)}), None),
        (made("text.pt", b"not a model"), "cannot read .*text.pt: it is no checkpoint"),
        (made("notes.txt", b"hello"), "is no weight file"),
    ]
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(cut.read_bytes()[:-8])
    for path, message in cases:
        with pytest.raises(ValueError, match=message or "cannot read"):
            weights.load(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        weights.load(tmp_path / "nowhere.pt")
    listed = tmp_path / "list.pt"
    torch.save([torch.zeros(1)], listed)
    with pytest.raises(ValueError, match="not a state dict"):
        weights.load(listed)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "archive.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match=r"archive\.pt"):
        weights.load(path)


def test_names_are_looked_up_in_the_users_folders_and_shipped_ones_in_the_package(
    tmp_path, monkeypatch, state
):
    assert weights.locate("srcnn_x2") == weights.SHIPPED / "srcnn_x2.safetensors"
    for name in ("srcnn_x2.safetensors", "own.safetensors"):
        save_file(state, tmp_path / name)
    monkeypatch.setenv("PRIORSR_MODELS", f"{tmp_path}{os.pathsep}{tmp_path / 'missing'}")
    assert weights.locate("srcnn_x2") == weights.SHIPPED / "srcnn_x2.safetensors"
    assert weights.locate("own") == weights.locate("own.safetensors") == tmp_path / "own.safetensors"
    assert {tmp_path / "srcnn_x2.safetensors", tmp_path / "own.safetensors"} <= set(weights.installed())
    for name in ("nothing", "", "../own", "."):
        with pytest.raises(FileNotFoundError, match="no weights called"):
            weights.locate(name)


def test_a_file_of_the_working_directory_is_taken_only_where_a_path_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("srcnn_x2", "checkpoint_30", "own.pth"):
        (tmp_path / name).write_bytes(b"notes")
    assert weights.locate("srcnn_x2").parent == weights.SHIPPED
    with pytest.raises(FileNotFoundError):
        weights.locate("checkpoint_30")
    for typed in ("./checkpoint_30", "./srcnn_x2", "own.pth", str(tmp_path / "own.pth")):
        assert weights.locate(typed).resolve().parent == tmp_path


def test_released_files_without_a_suffix_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    for name, content in (("checkpoint_30", b"\xde\x00\x01"), ("README", b"hello"), (".hidden", b"\x81")):
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "ckpt_pipe")
    assert weights.locate("checkpoint_30") == tmp_path / "checkpoint_30"
    assert [p.name for p in weights.installed() if p.parent == tmp_path] == ["checkpoint_30"]


def test_checksums_of_shipped_weights_are_those_that_are_listed(capsys):
    lines = (weights.SHIPPED / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in map(str.split, lines)}
    assert cli.main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {f"{row['name']}.safetensors": row["sha256"] for row in rows} == listed


def test_shipped_weights_are_complete_small_and_documented():
    for scale in (2, 3, 4):
        path = weights.SHIPPED / f"srcnn_x{scale}.safetensors"
        found = weights.load(path, "srcnn")
        assert found.scale == scale
        assert path.with_suffix(".md").read_text(encoding="utf-8").startswith("# SRCNN")
    assert sum(p.stat().st_size for p in weights.SHIPPED.iterdir()) < 60_000_000
