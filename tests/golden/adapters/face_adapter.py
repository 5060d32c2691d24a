"""Faces aligned, put back and surrounded by filters, as published."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from golden_cases import Case, adapter
from reference.faces import published_helper
from torch import Tensor

from priorsr.methods.faces.align import fit_similarity, robust_similarity, template
from priorsr.methods.faces.enhance import PAPER, RELEASED, enhance_outside, filtered
from priorsr.methods.faces.grey import as_grey, is_grey, without_colour
from priorsr.methods.faces.masks import box_mask


def pooled(x: Tensor, block: int) -> Tensor:
    """Means of whole blocks."""
    return F.avg_pool2d(x[None], block)[0]


def painted(ellipses: list[list[int]]) -> Tensor:
    """The class map 1 512 512 of a case: class, centre, radii."""
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    parts = torch.zeros(1, 512, 512, dtype=torch.long)
    for name, cx, cy, rx, ry in ellipses:
        parts[0][((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = name
    return parts


@adapter("face", "affine")
def affine(case: Case) -> dict[str, Tensor]:
    landmarks, target = torch.tensor(case.config["landmarks"]), template(case.config["face_size"])
    matrices, inliers = robust_similarity(landmarks, target)
    return {
        "affine": matrices,
        "inliers": inliers,
        "affine_all_points": fit_similarity(landmarks, target.expand_as(landmarks)),
    }


@adapter("face", "helper")
def helper(case: Case) -> dict[str, Tensor]:
    c = case.config
    scale, side, row, col = c["upscale"], c["face_size"], c["probe_row"], c["probe_col"]
    parts = painted(c["parse_ellipses"]) if c["use_parse"] else None
    done = published_helper(
        case.inputs["image"], torch.tensor(c["landmarks"]), lambda x: 1 - x, c["variant"], scale, side, parts
    )
    picture, faces, pasted = done.picture[0] * 255, done.faces * 255, done.result[0] * 255
    return {
        "template": done.template,
        "affine": done.affine,
        "affine_all_points": done.affine_all_points,
        "read_image_pool16": pooled(picture, 16),
        "read_image_hw": torch.tensor(picture.shape[1:]),
        "crop_pool": F.avg_pool2d(faces, side // 32),
        "crop_col": faces[..., side // 2],
        "crop_row": faces[..., side // 2, :],
        "is_gray": torch.tensor([float(done.grey)]),
        "inverse_affine": done.inverse_affine,
        "mask_pool": pooled(done.mask[None], 8 * scale)[0],
        "mask_row": done.mask[row],
        "mask_col": done.mask[:, col],
        "paste_pool": pooled(pasted, 8 * scale),
        "paste_row": pasted[:, row],
        "paste_col": pasted[..., col],
        "paste_hw": torch.tensor(pasted.shape[1:]),
        "w_edge": torch.tensor([done.placed.edge]),
        "face_area": torch.tensor([done.placed.area]),
    }


@adapter("face", "gray")
def grey(case: Case) -> dict[str, Tensor]:
    picture, restored, crop = (
        case.inputs[name].clamp(0, 255).round()[None] / 255 for name in ("image", "restored", "crop")
    )
    return {
        "is_gray": torch.cat([is_grey(picture), is_grey(picture[:, :1].expand_as(picture))]).float(),
        "gray": without_colour(restored)[0] * 255,
        "adain": as_grey(restored, crop)[0] * 255,
    }


@adapter("face", "post")
def post(case: Case) -> dict[str, Tensor]:
    x = case.inputs["image"].clamp(0, 255).round()[None] / 255
    mask = box_mask(torch.tensor(case.config["boxes"])[:, :4], x.shape[-2:])
    forms = {
        "released": RELEASED,
        "paper_kernel_after_blur": PAPER,
        "paper_kernel_only": replace(PAPER, blur=0),
        "released_kernel_only": replace(RELEASED, blur=0),
    }
    outputs = {name: enhance_outside(x, mask, settings)[0] * 255 for name, settings in forms.items()}
    return outputs | {
        "mask": mask[0, 0] * 255,
        "blur": filtered(x, replace(RELEASED, sharpen="none"))[0] * 255,
    }
