"""`priorsr upscale --method stablesr` on networks with random weights."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from functools import partial

import pytest
import torch
from diffusers_folder import clip_state, put, unet_state, vae_state
from open_clip_tiny import text_state
from safetensors.torch import load_file, save_file
from stablesr_tiny import UNET as CONFIG
from stablesr_tiny import tiny

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.alpha import fill_hidden
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.stablesr.layers import UNET
from priorsr.methods.stablesr.load import AUTOENCODER, TEXT, load_stablesr, load_text
from priorsr.methods.stablesr.method import StableSRSettings, stablesr_upscale
from priorsr.methods.stablesr.text import tokenise
from priorsr.methods.stablesr.upscaler import METHOD
from priorsr.methods.weights import SHIPPED
from priorsr.methods.weights.known import find_known

SETTINGS = StableSRSettings(steps=2, tile=32, overlap=16, vae_tile=64, vae_overlap=32)
OPTIONS = [
    f"--stablesr-{name.replace('_', '-')}={getattr(SETTINGS, name)}"
    for name in ("steps", "tile", "overlap", "vae_tile", "vae_overlap")
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A full file and parts (bare.safetensors has no text encoder), embeddings, a tokenizer, one picture."""
    folder, model = tmp_path_factory.mktemp("stablesr"), tiny()
    layers = model.layers.released_state()
    parts = ((UNET, model.prior.network), (AUTOENCODER, model.vae))
    bare = {f"{prefix}{k}": v for prefix, network in parts for k, v in network.state_dict().items()}
    base = bare | {f"{TEXT[0]}{k}": v for k, v in text_state(CONFIG.context_dim).items()}
    save_file({**base, **layers}, folder / "full.safetensors")
    torch.save(layers, folder / "layers.ckpt")
    torch.save({f"decoder.{k}": v for k, v in model.cfw.state_dict().items()}, folder / "cfw.ckpt")
    save_file(base, folder / "base.safetensors")
    save_file(bare, folder / "bare.safetensors")
    save_file(
        {"context": load_text(str(folder / "full.safetensors"))(tokenise(""))}, folder / "empty.safetensors"
    )
    save_file({"context": torch.zeros(77, CONFIG.context_dim)}, folder / "zeros.safetensors")
    save_file({"context": torch.zeros(5, CONFIG.context_dim)}, folder / "short.safetensors")
    save_file({"context": torch.zeros(5, 16)}, folder / "narrow.safetensors")
    (folder / "vocab.json").write_text(json.dumps({"c": 0, "a": 1, "t</w>": 2}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    low = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    write(Picture(low, low[:, :1]), folder / "low.png")
    return folder


def upscale(files, out, *arguments):
    named = [str(files / a) if a and (files / a).exists() else a for a in arguments]
    always = ["--method", "stablesr", "--scale", "4", "--seed", "3", "--device", "cpu", *OPTIONS]
    return cli.main(["upscale", str(files / "low.png"), str(out), *always, *named])


def test_a_full_file_is_enough(files, tmp_path, caplog):
    assert upscale(files, tmp_path / "out.png", "--stablesr", "full.safetensors") == 0
    assert "a fidelity of 0.5 has no effect" in caplog.text
    found, model = read(tmp_path / "out.png"), load_stablesr(str(files / "full.safetensors"))
    assert found.alpha.shape == (1, 1, 32, 40)
    settings = StableSRSettings(**(vars(SETTINGS) | {"fidelity": 0.0}))
    context = load_text(str(files / "full.safetensors"))(tokenise(""))
    low = read(files / "low.png")
    expected = stablesr_upscale(model, fill_hidden(low.pixels, low.alpha), 4, context, settings, seeds=[3])
    torch.testing.assert_close(found.pixels, expected, rtol=0, atol=1 / 255)
    assert expected.std() > 0.1


def test_what_is_asked_reaches_the_method(files, tmp_path):
    full = ("--stablesr", "full.safetensors")
    layers = ("--stablesr", "layers.ckpt", "--base")
    guided = (*full, "--stablesr-guidance", "4")
    prompt = ("--tokenizer", str(files), "--prompt", "cat")
    runs = {
        "full": full,
        "parts": (*layers, "base.safetensors"),
        "embeddings": (*layers, "bare.safetensors", "--context", "empty.safetensors"),
        "cfw": (*full, "--cfw", "cfw.ckpt"),
        "v": (*full, "--target", "v"),
        "prompt": (*full, "--stablesr-guidance=30", "--negative", "", *prompt),
        "guided": (*guided, "--negative-context", "zeros.safetensors"),
        "guided by nothing": (*guided, "--negative", ""),
        "cleaned": (*full, "--pre-clean", "srcnn"),
        "guided as published": guided,
    }
    found = {}
    for name, arguments in runs.items():
        assert upscale(files, tmp_path / f"{name}.png", *arguments) == 0
        found[name] = read(tmp_path / f"{name}.png").pixels
    # a guidance away from what is asked for does nothing
    same = ("full", "parts", "embeddings", "guided by nothing")
    assert all(torch.allclose(found[name], found["full"], rtol=0, atol=1.01 / 255) for name in same)
    others = ["full", *(name for name in runs if name not in same)]
    assert all((found[a] - found[b]).abs().max() > 0.02 for a in others for b in others if a < b)


def test_the_longer_side_can_be_given_and_networks_are_loaded_once(files, tmp_path, monkeypatch):
    from priorsr.methods.stablesr import upscaler as commands

    loaded = []
    monkeypatch.setattr(
        commands, "load_stablesr", lambda *names: loaded.append(names) or load_stablesr(*names)
    )
    for name, size in (("a", (8, 10)), ("b", (8, 8))):
        write(
            Picture(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))),
            tmp_path / "in" / f"{name}.png",
        )
    networks = [
        "--method",
        "stablesr",
        "--stablesr",
        str(files / "full.safetensors"),
        "--longest",
        "32",
        "--device",
        "cpu",
    ]
    assert cli.main(["upscale", str(tmp_path / "in"), str(tmp_path / "out"), *networks, *OPTIONS]) == 0
    assert [tuple(read(tmp_path / "out" / f"{name}.png").pixels.shape[-2:]) for name in "ab"] == [
        (26, 32),
        (32, 32),
    ]
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a full StableSR file such as stablesr_000117.ckpt"),
        (
            ("--stablesr", "stablesr_000117.ckpt"),
            "huggingface.co/Iceclear/StableSR publishes stablesr_000117.ckpt",
        ),
        (("--stablesr", "none.ckpt"), "no weights called none.ckpt"),
        (("--stablesr", "none.ckpt"), "stable-diffusion-2-1-base publishes v2-1_512-ema-pruned.safetensors"),
        (("--stablesr", "full.safetensors", "--cfw", "none.ckpt"), "publishes vqgan_cfw_00011.ckpt (S-Lab"),
        (("--stablesr", "layers.ckpt"), "the base must be a Stable Diffusion 2.1 file"),
        (
            ("--stablesr", "layers.ckpt", "--base", "cfw.ckpt"),
            "holds StableSR CFW weights where sd-unet",
        ),
        (("--stablesr", "base.safetensors"), "where stablesr-layers weights are needed"),
        (
            ("--stablesr", "layers.ckpt", "--base", "bare.safetensors"),
            "where sd-text weights are needed",
        ),
        (("--stablesr", "full.safetensors", "--prompt", "cat"), "the prompt 'cat' needs tokenizer FOLDER"),
        (
            ("--stablesr", "full.safetensors", "--stablesr-guidance", "4", "--negative", "blurry"),
            "the prompt 'blurry' needs tokenizer FOLDER",
        ),
        (("--stablesr", "full.safetensors", "--pre-clean", "nothing"), "nothing: looked in"),
        (("--stablesr", "full.safetensors", "--pre-clean", "stablesr"), "cannot restore pictures for itself"),
        (("--stablesr", "full.safetensors", "--reference", "stablesr"), "another method for reference"),
        (
            ("--stablesr", "full.safetensors", "--context", "narrow.safetensors"),
            "prompts of 24 channels and those of",
        ),
        (
            (
                "--stablesr",
                "full.safetensors",
                "--stablesr-guidance",
                "4",
                "--negative-context",
                "short.safetensors",
            ),
            "have 77 and 5 tokens",
        ),
        (("--stablesr", "full.safetensors", "--context", "cfw.ckpt"), "no tensor called context"),
        (("--stablesr", "full.safetensors", "--stablesr-tile", "20"), "cannot overlap by 16"),
        (("--stablesr", "full.safetensors", "--stablesr-steps", "0"), "steps 0 is outside"),
        (("--stablesr", "full.safetensors", "--pre-clean", "dps"), "dps needs prior"),
    ],
)
def test_mistakes_are_told_before_any_work(files, tmp_path, arguments, words, caplog):
    assert upscale(files, tmp_path / "out.png", *arguments) == 2
    assert words in caplog.text
    assert not (tmp_path / "out.png").exists()


def mirror(folder, **scheduler):
    """The base in the layout of diffusers, and what its scheduler says."""
    model = tiny()
    put(unet_state(model.prior.network), folder / "unet", parts=2)
    put(vae_state(model.vae), folder / "vae")
    put(clip_state(text_state(CONFIG.context_dim)), folder / "text_encoder")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler), encoding="utf-8")
    return folder


def test_a_folder_of_diffusers_gives_the_picture_of_the_single_file(files, tmp_path):
    folder = mirror(tmp_path / "sd21")
    layers = ("--stablesr", "layers.ckpt", "--base")
    for name, base in (("single", "base.safetensors"), ("folder", f"{folder}/")):
        asked = ("--cfw", "cfw.ckpt", "--stablesr-guidance", "3")
        assert upscale(files, tmp_path / f"{name}.png", *layers, base, *asked) == 0
    assert (tmp_path / "single.png").read_bytes() == (tmp_path / "folder.png").read_bytes()


def test_the_command_of_the_page_takes_a_mirror_and_two_files(files, root, tmp_path, monkeypatch):
    """As printed, among files of these names; fewer steps and smaller tiles for the small networks."""
    page = (root / "docs" / "stablesr.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(priorsr upscale stablesr photo.jpg .*?)```", page, re.S)
    words = shlex.split(block.replace("\\\n", " "))[1:]
    folder = mirror(tmp_path / words[words.index("--base") + 1])
    for option, own in (("--stablesr", "layers.ckpt"), ("--cfw", "cfw.ckpt")):
        shutil.copy(files / own, tmp_path / words[words.index(option) + 1])
    low = read(files / "low.png").pixels
    write(Picture(low), tmp_path / words[2])
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "--device", "cpu", *(o.replace("--stablesr-", "--") for o in OPTIONS)]) == 0
    assert read(words[3]).pixels.shape == (1, 3, 32, 40)
    assert find_known(words[words.index("--stablesr") + 1]).method == "stablesr"
    assert find_known("sd21-base-folder").file == folder.name


def test_a_reference_holds_the_result_until_the_last_steps(files):
    low, found = read(files / "low.png").pixels, {}
    values = {"steps": 12, "tile": 32, "overlap": 16, "vae_tile": 64, "vae_overlap": 32, "color": "none"}
    for name in ("", "bicubic", "srcnn", str(SHIPPED / "clean.safetensors")):
        given = {"stablesr": str(files / "full.safetensors")}
        chosen = METHOD.prepare(given, values={**values, "reference": name})
        asked = []
        if chosen.reference is not None:
            chosen.reference = partial(noted, chosen.reference, asked)
        found[name] = chosen(low, 4.0, [1])
        assert asked == ([((1, 3, 8, 10), 4.0)] if name else [])
    pictures = list(found.values())
    differences = [(a - b).abs().max() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(differences) > 1e-5, differences
    assert max(differences) > 1e-3, differences


def noted(enlarge, asked, x, scale):
    asked.append((tuple(x.shape), scale))
    return enlarge(x, scale)


def test_target_and_tiles_are_read_from_the_files(files, tmp_path):
    base = str(mirror(tmp_path / "told", prediction_type="v_prediction"))
    named = {"stablesr": str(files / "layers.ckpt"), "base": base}
    context = str(files / "empty.safetensors")
    wide = METHOD.prepare(named, values={"context": context})
    assert (wide.model.prior.target, wide.settings.tile, wide.settings.overlap) == ("v", 768, 384)
    assert not any("768" in warning for warning in wide.warnings)
    plain = METHOD.prepare({**named, "base": str(files / "bare.safetensors")}, values={"context": context})
    assert (plain.model.prior.target, plain.settings.tile, plain.settings.overlap) == ("eps", 512, 256)
    chosen = METHOD.prepare(named, values={"context": context, "tile": 512, "target": "eps"})
    assert (chosen.model.prior.target, chosen.settings.tile) == ("eps", 512)
    save_file(load_file(files / "full.safetensors"), tmp_path / "mine.safetensors", {"target": "eps"})
    named["stablesr"] = str(tmp_path / "mine.safetensors")
    mixed = METHOD.prepare(named, values={"context": context})
    assert any("mine.safetensors is for one that predicts noise" in warning for warning in mixed.warnings)


def test_a_file_named_for_the_other_target_is_told(files, tmp_path, caplog):
    wide = files / "stablesr_768v_000139.safetensors"
    wide.hardlink_to(files / "full.safetensors")
    assert upscale(files, tmp_path / "a.png", "--stablesr", str(wide), "--target", "eps") == 0
    assert "stablesr_768v_000139.safetensors is for one that predicts v" in caplog.text
    caplog.clear()
    assert upscale(files, tmp_path / "b.png", "--stablesr", str(wide)) == 0
    assert "is for one" not in caplog.text
    assert "set tile to 768" in caplog.text
