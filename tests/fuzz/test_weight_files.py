"""Weight files with changed bytes: each is read, or refused by a ValueError that names it; nothing runs.

PRIORSR_FUZZ sets how many are tried (200).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import time

import pytest
import torch
from pickle_attacks import attacks, legacy, state, tensor, zipped
from safetensors.torch import save

from priorsr.methods import weights
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.weights.load import describe

COUNT = int(os.environ.get("PRIORSR_FUZZ", "200"))
LONGEST = 10.0  # seconds of a file


def saved(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def seeds(folder) -> list[tuple[str, bytes]]:
    """Whole files of every container, by suffix."""
    torch.manual_seed(0)
    small = SRCNN(1, (3, 2), (3, 1, 3), (1, 0, 1)).state_dict()
    adm = {k: torch.zeros(2, 2) for k in ("time_embed.0.weight", "input_blocks.0.0.weight")}
    adm["output_blocks.0.0.in_layers.0.weight"] = torch.zeros(2)
    told = {"settings": json.dumps({"image_size": 64, "channel_mult": [1, 2], "num_res_blocks": 1})}
    flax = b"\x81\xa6params\x81\xa1a\xc7\x0e\x01\x93\x91\x01\xa7float32\xc4\x04" + bytes(4)
    inner = state({"conv1.weight": tensor("0", 4, (2, 2), (2, 1))})
    files = [
        (".safetensors", save(small)),
        (".safetensors", save(adm, told)),
        (".pth", saved(small)),
        (".pth", saved({"state_dict": small, "epoch": 3})),
        (".pt", saved(small, _use_new_zipfile_serialization=False)),
        (".ckpt", zipped(folder / "seed", inner, _0=bytes(16)).read_bytes()),
        (".msgpack", flax),
        ("", flax),
        (".pkl", pickle.dumps({"ema": {"a": [1, 2.5, "x", b"yz", (None, True)]}}, 4)),
        (".pkl", saved(small)),
    ]
    for data in attacks(f"touch {folder / 'mark'}").values():
        files += [(".ckpt", zipped(folder / "seed", data).read_bytes()), (".pkl", data), (".pt", data)]
        files.append((".bin", legacy(folder / "seed", data).read_bytes()))
    return files


def changed(data: bytes, dice: random.Random) -> bytes:
    """Some of: bytes replaced (near the start more often), cut, doubled, a large number put in."""
    content = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        at = dice.randrange(min(len(content), dice.choice((64, 512, len(content)))) or 1) if content else 0
        match dice.randrange(5):
            case 0 | 1:
                content[at : at + 1] = bytes([dice.randrange(256)])
            case 2:
                content[at : at + 8] = struct.pack("<Q", dice.choice((0, 2**31, 2**40, 2**63 - 1, 2**64 - 1)))
            case 3:
                content[at : at + dice.randrange(20)] = b""
            case 4:
                content[at:at] = content[at : at + dice.randrange(40)]
    return bytes(content[: dice.randrange(len(content))] if content and dice.random() < 0.05 else content)


def told(read, path, named=None) -> str:
    """What is wrong with how a file is read or refused, which names it, or what else is `named`."""
    try:
        read(path)
    except (ValueError, FileNotFoundError) as error:
        return "" if str(named or path) in str(error) else repr(error)
    except Exception as error:  # whatever it is, it is the fault that is looked for
        return repr(error)
    return ""


@pytest.mark.filterwarnings("ignore")
def test_changed_files_are_read_or_refused_by_name(tmp_path):
    files = seeds(tmp_path)
    for number in range(COUNT):
        dice = random.Random(number)
        suffix, data = files[number % len(files)]
        path = tmp_path / f"file{suffix}"
        path.write_bytes(changed(data, dice))
        start = time.process_time()
        for read in (weights.load, describe, weights.read_state):
            fault = told(read, path)
            assert not fault, f"file {number}{suffix}: {fault}"
        assert time.process_time() - start < LONGEST, f"file {number} takes too long"
        assert not (tmp_path / "mark").exists(), f"file {number} ran code"


def test_changed_folders_are_read_or_refused_by_name(tmp_path):
    """An index, a config.json, a scheduler's and parts, each with changed bytes, and fp8 with its scales."""
    folder = tmp_path / "unet"
    folder.mkdir()
    torch.manual_seed(0)
    names = (
        *("conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.conv1.weight"),
        *("down_blocks.0.attentions.0.to_q.weight", "down_blocks.0.attentions.0.to_k.weight"),
        "down_blocks.0.attentions.0.to_v.weight",
    )
    parts = {f"p{i}.safetensors": save({name: torch.ones(32, 32)}) for i, name in enumerate(names)}
    fp8 = {"a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn), "a.scale_weight": torch.ones(())}
    text = {
        "text_model.embeddings.token_embedding.weight": torch.ones(4, 4),
        "text_model.embeddings.position_embedding.weight": torch.ones(4, 4),
    }
    places = {"weight_map": dict(zip(names, parts, strict=True))}
    config = {"block_out_channels": [32, 32], "layers_per_block": 1, "sample_size": 8, "in_channels": 3}
    files = {
        **parts,
        "diffusion_pytorch_model.safetensors.index.json": json.dumps(places).encode(),
        "config.json": json.dumps(
            {**config, "out_channels": 3, "down_block_types": ["DownBlock2D"]}
        ).encode(),
        "scheduler_config.json": json.dumps({"beta_schedule": "linear", "beta_end": 0.02}).encode(),
    }
    single = {"fp8.safetensors": save(fp8), "text.safetensors": save(text)}
    for name, data in {**files, **single}.items():
        (folder / name).write_bytes(data)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    for number in range(COUNT):
        dice = random.Random(number)
        name = dice.choice([*files, *single])
        (folder / name).write_bytes(changed({**files, **single}[name], dice))
        start = time.process_time()
        for path in (index, folder, *(folder / one for one in single)):
            for read in (weights.load, describe, weights.read_state):
                fault = told(read, path, folder)
                assert not fault, f"{number} {name}: {fault}"
        assert time.process_time() - start < LONGEST, f"{name} {number} takes too long"
        (folder / name).write_bytes({**files, **single}[name])
