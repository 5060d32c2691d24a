"""No combo of weight files reaches a file that the host does not list: links bring any text."""

from __future__ import annotations

import importlib
import re
import shutil

import torch

from priorsr.methods.graph.standin import calling

LISTED = "tiny_adm.safetensors"
EVERYWHERE = "broken.safetensors"  # whose kind no header tells, so that every list has it


def combos(inputs, prefix=()):
    """The path to every combo that lists weight files, through the choices that bring them."""
    for one in inputs:
        if EVERYWHERE in (one.options or ()) or one.id == "prior":
            yield (*prefix, one.id)
        for option in one.options or ():
            if hasattr(option, "inputs"):
                yield from combos(option.inputs, (*prefix, f"{one.id}={option.key}"))


def every(pack) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (name.removeprefix("PriorSR"), path)
        for name, node in pack.nodes.items()
        for path in combos(node.GET_SCHEMA().inputs)
    ]


def test_there_are_many(pack):
    names = {name for name, _ in every(pack)}
    assert len(every(pack)) > 30
    assert {"LoadShippedPrior", "LoadCFW", "UpscaleSRCNN", "RestoreFaces", "FaceMask", "CodeFormer"} <= names


def test_names_outside_are_refused(pack, tmp_path, monkeypatch):
    folder = pack.host.models / "priorsr"
    secret = tmp_path / "secret.safetensors"
    shutil.copy(folder / LISTED, secret)
    shutil.copy(folder / LISTED, folder.parent / "above.safetensors")
    monkeypatch.chdir(tmp_path)
    image = torch.full((1, 64, 64, 3), 0.5)
    sockets = {"image": image, "restored": image, "faces": pack.run("DetectFaces", image=image)[0]}
    sockets["boxes"] = {"x": 8, "y": 8, "width": 32, "height": 32}
    sockets["crops"] = pack.run("CropFaces", image=image, faces=sockets["faces"])[1]
    taken = []
    for name, path in every(pack):
        node = pack.nodes[f"PriorSR{name}"]
        wanted = {one.id for one in node.GET_SCHEMA().inputs} - ({"faces"} if name != "FaceMask" else set())
        given = {key: value for key, value in sockets.items() if key in wanted}
        given |= dict(part.split("=") for part in path[:-1])
        if path == ("parser",):
            given["mask"] = "parse"
        for value in (str(secret), "../above.safetensors", "secret.safetensors", f"./{LISTED}"):
            arguments = calling.arguments(node, **given)
            held = arguments[path[0].split("=")[0]] if len(path) > 1 else arguments
            held[path[-1]] = value
            try:
                with torch.inference_mode():
                    node.execute(**arguments)
            except (ValueError, FileNotFoundError) as error:
                if re.search("no weight file|is missing|comes along|choose one of", str(error)):
                    continue
                taken.append((name, path, value, error))
            else:
                taken.append((name, path, value))
    assert not taken


def options(pack, name: str, path: tuple[str, ...]) -> list[str]:
    inputs = {one.id: one for one in pack.nodes[f"PriorSR{name}"].GET_SCHEMA().inputs}
    for step in path[:-1]:
        one, _, key = step.partition("=")
        chosen = next(option for option in inputs[one].options if option.key == key)
        inputs = {nested.id: nested for nested in chosen.inputs}
    return list(inputs[path[-1]].options)


def test_pickers_offer_what_fits(pack):
    wanted = {
        ("LoadPixelPrior", "prior"): {"tiny_adm", "tiny_edm", "tiny_class", "tiny_upsampler", "tiny_sr"},
        ("LoadNoiseClassifier", "classifier"): {"tiny_classifier"},
        ("LoadAttributeClassifier", "classifier"): {"tiny_happy", "tiny_gender"},
        ("LoadCorrector", "corrector"): {"tiny_corrector"},
        ("UpscaleDPS", "prior"): {"tiny_adm", "tiny_class", "tiny_upsampler"},
        ("UpscaleEDMDPS", "prior"): {"tiny_edm"},
        ("UpscaleSRDG", "prior"): {"tiny_sr"},
    }
    for (name, one), files in wanted.items():
        offered = {option.removesuffix(".safetensors") for option in options(pack, name, (one,))}
        assert {option for option in offered if option.startswith("tiny_")} == files, name
    assert "vqgan_cfw_00011.ckpt" in options(pack, "LoadCFW", ("cfw",))
    assert "stablesr_000117.ckpt" in options(pack, "LoadStableSR", ("stablesr",))
    assert not {"codeformer.safetensors", "ffhq_10m.pt"} & set(options(pack, "LoadStableSR", ("stablesr",)))
    for name, path in every(pack):
        assert EVERYWHERE in options(pack, name, path) or path[-1] == "prior"
        assert "readme.txt" not in options(pack, name, path)


def test_a_folder_named_as_a_kind_is_of_that_kind(pack):
    folder = pack.host.models / "priorsr" / "cfw"
    folder.mkdir()
    shutil.copy(folder.parent / LISTED, folder / "own.safetensors")
    try:
        assert "cfw/own.safetensors" in options(pack, "LoadCFW", ("cfw",))
        assert "cfw/own.safetensors" not in options(pack, "LoadPixelPrior", ("prior",))
    finally:
        shutil.rmtree(folder)


def test_headers_are_read_once_and_again_when_a_file_changes(pack, tmp_path, monkeypatch):
    load = importlib.import_module("priorsr.methods.weights.load")  # a function has its name
    path, read = tmp_path / "a.safetensors", []
    whole = load.list_file
    monkeypatch.setattr(load, "list_file", lambda path: read.append(path) or whole(path))
    shutil.copy(pack.host.models / "priorsr" / LISTED, path)
    assert [load.fits(path, ("adm",)), load.fits(path, ("edm",))] == [True, False]
    assert len(read) == 1
    shutil.copy(pack.host.models / "priorsr" / "tiny_edm.safetensors", path)
    assert [load.fits(path, ("adm",)), load.fits(path, ("edm",))] == [False, True]
    assert len(read) == 2


def test_nothing_installed_says_where_to_get_it(bare):
    assert options(bare, "LoadCFW", ("cfw",)) == [
        "(none: put vqgan_cfw_00011.ckpt from huggingface.co/Iceclear/StableSR into models/priorsr)"
    ]
    assert "ffhq_10m.pt from github.com" in options(bare, "UpscaleDPS", ("prior",))[0]
    tooltips = {one.id: one.tooltip for one in bare.nodes["PriorSRLoadCFW"].GET_SCHEMA().inputs}
    assert "Licences of published files: S-Lab License 1.0, not for commercial use." in tooltips["cfw"]
