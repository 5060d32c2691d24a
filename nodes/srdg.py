"""SRDG: Load Attribute Classifier, Guide by Attributes, Read Attributes."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.batches import of_picture
from ..methods.srdg.attributes import Reading, attribute_targets, read_attributes, shipped_attributes
from ..methods.srdg.classifier_crop import VIEWS
from ..methods.srdg.guidance import AttributeGuidance, agreeing
from ..methods.srdg.method import PRESETS, SRDGSettings
from ..samplers.noise import Noise
from . import host
from .attributes import (
    LABELS,
    Attributes,
    classifiers_of,
    describe,
    load_classifier,
    wanted_inputs,
    wished,
)
from .guidance import CATEGORY, Guidance, more_guidance
from .host import managed as managed_models
from .host.images import own, split
from .host.managed import ManagedAttributes, attribute_bytes
from .upscale import SEED


def _lines(readings: list[Reading], count: int) -> list[str]:
    return [of_picture(i, reading.describe(i)) for i in range(count) for reading in readings]


class LoadAttributeClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadAttributeClassifier",
            display_name="Load Attribute Classifier",
            category=CATEGORY,
            description=(
                "A network that tells an attribute of noisy faces, for Guide by Attributes, "
                "Read Attributes and SRDG Super-Resolution."
            ),
            search_aliases=[
                "srdg",
                "gender",
                "glasses",
                "beard",
                "expression",
                "classifier guidance",
                "load model",
            ],
            inputs=[
                host.file_input(
                    "classifier",
                    ("attribute",),
                    "A shipped classifier, or a file of models/priorsr, such as those of SRDG. "
                    f"Their classes: {LABELS}.",
                    shipped_attributes(),
                ),
                io.String.Input(
                    "attribute",
                    default="",
                    tooltip="What it tells, where neither the file nor its name says so, such as gender.",
                ),
                Attributes.Input(
                    "classifiers", optional=True, tooltip="More classifiers, each of another attribute."
                ),
            ],
            outputs=[
                Attributes.Output("classifiers", display_name="classifiers"),
                io.String.Output(
                    "classes",
                    display_name="classes",
                    tooltip="What the classes of each mean, with their numbers.",
                ),
            ],
        )

    @classmethod
    def execute(cls, classifier, attribute, classifiers=()):
        with torch.inference_mode(False):
            managed = (
                *classifiers,
                managed_models.as_classifier(load_classifier(classifier, attribute.strip())),
            )
        attribute_targets(classifiers_of(managed), {})  # complains of two that tell one attribute
        return io.NodeOutput(
            managed, "\n".join(f"{judge.attribute}: {judge.meaning}" for judge in classifiers_of(managed))
        )


def _pulls() -> list[io.Input]:
    """How attributes pull, by default as suits what comes along: as published they would leave blots."""
    inputs = host.settings_inputs(SRDGSettings, ("h", "limit", "first", "last", "view"), advanced=False)
    for one in inputs:
        one.default = getattr(PRESETS["shipped"], one.id)
    return inputs


class AttributeGuide(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideAttributes",
            display_name="Guide by Attributes",
            category=CATEGORY,
            description=(
                "Pull samples of any pixel prior towards attributes, by gradients of noise-aware "
                "classifiers (dos Santos et al. 2024)."
            ),
            search_aliases=[
                "attribute guidance",
                "srdg",
                "classifier guidance",
                "attributes",
                "expression",
                "gender",
                "guidance",
            ],
            inputs=[
                Attributes.Input(
                    "classifiers",
                    tooltip="From Load Attribute Classifier, which says what their classes mean.",
                ),
                *wanted_inputs(),
                *_pulls(),
                io.Combo.Input(
                    "form",
                    options=["score", "mean"],
                    default="score",
                    tooltip=(
                        "score changes the predicted noise, for any transition; mean the mean of a "
                        "random step, for ddpm and the like."
                    ),
                ),
                more_guidance(),
            ],
            outputs=[
                Guidance.Output("guidance", display_name="guidance", tooltip="For the Sampler of this pack."),
                io.String.Output(
                    "meaning", display_name="meaning", tooltip="The label that each attribute is pulled to."
                ),
            ],
        )

    @classmethod
    def execute(cls, classifiers, attributes, weights, h, limit, first, last, view, form, guidance=()):
        settings, judges = (
            SRDGSettings(h=h, limit=limit, first=first, last=last, view=view),
            classifiers_of(classifiers),
        )
        wanted = wished(judges, attributes, weights)
        if not wanted:
            names = "; ".join(f"{judge.attribute}: {judge.meaning}" for judge in judges)
            raise ValueError(
                f"no attribute is wished for: name one with its label ({names}), or leave the guidance out"
            )
        agreeing(
            [
                *(wish for hook in guidance if isinstance(hook, AttributeGuidance) for wish in hook.wanted),
                *wanted,
            ]
        )
        if h == 0:
            return io.NodeOutput(tuple(guidance), describe(wanted))
        with torch.inference_mode(False):
            hook = ManagedAttributes(classifiers, wanted, form, settings)
        return io.NodeOutput((*guidance, hook), describe(wanted))


class AttributeReadOut(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRReadAttributes",
            display_name="Read Attributes",
            category=CATEGORY,
            description=(
                "How likely faces, restored or still small, have attributes, as text and numbers. "
                "Classifiers err and prove nothing."
            ),
            search_aliases=["attribute read-out", "srdg", "attributes", "probability", "gender", "classify"],
            inputs=[
                Attributes.Input("classifiers", tooltip="From Load Attribute Classifier."),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The faces; alpha is ignored. Low-resolution ones too, which classifiers know "
                        "less well."
                    ),
                ),
                io.Combo.Input(
                    "view",
                    options=list(VIEWS),
                    default="whole",
                    tooltip="The whole, resized to the classifier; a tight face; or exact.",
                ),
                io.Float.Input(
                    "t",
                    default=0.01,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Noise 0..1 given to the picture; 0.01 is nearly clean, 0.6 hides all.",
                ),
                io.Int.Input("seed", tooltip="Of that noise.", **SEED),
            ],
            outputs=[
                io.String.Output("text", display_name="text", tooltip="A line for each image and attribute."),
                io.Float.Output(
                    "probabilities",
                    display_name="probabilities",
                    is_output_list=True,
                    tooltip="A number for each image, attribute and class, in this order.",
                ),
            ],
        )

    @classmethod
    def execute(cls, classifiers, image, view, t, seed):
        with torch.inference_mode(False), torch.no_grad():
            pixels, _ = split(own(image))
            judges = classifiers_of(classifiers)
            with managed_models.classifiers_ready(
                classifiers, attribute_bytes(judges, len(pixels)) // managed_models.BACKWARD
            ) as device:
                moved = host.progress()
                with host.cancellable():
                    noise = Noise([seed] * len(pixels))
                    readings = read_attributes(judges, pixels.to(device), t, VIEWS[view], noise)
                moved(1, 1)
        numbers = [
            p for i in range(len(pixels)) for reading in readings for p in reading.probabilities[i].tolist()
        ]
        return io.NodeOutput("\n".join(_lines(readings, len(pixels))), numbers)
