"""Image Quality."""

from __future__ import annotations

import statistics

import torch
from comfy_api.latest import io, ui

from ..methods.imaging.resize import resize
from ..methods.metrics.compare import compare, consistency, describe, paired, side_by_side
from . import host
from .host.images import join, split


class ImageQuality(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRImageQuality",
            display_name="Image Quality",
            category=f"{host.CATEGORY}/evaluate",
            description=(
                "Measure how close images are to a reference: PSNR, SSIM and mean absolute error, "
                "with a picture of both side by side."
            ),
            search_aliases=["psnr", "ssim", "metric", "compare", "quality"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The images to judge; alpha is ignored."),
                io.Image.Input("reference", tooltip="The true images: as many as above, or a single one."),
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
            ],
            outputs=[
                io.String.Output("report", display_name="report"),
                io.Float.Output(
                    "psnr", display_name="PSNR", tooltip="Mean over the batch in dB; 100 for equal images."
                ),
                io.Float.Output(
                    "ssim",
                    display_name="SSIM",
                    tooltip="Mean over the batch; 0 for images below 11 pixels, where it is not defined.",
                ),
                io.Image.Output(
                    "comparison",
                    display_name="comparison",
                    tooltip="Image, reference and their difference (times four).",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, reference, channels, border, when_sizes_differ, low_resolution=None):
        a, b = split(image)[0], split(reference, "reference")[0]
        if when_sizes_differ == "resize reference" and a.shape[-2:] != b.shape[-2:]:
            b = resize(b, tuple(a.shape[-2:])).clamp(0, 1)
        pairs = list(zip(*paired(a, b), strict=True))
        rows = host.for_each(lambda i: compare(*(x[None] for x in pairs[i]), channels, border)[0], len(pairs))
        lines = [describe(row) for row in rows]
        if low_resolution is not None:
            with host.cancellable():
                agreement = consistency(a, split(low_resolution, "low_resolution")[0])
            lines = [
                f"{line}, consistency {value:.2f} dB"
                for line, value in zip(lines, agreement.tolist(), strict=True)
            ]
        report = "\n".join(lines if len(lines) == 1 else [f"{i}: {line}" for i, line in enumerate(lines)])
        decibels = statistics.fmean(min(row["psnr"], 100.0) for row in rows)
        structure = statistics.fmean(row["ssim"] or 0.0 for row in rows)
        comparison = torch.stack([side_by_side([x, y, ((x - y).abs() * 4).clamp(0, 1)]) for x, y in pairs])
        return io.NodeOutput(
            report, decibels, structure, host.result(join(comparison)), ui=ui.PreviewText(report)
        )
