"""What watches the operations of torch costs nothing at the start."""

from __future__ import annotations

import subprocess
import sys


def test_watching_imports_no_compiler():
    code = (
        "import sys, torch\n"
        "from priorsr.methods.timing import network_call\n"
        "network_call(torch.nn.Conv2d(3, 3, 3), (1, 3, 8, 8)).operations\n"
        "from priorsr.methods.memory import PlainDispatchMode\n"
        "class Seen(PlainDispatchMode):\n"
        "    count = 0\n"
        "    def __torch_dispatch__(self, function, types, args=(), kwargs=None):\n"
        "        self.count += 1\n"
        "        return function(*args, **(kwargs or {}))\n"
        "with Seen() as seen:\n"
        "    torch.ones(2) + 1\n"
        "print(seen.count >= 2, 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
