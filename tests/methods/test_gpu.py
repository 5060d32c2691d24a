"""On a CUDA device: every method does what it does on the processor, in half precision and in other batches
too, and goes on when memory runs out.
"""

import pytest
import torch

from priorsr.methods.precision import PRECISIONS
from priorsr.methods.registry import method_named
from priorsr.samplers.noise import Noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
RUNS = {
    "bicubic": ({}, {}),
    "srcnn": ({}, {}),
    "diffsr": ({}, {"steps": 4}),
    "dpi": ({}, {"steps": 6}),
    "srdg": ({}, {"steps": 6}),
    "dps": ({"prior": "face64"}, {"respacing": "6"}),
    "ddrm": ({}, {"respacing": "6"}),
    "ddnm": ({}, {"respacing": "6", "repeats": 2, "length": 2}),
    "ilvr": ({}, {"respacing": "6"}),
    "repaint": ({}, {"respacing": "6", "repeats": 2, "length": 2}),
}


def pictures(batch=1, size=16):
    rows, columns = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 3, size), indexing="ij")
    planes = [(f * rows + columns).sin() * 0.4 + 0.5 for f in (1.0, 1.5, 2.0)]
    return torch.stack(planes)[None].expand(batch, -1, -1, -1).contiguous()


def run(name, device, precision=torch.float32, batch=1, **values):
    files, few = RUNS[name]
    upscaler = method_named(name).prepare(files, values={**few, **values}, precision=precision).to(device)
    return upscaler(pictures(batch), 4.0, list(range(batch))).cpu()


@pytest.mark.parametrize("name", RUNS)
def test_it_agrees_with_the_processor(name):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    apart = (run(name, "cuda") - run(name, "cpu")).abs()
    assert apart.mean() < 1e-3
    assert apart.quantile(0.999) < 2e-2


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 0.5), ("bf16", 1.5)])
@pytest.mark.parametrize("name", RUNS)
def test_half_precision_is_close(name, precision, limit):
    apart = run(name, "cuda", PRECISIONS[precision]) - run(name, "cuda")
    assert 255 * apart.abs().mean() < limit


@pytest.mark.parametrize("name", ["diffsr", "dpi", "srdg", "dps"])
def test_a_picture_does_not_depend_on_its_batch(name):
    together, alone = run(name, "cuda", batch=3)[:1], run(name, "cuda")
    assert (together - alone).abs().mean() < 1e-3


def test_tiles_of_a_call_do_not_matter():
    one, four = (run("diffsr", "cuda", tile=32, overlap=8, tile_batch=n) for n in (1, 4))
    assert (one - four).abs().mean() < 1e-3


def test_it_goes_on_when_memory_runs_out(monkeypatch):
    upscaler = method_named("diffsr").prepare(values={"steps": 2, "tile_batch": 4}).to("cuda")
    whole, heard, tries = upscaler.enlarge, [], []

    def scarce(*args):
        tries.append(1)
        if len(tries) == 1:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return whole(*args)

    monkeypatch.setattr(upscaler, "enlarge", scarce)
    assert upscaler(pictures(), 4.0, report=heard.append).shape == (1, 3, 64, 64)
    assert any(text.startswith("out of memory: goes on with 2 tiles a call") for text in heard)


def test_noise_is_the_processors():
    drawn = Noise([3, 4])((2, 3, 8, 8))
    assert torch.equal(drawn.to("cuda").cpu(), Noise([3, 4])((2, 3, 8, 8)))
