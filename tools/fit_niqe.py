"""Fit weights/niqe.npz, the model of NIQE, to the photographs of a folder that are under Creative Commons
licences by its LICENCES.csv (columns file and licence).

python tools/fit_niqe.py FOLDER
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from priorsr.methods.imaging.images import read
from priorsr.methods.metrics.niqe import SHIPPED, fit, save_model

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with (folder / "LICENCES.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["licence"].startswith("CC")]
    save_model(fit(read(folder / name).pixels[0] for name in sorted(names)), SHIPPED)
    print(f"{SHIPPED}: {len(names)} photographs")
