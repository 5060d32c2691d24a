"""What the pack imports when a host starts: nothing that takes long before a node runs."""

from __future__ import annotations

import subprocess
import sys

LATER = (
    "kornia",
    "matplotlib",
    "torchmetrics",
    "torchvision",
    "accelerate",
    "facexlib",
    "dlib",
    "tokenizers",
)
CODE = """
import asyncio, pathlib, sys
from priorsr.methods.graph import standin
with standin.installed(pathlib.Path({models!r}), "priorsr.nodes") as (host, module):
    asyncio.run(module.PriorSRExtension().get_node_list())
print([name for name in {later!r} if name in sys.modules])
"""


def test_nothing_that_takes_long_is_imported_when_the_host_starts(tmp_path):
    code = CODE.format(models=str(tmp_path), later=LATER)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
