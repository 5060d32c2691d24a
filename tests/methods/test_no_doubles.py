"""Devices that have no float64, such as Apple's: what needs it of a picture there computes elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from priorsr.methods import device
from priorsr.methods.degrade import preset
from priorsr.methods.diffsr.lost_energy import lost_energy
from priorsr.methods.faces.load import load_detector
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.operators import Reduction
from priorsr.methods.metrics import fidelity, spectrum
from priorsr.methods.metrics.frechet import frechet_distance
from priorsr.methods.metrics.identity import identity_distance
from priorsr.methods.metrics.niqe import features
from priorsr.methods.metrics.recognition import equal_error_rate, roc_auc
from priorsr.methods.metrics.sharpness import gradient_energy, seed_diversity
from priorsr.methods.registry import method_named


class Away(Tensor):
    """A tensor that pretends to lie where there is no float64: only `cpu()` and `to("cpu")` lead away."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is Tensor.cpu or (func is Tensor.to and isinstance(args[1], str)):
            with torch._C.DisableTorchFunctionSubclass():
                return func(args[0].as_subclass(Tensor), *args[1:], **(kwargs or {}))
        out = super().__torch_function__(func, types, args, kwargs or {})
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, Tensor) and one.dtype in (torch.float64, torch.complex128):
                raise TypeError(f"{func.__name__} makes float64 on a device that has none")
        return out


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(device, "NARROW", ("cpu",))


def drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))).as_subclass(Away)


A, B = drawn(2, 3, 100, 96), drawn(2, 3, 96, 100).mT
FEW, MANY = drawn(8, 5), drawn(9, 5)


def run(name, files=None, **values):
    return lambda: method_named(name).prepare(files or {}, values=values)(A[:1, :, :16, :16], 4.0, [3])


WORK = {
    "psnr": lambda: fidelity.psnr(A, B),
    "mae": lambda: fidelity.mae(A, B),
    "ssim": lambda: fidelity.ssim(A, B),
    "band_errors": lambda: spectrum.band_errors(A[:1], B[:1]),
    "amplitudes": lambda: spectrum.amplitudes(A[:, :1])[0],
    "sharpness": lambda: gradient_energy(A),
    "diversity": lambda: seed_diversity(torch.stack([A, B])),
    "frechet": lambda: frechet_distance(FEW, MANY),
    "identity": lambda: identity_distance(FEW, FEW + 1),
    "auc": lambda: roc_auc(FEW[:, 0], MANY[:, 0]),
    "eer": lambda: equal_error_rate(FEW[:, 0], MANY[:, 0]),
    "niqe": lambda: features(A[0])[1],
    "energy": lambda: lost_energy(A, 4.0),
    "measurement": lambda: Reduction((100, 96), 4)(A),
    "degrade": lambda: preset("real-world", 2.0).draw(5)(A[0]),
    "srcnn": run("srcnn"),
    "diffsr": run("diffsr", {"prior": "face64"}, steps=2),
    "dpi": run("dpi", steps=2),
    "srdg": run("srdg", steps=2),
    "ddnm": run("ddnm", respacing="2"),
}


@pytest.mark.parametrize("name", WORK)
def test_nothing_makes_float64_there(name):
    assert torch.isfinite(torch.as_tensor(WORK[name]())).all()


def test_faces_are_found_and_put_back_there(root):
    scene = read(root / "docs" / "sample" / "astronaut.png").pixels.as_subclass(Away)
    detector = load_detector("mtcnn")
    result = restore_faces(scene, lambda faces, seeds: 1 - faces, detector, RestoreSettings(size=64))
    assert (result.pictures - scene).abs().amax() > 0.1


def test_what_makes_it_is_seen():
    with pytest.raises(TypeError, match="float64 on a device that has none"):
        A.double()
    with pytest.raises(TypeError, match="float64 on a device that has none"):
        torch.mul(A, torch.ones(96, dtype=torch.float64))
    assert device.doubled(A).dtype == torch.float64
