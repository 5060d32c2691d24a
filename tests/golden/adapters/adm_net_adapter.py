"""The golden cases of ADM's networks."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.nets.adm_classifier import ADMClassifier
from priorsr.methods.nets.adm_config import ADMConfig, classifier_from_flags, from_flags, given
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.adm_unet import ADMUNet
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.schedule import CLEAN

NO_MATTER = {
    "use_fp16",
    "classifier_use_fp16",
    "use_checkpoint",
    "model_path",
    "small_size",
    "dims",
}  # of how it runs, not what it computes


def adm_config(model: dict) -> ADMConfig:
    """Settings from a case's {factory, args}, or from the bare flags of create_model."""
    factory = model.get("factory", "create_model")
    args = {k: v for k, v in model.get("args", model).items() if k not in NO_MATTER}
    if factory == "create_model":
        return from_flags(**args)
    if factory == "sr_create_model":
        return from_flags(image_size=args.pop("large_size"), superres=True, **args)
    if factory == "create_classifier":
        return classifier_from_flags(**args)
    return _from_arguments(
        args, superres=factory == "SuperResModel", classifier=factory == "EncoderUNetModel"
    )


def _from_arguments(args: dict, superres: bool, classifier: bool) -> ADMConfig:
    """Settings from the arguments of the published classes, their defaults filled in."""
    return ADMConfig(
        image_size=args["image_size"],
        in_channels=args.get("in_channels", 3),
        out_channels=args["out_channels"],
        model_channels=args["model_channels"],
        num_res_blocks=args["num_res_blocks"],
        channel_mult=tuple(args.get("channel_mult", (1, 2, 4, 8))),
        attention_factors=tuple(args["attention_resolutions"]),
        num_classes=args.get("num_classes"),
        num_heads=args.get("num_heads", 1),
        num_head_channels=given(args.get("num_head_channels", -1)),
        num_heads_upsample=given(args.get("num_heads_upsample", -1)),
        scale_shift=args.get("use_scale_shift_norm", False),
        resblock_updown=args.get("resblock_updown", False),
        conv_resample=args.get("conv_resample", True),
        new_attention_order=args.get("use_new_attention_order", False),
        dropout=args.get("dropout", 0.0),
        superres=superres,
        pool=args.get("pool", "adaptive") if classifier else None,
    )


def adm_network(model: dict) -> ADMUNet | ADMClassifier:
    return build_adm(adm_config(model))


@adapter("adm", "forward")
@torch.no_grad()
def adm_forward(case: Case) -> dict[str, Tensor]:
    network = case.fill(adm_network(case.config["model"]))
    conditions = {
        name: case.inputs[key]
        for name, key in {"label": "y", "low_res": "low_res"}.items()
        if key in case.inputs
    }
    return {"out": network(case.inputs["x"], case.inputs["t"], **conditions)}


@adapter("adm", "classifier")
def adm_classifier(case: Case) -> dict[str, Tensor]:
    network = case.fill(adm_network(case.config["model"])).requires_grad_(False)
    x, t, label = (case.inputs[name] for name in ("x", "t", "y"))
    guidance = ClassifierGuidance(
        lambda x, level: network.log_prob(x, t, label), case.config["classifier_scale"]
    )
    return {"logits": network(x, t), "log_prob_gradient": guidance.gradient(x, CLEAN)}
