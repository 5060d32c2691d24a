"""CPU seconds until a weight file is known for what it is, for every layout that the tests know.

python benchmarks/recognition.py [--repeat 5]

Files of the released sizes that take no room; the hash of a file is a step of its own. Each is to take at
most 0.3 seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

AIM = 0.3
TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sys.path[:0] = [str(TESTS / "methods" / "weights"), str(TESTS / "fixtures")]
    from test_layouts import FOREIGN, RELEASED
    from timing import fastest

    from priorsr.methods import weights

    layouts = {**RELEASED, **FOREIGN}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: write(Path(folder, name)) for name, (write, _) in layouts.items()}
        taken = fastest({n: partial(weights.describe, path) for n, path in paths.items()}, options.repeat)
    for name, seconds in taken.items():
        print(f"{seconds:.3f} s  {name}{'' if seconds <= AIM else '  too slow'}")
    sys.exit(max(taken.values()) > AIM)


if __name__ == "__main__":
    main()
