"""Whole runs of SDE-SR and SRDG, free and guided by attributes."""

from __future__ import annotations

from golden_cases import Case, adapter
from srdg_net_adapter import densenet, draws, ncsnpp, schedule
from torch import Tensor

from priorsr.methods.priors.ncsnpp import NCSNppPrior
from priorsr.methods.srdg.attributes import AttributeClassifier, AttributeTarget
from priorsr.methods.srdg.guidance import AttributeGuidance
from priorsr.methods.srdg.method import SRDGSettings, srdg, transition_of
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.run import Hook

SAMPLERS = {"reverse_diffusion": "predictor-corrector", "euler_maruyama": "euler"}


class Recorder(Hook):
    """State, level and guided answer of every network call, and what each step made of the last."""

    def __init__(self):
        self.calls, self.steps = [], []

    def predict(self, x, level, pred):
        self.calls.append((x, level, pred.eps))
        return pred

    def state(self, step, x):
        self.steps.append((step, x))
        return x


class Draws:
    """A noise source that remembers what it gave."""

    def __init__(self, source):
        self.source, self.drawn = source, []

    def __call__(self, shape):
        self.drawn.append(self.source(shape))
        return self.drawn[-1]


def attributes(case: Case) -> list[AttributeTarget]:
    c = case.config.get("classifier", {})
    names = tuple(map(str, range(c.get("num_classes", 2))))
    networks = {name: densenet(case, c, "classifier", name) for name in case.config.get("labels", {})}
    return [
        AttributeTarget(AttributeClassifier(network, name, names), tuple(case.config["labels"][name]))
        for name, network in networks.items()
    ]


@adapter("srdg", "sampler")
def srdg_sampler(case: Case) -> dict[str, Tensor]:
    c, y = case.config, case.inputs["y"]
    assert (c["denoise"], c.get("probability_flow", False)) == (True, False), "the published run only"
    wanted = attributes(case)
    prior = NCSNppPrior(ncsnpp(case, c["net"], "net" if wanted else None), schedule=schedule(c))
    corrections = {"langevin": c["n_corrector_steps"], "none": 0}[c["corrector"]]
    settings = SRDGSettings(
        c["N"], SAMPLERS[c["predictor"]], corrections, c["snr"], c.get("h", 0), joint=True
    )
    recorder, noise = Recorder(), Draws(draws(case))
    outputs = {"final": srdg(prior, y, tuple(y.shape[-2:]), wanted, settings, noise, (recorder,))}
    noise(y.shape)  # drawn and thrown away at the end of the published run
    first, level, _ = recorder.calls[0]
    outputs["first_score"] = prior.score(first, level, Cond({"low_res": y})).detach()
    for wish in wanted:
        alone = AttributeGuidance([wish], 1.0, span=prior.span, schedule=prior.schedule)
        outputs[f"first_grad_{wish.classifier.attribute}"] = alone.gradient(first, level)
    transition = transition_of(prior, settings)
    for k, (step, x) in enumerate(recorder.steps):
        at = k * (corrections + 1)
        drawn = noise.drawn[1 + at : 2 + at + corrections]
        corrected = recorder.calls[at + corrections][0]
        outputs[f"step{k}_corrector_x"] = outputs[f"step{k}_corrector_mean"] = corrected
        if corrections:
            outputs[f"step{k}_corrector_mean"] = transition.correct(
                *recorder.calls[at + corrections - 1], drawn[-2]
            )[0]
        outputs[f"step{k}_predictor_mean"] = step.mean
        outputs[f"step{k}_predictor_x"] = x if step.noise is not None else step.mean + step.std * drawn[-1]
    return outputs
