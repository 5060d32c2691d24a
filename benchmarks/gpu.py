"""What a GPU does with the networks and methods at their released sizes, weights at random.

python benchmarks/gpu.py [--out docs] [--skip-tests] [--smoke]

Runs the tests marked `gpu`, then measures, in one run and beside the card's own rates of matrix products and
copies: steps of the networks (eager and compiled, alone and eight at once), decoding from 512 to 2048 pixels,
whole runs of StableSR turbo, DPS and DPI with the share of time outside of the networks' forward passes
(DPS's gradient counts as outside), and peak memory. Writes
gpu.json and the table gpu.md into --out. The rows that would pass the limit of time are left out and said.
`floor` is the time that a row's products take at the card's own rate. --smoke runs small networks on any
device, to see that the kit itself works.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from device_timing import Clock, rates, ready
from stablesr_memory import networks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LIMIT = 9 * 60  # seconds in all


def network_rows(smoke: bool) -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]]:
    """Name: how it is built, the shape of one picture, and how many arguments it takes."""
    from priorsr.methods.nets.adm_config import ADMConfig
    from priorsr.methods.nets.adm_released import RELEASED, build_adm
    from priorsr.methods.nets.codeformer import CodeFormer
    from priorsr.methods.nets.edm_precond import EDMPrecond
    from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
    from priorsr.methods.nets.songunet import SongUNet

    if smoke:
        small = ADMConfig(
            image_size=32, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,)
        )
        return {"ADM, small": (lambda: build_adm(small), (3, 32, 32), 2)}
    return {
        "ADM FFHQ 256": (lambda: build_adm(RELEASED["ffhq_10m"]), (3, 256, 256), 2),
        "ADM ImageNet 256": (lambda: build_adm(ADMConfig()), (3, 256, 256), 2),
        "NCSN++ 128": (lambda: NCSNpp(NCSNppConfig()), (3, 128, 128), 3),
        "EDM 64": (lambda: EDMPrecond(SongUNet(64, 3, 3)), (3, 64, 64), 2),
        "CodeFormer 512": (CodeFormer, (3, 512, 512), 1),
    }


def arguments(shape: tuple[int, ...], batch: int, count: int, device: torch.device) -> tuple[Tensor, ...]:
    x = torch.rand(batch, *shape, device=device).to(memory_format=torch.channels_last)
    t = torch.full((batch,), 0.5, device=device)
    return (x, t, x)[:count]


def network_table(clock: Clock, smoke: bool, left: Callable[[], float], peak_rate: float) -> list[dict]:
    rows = []
    for name, (build, shape, count) in network_rows(smoke).items():
        if left() < 60:
            rows.append({"row": name, "left out": "no time was left"})
            continue
        network = ready(build(), clock.device)
        first = next(network.parameters()).dtype
        for batch in (1, 8):
            given = arguments(shape, batch, count, clock.device)
            if count == 1:
                given = tuple(x.to(first) for x in given)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network(*given)
            floor = counter.get_total_flops() / peak_rate
            with torch.no_grad():
                eager = clock(lambda n=network, g=given: n(*g))
                peak = clock.peak(lambda n=network, g=given: n(*g))
            row = {"row": f"{name} x{batch}", "eager": eager, "floor": floor, "peak": peak}
            if clock.device.type == "cuda" and left() > 120:
                compiled = torch.compile(network)
                with torch.no_grad():
                    row["compiled"] = clock(lambda n=compiled, g=given: n(*g))
            rows.append(row)
        del network
    return rows


def stablesr(smoke: bool, device: torch.device):
    """StableSR at its released sizes, or small."""
    if smoke:
        model = networks()
        for network in (model.prior.network, model.layers.encoder, model.layers.sft, model.vae, model.cfw):
            ready(network, device)
        return model
    from priorsr.methods.nets.cfw import CFW
    from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
    from priorsr.methods.nets.sd_vae import VAE
    from priorsr.methods.nets.spade import SFT, residual_blocks
    from priorsr.methods.nets.struct_encoder import StructEncoder
    from priorsr.methods.stablesr.layers import StableSRLayers
    from priorsr.methods.stablesr.method import StableSR
    from priorsr.methods.stablesr.prior import diffusion_prior

    unet, encoder, vae, cfw = SDUNet(SDConfig()), StructEncoder(), VAE(), CFW()
    sft = SFT(residual_blocks(unet), encoder.config.out_channels)
    unet, encoder, sft, vae, cfw = (ready(n, device) for n in (unet, encoder, sft, vae, cfw))
    return StableSR(diffusion_prior(unet), StableSRLayers(encoder, sft), vae, cfw)


def run_table(clock: Clock, smoke: bool, left: Callable[[], float]) -> list[dict]:
    """Whole runs, and the share of their time that is spent outside of network calls."""
    from priorsr.methods.dpi.corrector import Corrector
    from priorsr.methods.dpi.method import PRESETS, dpi_upscale
    from priorsr.methods.dps.posterior import posterior_upscale
    from priorsr.methods.dps.sampling import DPSSettings
    from priorsr.methods.nets.adm_released import RELEASED, build_adm
    from priorsr.methods.nets.corrector import CorrectorUNet
    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.methods.priors.load import load_prior
    from priorsr.methods.stablesr.autoencoder import Autoencoder
    from priorsr.methods.stablesr.method import StableSRSettings, stablesr_upscale

    device, rows = clock.device, []
    model = stablesr(smoke, device)
    context = torch.randn(1, 77, model.prior.network.config.context_dim, device=device)
    side = 16 if smoke else 128
    low = torch.rand(1, 3, side, side, device=device)
    turbo = StableSRSettings(steps=4, tile=64 if smoke else 512, overlap=32, color="adain")
    rows.append(
        whole(
            clock,
            "StableSR turbo 512 with CFW",
            [model.prior.network, model.layers.encoder, model.vae.encoder, model.vae.decoder],
            lambda: stablesr_upscale(model, low, 4.0, context, turbo),
        )
    )
    for pixels in (64,) if smoke else (512, 1024, 2048):
        if left() < 90:
            rows.append({"row": f"decode {pixels} with CFW", "left out": "no time was left"})
            continue
        z = torch.randn(1, 4, pixels // 8, pixels // 8, device=device)
        image = torch.rand(1, 3, pixels, pixels, device=device) * 2 - 1
        decoder = Autoencoder(model.vae, model.cfw, tile=1024)

        def decode(d=decoder, z=z, image=image) -> Tensor:
            with torch.no_grad():
                return d.decode(z, image, 0.5)

        row = {"row": f"decode {pixels} with CFW", "eager": clock(decode, 2), "peak": clock.peak(decode)}
        rows.append(row)
    if smoke:
        prior, corrector, size = load_prior("face64"), None, 16
    else:
        prior = ADMPrior(ready(build_adm(RELEASED["ffhq_10m"]), device))
        corrector, size = Corrector(ready(CorrectorUNet(RELEASED["corrector"]), device), 2, 8), 32
    prior.network.to(device)
    low = torch.rand(1, prior.channels, size, size, device=device)
    networks = [prior.network] + ([corrector.network] if corrector else [])
    settings = replace(PRESETS["x8"], respacing="10")
    scale = 4.0 if smoke else 8.0

    def dpi() -> Tensor:
        with torch.no_grad():
            return dpi_upscale(prior, corrector, low, scale, settings)

    rows.append(whole(clock, "DPI, 10 steps", networks, dpi))
    dps = DPSSettings(respacing="10")
    run = whole(clock, "DPS, 10 steps", networks, lambda: posterior_upscale(prior, low, scale, dps))
    rows.append(run)
    return rows


def whole(clock: Clock, name: str, networks: list[nn.Module], run: Callable[[], Tensor]) -> dict:
    """Seconds of a run, the share outside of its networks' forward calls, and its peak."""
    seconds = clock(run, 2)
    inside, started = [0.0], []

    def before(module, args) -> None:
        clock.wait()
        started.append(time.perf_counter())

    def after(module, args, output) -> None:
        clock.wait()
        inside[0] += time.perf_counter() - started.pop()

    handles = [n.register_forward_pre_hook(before) for n in networks]
    handles += [n.register_forward_hook(after) for n in networks]
    start = time.perf_counter()
    run()
    clock.wait()
    watched = time.perf_counter() - start
    for handle in handles:
        handle.remove()
    return {"row": name, "eager": seconds, "outside": 1 - inside[0] / watched, "peak": clock.peak(run)}


def tests() -> str:
    """The last line of what the tests marked `gpu` say."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:randomly", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=Path(__file__).parents[1],
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else "no test ran"


def table(found: dict) -> str:
    """The figures as a page."""
    lines = [
        "# On a GPU",
        "",
        f"`python benchmarks/gpu.py` on {found['device']}, torch {found['torch']}, half precision unless "
        f"said; tests: {found['tests']}.",
        "",
        "Rates: "
        + ", ".join(
            f"{name} {rate / (1e9 if name == 'copy' else 1e12):.1f} {'GB/s' if name == 'copy' else 'TFLOP/s'}"
            for name, rate in found["rates"].items()
        )
        + ".",
        "",
        "| row | eager, ms | compiled, ms | floor, ms | outside networks | peak, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        if "left out" in row:
            lines.append(f"| {row['row']} | {row['left out']} | | | | |")
            continue
        cells = [f"{1000 * row[k]:.2f}" if k in row else "" for k in ("eager", "compiled", "floor")]
        outside = f"{row['outside']:.1%}" if "outside" in row else ""
        peak = f"{row['peak'] / 2**20:.0f}" if row.get("peak") else ""
        lines.append(f"| {row['row']} | {' | '.join(cells)} | {outside} | {peak} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="docs", help="folder of gpu.json and gpu.md (default docs)")
    parser.add_argument("--skip-tests", action="store_true", help="measure only")
    parser.add_argument("--smoke", action="store_true", help="small networks, on any device")
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    if not cuda and not options.smoke:
        raise SystemExit(
            "torch sees no CUDA device: --smoke runs the kit with small networks on the processor"
        )
    begun = time.monotonic()
    device = torch.device("cuda" if cuda else "cpu")
    clock = Clock(device)
    torch.manual_seed(0)

    def left() -> float:
        return LIMIT - (time.monotonic() - begun)

    found = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "a processor",
        "torch": torch.__version__,
        "tests": "left out" if options.skip_tests else tests(),
        "rates": rates(clock, 256 if options.smoke else 8192),
    }
    rate = found["rates"]["float16" if cuda else "float32"]
    found["rows"] = run_table(clock, options.smoke, left) + network_table(clock, options.smoke, left, rate)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
