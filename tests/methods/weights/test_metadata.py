"""What weight files say of themselves: nonsense is one ValueError that names the file."""

from __future__ import annotations

import json
import re
import struct

import pytest

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.dpi.corrector import load_corrector
from priorsr.methods.priors.load import load_prior
from priorsr.methods.settings import to_json
from priorsr.methods.srdg.attributes import load_attribute
from priorsr.methods.srdg.method import scales_of, start_of
from priorsr.methods.train.corrector.task import CorrectorRecipe
from priorsr.methods.visionrefine.srcnn import load_srcnn

WORDS = ("", "x", "-1", "0", "nan", "1e999", "²", "9" * 5000, ",", "8,x", "[]")
MEASURED = (
    *('{"errors": []}', '{"errors": [[1, "x"]]}', '{"errors": [["x", 1]]}', '{"errors": [[1, NaN]]}', "null"),
    *('{"errors": [[1, 0.5]], "omega": "x"}', '{"errors": [[1, 0.5]], "lost": [[4, -1]]}', "[" * 100_000),
    *('{"errors": [[1, 0.5]], "nobody": 1}', '{"errors": 5}', "5", '{"errors": [[1, true]]}'),
)
CHAIN = (
    *('{"train_steps": "x"}', '{"train_steps": 1.5}', '{"train_steps": -3}', '{"train_steps": 1000000000}'),
    *('{"schedule": "x"}', '{"schedule": [1]}', '{"target": "x"}', '{"target": {}}', "[1]"),
)
LOADERS = {  # a shipped file, how it is read, and nonsense for what it says
    "face64": (load_prior, {"measured": MEASURED, "chain": CHAIN}),
    "dpi_x8": (load_corrector, {"k": WORDS, "ema": WORDS}),
    "srdg_face64": (scales_of, {"factors": WORDS}),
    "srdg128": (start_of, {"start_sigma": tuple(w for w in WORDS if w != "0")}),
    "happy64": (load_attribute, {"classes": WORDS, "attribute": WORDS}),
    "srcnn_x4": (lambda path: load_srcnn(4, path), {"scale": WORDS}),
}


def said_anew(source, target, **said):
    """A safetensors file that says something else of itself."""
    data = source.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {**header.get("__metadata__", {}), **said}
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return target


def refusal(load, path):
    """What is said of a file that is refused."""
    try:
        load(str(path))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", LOADERS)
def test_nonsense_is_one_error_that_names_the_file(tmp_path, name):
    source = weights.SHIPPED / f"{name}.safetensors"
    load, nonsense = LOADERS[name]
    for key, texts in nonsense.items():
        refused = 0
        for number, text in enumerate(texts):
            path = said_anew(source, tmp_path / "odd.safetensors", **{key: text})
            said = refusal(load, path)
            refused += bool(said)
            assert not said or (str(path) in said and len(said) < 1000), (key, number, said[:200])
        assert refused, key


def test_the_study_of_srdg_names_a_classifier_that_says_nonsense(tmp_path, caplog):
    path = said_anew(weights.SHIPPED / "happy64.safetensors", tmp_path / "odd.safetensors", training="[1")
    (tmp_path / "labels.csv").write_text("file,expression\n")
    arguments = [
        "--labels",
        tmp_path / "labels.csv",
        "--classifier",
        path,
        "--judge",
        path,
        "--prior",
        "srdg_face64",
        "--unconditional",
        "face64",
        "--out",
        tmp_path / "out",
    ]
    assert cli.main(["evaluate", "srdg", str(tmp_path), *map(str, arguments)]) == 2
    assert str(path) in caplog.text


def test_no_file_tells_a_path_of_the_machine_it_was_made_on():
    for path in weights.SHIPPED.rglob("*.safetensors"):
        for key, text in weights.read_metadata(path).items():
            assert not re.search(r'"(/|[A-Za-z]:\\\\)', text), f"{path.name}: {key}"
    recipe = CorrectorRecipe(init="/somewhere/else/first.safetensors", prior="face64")
    told = json.loads(to_json(recipe))
    assert (told["init"], told["prior"]) == ("first.safetensors", "face64")
