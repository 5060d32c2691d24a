"""Image Quality."""

from __future__ import annotations

import json
import statistics

import torch
from comfy_api.latest import io, ui

from ..methods.imaging.resize import resize
from ..methods.judge.batch import judge_images
from ..methods.judge.protocol import FACES, Protocol
from ..methods.judge.record import finite
from ..methods.metrics.compare import compare, consistency, describe, difference, paired, side_by_side
from . import host
from .host.images import join, split

FIGURES = ("fidelity", "all")


class ImageQuality(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRImageQuality",
            display_name="Image Quality",
            category=f"{host.CATEGORY}/evaluate",
            description=(
                "Measure how close images are to a reference: PSNR, SSIM and mean absolute error, "
                "with a picture of both side by side; or everything that can be told of images, also without "
                "a reference."
            ),
            search_aliases=["psnr", "ssim", "metric", "compare", "quality", "niqe", "judge", "identity"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The images to judge; alpha is ignored."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The true images: as many as above, or a single one. Without, figures say all "
                    "that needs none.",
                ),
                io.Combo.Input(
                    "channels",
                    options=["rgb", "luma"],
                    default="rgb",
                    tooltip="luma (BT.601) is what super-resolution papers report.",
                ),
                io.Int.Input(
                    "border",
                    default=0,
                    min=0,
                    max=256,
                    tooltip="Pixels cut from each side first; papers cut as many as the scale.",
                ),
                io.Combo.Input(
                    "when_sizes_differ",
                    options=["error", "resize reference"],
                    default="error",
                    tooltip=(
                        "Resizing the reference (bicubic) allows a comparison, at the cost of up to a few dB."
                    ),
                ),
                io.Image.Input(
                    "low_resolution",
                    optional=True,
                    tooltip="What the images were made from: adds how well they still agree with it.",
                ),
                io.Combo.Input(
                    "figures",
                    options=list(FIGURES),
                    default=FIGURES[0],
                    optional=True,
                    tooltip="fidelity is PSNR, SSIM and mean error; all adds every figure that can be "
                    "computed here, such as NIQE, sharpness and likeness, with intervals, and takes longer.",
                ),
                io.Combo.Input(
                    "faces",
                    options=list(FACES),
                    default=FACES[0],
                    optional=True,
                    tooltip="With all figures: how aligned faces are framed, find to look for them; off: "
                    "the images are no faces.",
                    extra_dict={"advanced": True},
                ),
                io.Image.Input(
                    "reference_set",
                    optional=True,
                    tooltip="With all figures: other images of the kind, which the distance of sets of faces "
                    "is taken to (without: the reference).",
                ),
            ],
            outputs=[
                io.String.Output("report", display_name="report"),
                io.Float.Output(
                    "psnr",
                    display_name="PSNR",
                    tooltip="Mean over the batch in dB; 100 for equal images, 0 without a reference.",
                ),
                io.Float.Output(
                    "ssim",
                    display_name="SSIM",
                    tooltip="Mean over the batch; 0 without a reference and for images below 11 pixels, "
                    "where it is not defined.",
                ),
                io.Image.Output(
                    "comparison",
                    display_name="comparison",
                    tooltip="Image, reference and their difference (times four).",
                ),
                io.String.Output(
                    "json", display_name="figures", tooltip="The figures as JSON, of each image and of all."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        reference=None,
        channels="rgb",
        border=0,
        when_sizes_differ="error",
        low_resolution=None,
        figures=FIGURES[0],
        faces=FACES[0],
        reference_set=None,
    ):
        a = split(image)[0]
        b = None if reference is None else split(reference, "reference")[0]
        if b is not None and when_sizes_differ == "resize reference" and a.shape[-2:] != b.shape[-2:]:
            with host.cancellable():
                b = resize(b, tuple(a.shape[-2:])).clamp(0, 1)
        low = None if low_resolution is None else split(low_resolution, "low_resolution")[0]
        pairs = [] if b is None else list(zip(*paired(a, b), strict=True))
        rows = host.for_each(lambda i: compare(*(x[None] for x in pairs[i]), channels, border)[0], len(pairs))
        lines = [describe(row) for row in rows]
        if low is not None:
            with host.cancellable():
                agreement = [f"consistency {value:.2f} dB" for value in consistency(a, low).tolist()]
            lines = [", ".join(both) for both in zip(lines, agreement, strict=True)] if lines else agreement
        told = {"images": rows}
        report = "\n".join(lines if len(lines) == 1 else [f"{i}: {line}" for i, line in enumerate(lines)])
        if figures == "all" or b is None:
            others = None if reference_set is None else split(reference_set, "reference_set")[0]
            protocol = Protocol(colour=channels, border=border, faces=faces)
            record = judge_images(a, b, low, others, protocol, for_each=host.for_each)
            told = record.described()
            report = "\n\n".join(filter(None, [report, record.table()]))
        decibels = statistics.fmean(min(row["psnr"], 100.0) for row in rows) if rows else 0.0
        structure = statistics.fmean(row["ssim"] or 0.0 for row in rows) if rows else 0.0
        with host.cancellable():
            shown = [[x, y, difference(x, y)] for x, y in pairs] or [[x] for x in a]
            comparison = torch.stack([side_by_side(some) for some in shown])
        return io.NodeOutput(
            report,
            decibels,
            structure,
            host.result(join(comparison)),
            json.dumps(finite(told)),
            ui=ui.PreviewText(report),
        )
