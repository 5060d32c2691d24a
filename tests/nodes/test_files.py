"""No combo of weight files reaches a file that the host does not list: links bring any text."""

from __future__ import annotations

import re
import shutil

import torch

from priorsr.methods.graph.standin import calling

LISTED = "tiny_adm.safetensors"


def combos(inputs, prefix=()):
    """The path to every combo that lists weight files, through the choices that bring them."""
    for one in inputs:
        if LISTED in (one.options or ()) or one.id == "prior":
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
                if re.search("no weight file|is missing|comes along", str(error)):
                    continue
                taken.append((name, path, value, error))
            else:
                taken.append((name, path, value))
    assert not taken
