"""Memory: amounts as people write them, runs that shrink to fit, and runs that go on when it ran out."""

from dataclasses import replace

import pytest
import torch
from stablesr_tiny import context, tiny

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.memory import (
    call_bytes,
    free_bytes,
    is_out_of_memory,
    on_meta,
    parse_bytes,
    peak_bytes,
)
from priorsr.methods.method import Plan, Upscaler
from priorsr.methods.precision import cast
from priorsr.methods.priors.load import load_prior
from priorsr.methods.registry import method_named
from priorsr.methods.stablesr.method import StableSRSettings
from priorsr.methods.stablesr.upscaler import StableSRUpscaler


class Hungry(Upscaler):
    """Needs a byte for every pixel of its tile, and fails where it is given fewer."""

    def __init__(self, tile=64, room=20):
        self.tile = tile
        self.room = room
        self.tried = []

    def plan(self, size, scale):
        return Plan(self.result_size(size, scale), 1, self.tile)

    def shrink(self):
        if self.tile <= 8:
            return ""
        self.tile //= 2
        return f"tiles of {self.tile} pixels"

    def enlarge(self, low, scale, seeds, step, report):
        self.tried.append(self.tile)
        if self.tile > self.room:
            raise torch.OutOfMemoryError("it asked for too much")
        return low.repeat_interleave(int(scale), 2).repeat_interleave(int(scale), 3)


@pytest.mark.parametrize(
    ("text", "count"), [("6GB", 6 << 30), ("800 MB", 800 << 20), ("1.5GiB", 3 << 29), ("512", 512)]
)
def test_amounts_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0GB", "6 cats"])
def test_other_texts_are_no_amounts(text):
    with pytest.raises(ValueError, match="is no amount of memory"):
        parse_bytes(text)


def test_something_is_free():
    assert free_bytes(torch.device("cpu")) > 1 << 20


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: 2"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, memory):
    assert is_out_of_memory(error) is memory


def test_a_run_that_meets_the_end_of_memory_goes_on_with_less():
    heard = []
    upscaler = Hungry(room=20)
    result = upscaler(torch.full((1, 3, 4, 4), 0.5), 2.0, report=heard.append)
    assert result.shape == (1, 3, 8, 8)
    assert upscaler.tried == [64, 32, 16]
    assert heard == [
        "out of memory: goes on with tiles of 32 pixels",
        "out of memory: goes on with tiles of 16 pixels",
    ]


def test_a_run_that_cannot_shrink_says_so():
    with pytest.raises(torch.OutOfMemoryError):
        Hungry(room=1)(torch.full((1, 3, 4, 4), 0.5), 2.0)


def test_a_run_shrinks_to_fit_before_it_starts():
    upscaler = Hungry()
    assert upscaler.fit((4, 4), 2.0, 100) == ()
    assert upscaler.fit((4, 4), 2.0, 20) == ("tiles of 16 pixels, to stay within 0 MB",)
    assert upscaler.fit((4, 4), 2.0, 2) == ("needs about 0 MB beside the weights, of 0 MB",)


@pytest.mark.parametrize("method", ["diffsr", "dpi", "srdg", "srcnn"])
def test_methods_shrink_until_they_cannot(method):
    upscaler = method_named(method).prepare()
    size, scale = (128, 128), 4.0
    before = upscaler.plan(size, scale).bytes
    words = []
    while said := upscaler.shrink():
        words.append(said)
        after = upscaler.plan(size, scale).bytes
        assert after <= before
        before = after
    assert words
    assert len(words) < 12


def test_the_command_keeps_to_an_amount_and_refuses_what_is_none(tmp_path, caplog):
    source = tmp_path / "in.png"
    write(Picture(torch.rand(1, 3, 24, 24)), source)
    options = ["upscale", "diffsr", str(source), str(tmp_path / "out.png"), "--scale", "4", "--steps", "2"]
    assert cli.main([*options, "--memory", "200KB"]) == 0
    assert "to stay within" in caplog.text or "needs about" in caplog.text
    assert cli.main([*options, "--overwrite", "--memory", "lots"]) == 2
    assert "'lots' is no amount of memory" in caplog.text


def test_the_peak_of_a_call_is_counted_exactly():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3, padding=1)
    )
    (copy,) = on_meta(network)
    x = torch.empty(2, 3, 16, 16, device="meta")
    assert peak_bytes(lambda: copy(x)) == 2 * 2 * 8 * 16 * 16 * 4  # both maps of eight channels
    assert peak_bytes(lambda: [copy(x), copy(x)]) == (2 * 8 + 3) * 2 * 16 * 16 * 4
    assert next(network.parameters()).device.type == "cpu"


def test_half_precision_takes_half_of_the_memory():
    network = load_prior("face64").network
    whole = call_bytes(network, (1, 1, 64, 64))
    half = call_bytes(cast(network, torch.float16), (1, 1, 64, 64))
    assert 0.45 * whole < half < 0.75 * whole


def test_stablesr_counts_steps_and_decoding():
    settings = StableSRSettings(steps=2, tile=64, overlap=32, vae_tile=64)
    upscaler = StableSRUpscaler(tiny(), context(), settings)
    one = upscaler.plan((64, 64), 4.0).bytes
    assert upscaler.shrink() == ""
    upscaler.settings = replace(upscaler.settings, tile_batch=64)
    many = upscaler.plan((64, 64), 4.0).bytes
    assert upscaler.shrink() == "32 tiles a call"
    assert one < upscaler.plan((64, 64), 4.0).bytes < many
