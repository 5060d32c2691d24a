"""SRDG's networks, schedule, condition and training objective."""

from __future__ import annotations

import re
from itertools import pairwise

import torch
from golden_cases import Case, adapter, by_sample, names_by
from torch import Tensor

from priorsr.methods import weights
from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.priors.ncsnpp import NCSNppPrior
from priorsr.methods.srdg.attributes import AttributeClassifier, AttributeTarget
from priorsr.methods.srdg.guidance import AttributeGuidance
from priorsr.methods.srdg.method import condition, enlarged
from priorsr.methods.srdg.objective import ScoreOptimisation, ScoreTraining, score_loss, train_times
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.schedule import ExplodingSchedule, Level
from priorsr.samplers.sde import taken

NOT_OURS = {  # options that the published code has and these networks never use otherwise
    "skip_rescale": True,
    "resblock_type": "biggan",
    "progressive": "none",
    "progressive_input": "input_skip",
    "progressive_combine": "sum",
    "embedding_type": "fourier",
    "scale_by_sigma": True,
    "centered": False,
    "nonlinearity": "swish",
}


def ncsnpp(case: Case, config: dict, part: str | None = None) -> NCSNpp:
    for name, value in NOT_OURS.items():
        assert config[name] == value, f"{name} {config[name]!r} is not supported"
    known = NCSNppConfig.__dataclass_fields__.keys()
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in known}
    return case.fill(NCSNpp(NCSNppConfig(**options, channels=config["num_channels"] // 2)), part)


def densenet(case: Case, config: dict, part: str | None = None, attribute: str = "") -> DenseNet:
    options = {name: config[name] for name in ("image_size", "growth_rate", "bn_size", "num_classes")}
    network = DenseNet(DenseNetConfig(num_layers=tuple(config["num_layers"]), **options))
    names = names_by(config.get("fill_key_prefix", ""), attr=attribute)
    return case.fill(network, part, names).requires_grad_(False)


def schedule(config: dict) -> ExplodingSchedule:
    return ExplodingSchedule(
        config["sigma_min"], config["sigma_max"], config.get("eps", ExplodingSchedule.end)
    )


def draws(case: Case):
    """The noise source that the case's text names."""
    return case.noise(re.search(r"prefix '([^']+)'", case.spec["noise"])[1])


@adapter("srdg", "ncsnpp")
@torch.no_grad()
def srdg_ncsnpp(case: Case) -> dict[str, Tensor]:
    c, y, outputs = case.config, case.inputs["y"], {}
    network, sde = ncsnpp(case, c), schedule(c)
    prior = NCSNppPrior(network)
    for k in range(len(c["times"])):
        sigma = sde.sigma(case.inputs[f"t_{k}"].flatten())
        x = y.clamp(0, 1) * 0.9 + sigma[:, None, None, None] * case.inputs["x_noise"]
        outputs[f"sigma_{k}"] = sigma
        outputs[f"raw_{k}"] = network(x, sigma, y)
        outputs[f"score_{k}"] = by_sample(
            lambda s, x, y: prior.score(x, Level(s, 1.0, s), Cond({"low_res": y})), sigma, x, y
        )
    return outputs


@adapter("srdg", "vesde")
def srdg_vesde(case: Case) -> dict[str, Tensor]:
    c, sde, times = case.config, schedule(case.config), case.inputs["times"]
    start = sde.largest * draws(case)(case.spec["outputs"]["prior"]["shape"])
    outputs = {"marginal_std": sde.sigma(times), "g": sde.diffusion(times), "prior": start}
    for n in c["N"]:
        levels, grid = sde.levels(n), sde.times(n)
        outputs[f"sigmas_{n}"] = torch.tensor([level.sigma for level in reversed(levels[:-1])])
        outputs[f"timesteps_{n}"] = torch.tensor(grid)
        outputs[f"index_{n}"] = outputs[f"index_torch_{n}"] = torch.tensor([sde.entry(t, n) for t in grid])
        outputs[f"G_{n}"] = torch.tensor([taken(a, b) for a, b in pairwise(levels)]).sqrt()
    return outputs


@adapter("srdg", "lr_image")
def srdg_lr_image(case: Case) -> dict[str, Tensor]:
    image, outputs = case.inputs["image"].permute(2, 0, 1)[None] / 255, {}
    for factor in case.config["factors"]:
        small = condition(image, factor)
        outputs[f"small_{factor}"] = small[0]
        outputs[f"lr_{factor}"] = enlarged(small, tuple(image.shape[-2:]))[0, :, ::2, ::2]
    return outputs


def judged(
    network: DenseNet, labels: Tensor, image: Tensor, noise: Tensor, config: dict
) -> dict[str, Tensor]:
    """Logits and gradients at each time, which is one for all pictures or one for each."""
    classifier = AttributeClassifier(network, "attribute", tuple(map(str, range(network.config.num_classes))))
    sde, outputs = schedule(config), {}

    def gradient(sigma: float, x: Tensor, labels: Tensor) -> Tensor:
        wish = AttributeTarget(classifier, tuple(labels.tolist()))
        guidance = AttributeGuidance([wish], 1.0, span=(0, 1), schedule=sde)
        return guidance.gradient(x, Level(sigma, 1.0, sigma))

    for k, t in enumerate(config["times"]):
        sigma = sde.sigma(torch.tensor(t, dtype=torch.float64)).flatten()
        x = image + sigma.float()[:, None, None, None] * noise
        with torch.no_grad():
            outputs[f"logits_{k}"] = network(x, sigma.float().expand(len(x)))
        outputs[f"grad_{k}"] = by_sample(gradient, sigma, x, labels.expand(len(x)))
    return outputs


@adapter("srdg", "classifier")
def srdg_classifier(case: Case) -> dict[str, Tensor]:
    return judged(
        densenet(case, case.config),
        case.inputs["labels"],
        case.inputs["image"],
        case.inputs["noise"],
        case.config,
    )


@adapter("srdg", "classifier_real")
def srdg_classifier_real(case: Case) -> dict[str, Tensor]:
    c = case.config
    network = weights.load(case.folder.parent / c["weights"], "attribute").network
    image = case.inputs["image"].permute(2, 0, 1)[None] / 255
    outputs = judged(network, torch.tensor([c["label"]]), image, case.inputs["noise"], c)
    norms = {
        k.replace("grad", "grad_norm"): v.norm()[None] for k, v in outputs.items() if k.startswith("grad")
    }
    stride = c["grad_stride"]
    return {k: v[..., ::stride, ::stride] if k.startswith("grad") else v for k, v in outputs.items()} | norms


@adapter("srdg", "training")
def srdg_training(case: Case) -> dict[str, Tensor]:
    c, noise, losses = case.config, draws(case), []
    assert not any(c[name] for name in ("reduce_mean", "likelihood_weighting", "weight_decay")), (
        "the released settings only"
    )
    network, sde = ncsnpp(case, c["net"]), schedule({**c["net"], "eps": c["time_eps"]})
    training = ScoreTraining(
        network,
        ScoreOptimisation(
            c["lr"], c["beta1"], c["beta2"], c["eps"], c["warmup"], c["grad_clip"], c["ema_rate"]
        ),
    )
    clean, low = case.inputs["hr"], case.inputs["lr"]
    for u in case.inputs["u"]:
        loss = score_loss(network, clean, low, train_times(u, sde), noise(clean.shape), sde).mean()
        losses.append(loss.detach())
        training.step(loss)
    result = {f"param_{k}": v for k, v in network.state_dict().items()} | {
        f"ema_{k}": v for k, v in training.average.state_dict().items()
    }
    return {**result, "losses": torch.stack(losses), "loss_jax": losses[0][None]}
