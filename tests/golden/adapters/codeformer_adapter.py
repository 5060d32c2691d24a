"""CodeFormer: its blocks, its autoencoder, the whole network, and the pictures it takes and gives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.faces.codeformer import from_network, to_network
from priorsr.methods.imaging.images import to_uint8
from priorsr.methods.nets.adm_blocks import Upsample
from priorsr.methods.nets.autoencoder_blocks import AttnBlock, HalfSize
from priorsr.methods.nets.codeformer import CodeFormer, CodeFormerConfig
from priorsr.methods.nets.codeformer_blocks import Fuse, TransformerLayer, adain
from priorsr.methods.nets.codeformer_vqgan import VQGAN, VQGANConfig, residual


def margin(scores: Tensor) -> Tensor:
    """How far the best of the last axis is above the second."""
    best = scores.topk(2).values
    return best[..., 0] - best[..., 1]


@adapter("codeformer", "blocks")
@torch.no_grad()
def codeformer_blocks(case: Case) -> dict[str, Tensor]:
    x, enc = case.inputs["feat"], case.inputs["enc"]
    shapes = {name: case.part(name) for name in ("res", "layer")}
    out, c = shapes["res"]["conv1.weight"][:2]
    fuse, layer = (
        case.fill(Fuse(c), "fuse"),
        case.fill(TransformerLayer(c, 4, shapes["layer"]["linear1.weight"][0]), "layer"),
    )
    outputs = {
        "res": case.fill(residual(c, out), "res")(x),
        "res_same": case.fill(residual(c, c), "res_same")(x),
        "attn": case.fill(AttnBlock(c), "attn")(x),
        "down": case.fill(HalfSize(c), "down")(x),
        "up": case.fill(Upsample(c, conv=True), "up")(x),
        "layer": layer(x.flatten(2).mT, case.inputs["pos"]).transpose(0, 1),
        "adain": adain(x, enc),
    }
    return outputs | {f"fuse_w{w:g}": fuse(enc, x, w) for w in case.config["w"]}


@adapter("codeformer", "vqgan")
@torch.no_grad()
def codeformer_vqgan(case: Case) -> dict[str, Tensor]:
    c = case.config
    sizes = VQGANConfig(
        c["img_size"],
        c["nf"],
        tuple(c["ch_mult"]),
        c["res_blocks"],
        tuple(c["attn_resolutions"]),
        c["codebook_size"],
        c["emb_dim"],
    )
    network = case.fill(VQGAN(sizes))
    network.quantize.embedding.weight.mul_(c["codebook_gain"])
    latent = network.encoder(case.inputs["x"])
    out, quantised = network(case.inputs["x"])
    return {
        "latent": latent,
        "indices": quantised.indices.flatten(),
        "margin": margin(-network.quantize.distances(latent)),
        "quant": quantised.maps,
        "loss": quantised.loss[None],
        "perplexity": quantised.perplexity[None],
        "out": out,
    }


@adapter("codeformer", "codeformer")
@torch.no_grad()
def codeformer(case: Case) -> dict[str, Tensor]:
    c = case.config
    sizes = CodeFormerConfig(
        VQGANConfig(codes=c["codebook_size"]),
        c["dim_embd"],
        c["n_head"],
        c["n_layers"],
        tuple(map(int, c["connect_list"])),
    )
    network = case.fill(CodeFormer(sizes))
    x = F.interpolate(case.inputs["x_low"], scale_factor=32, mode="bilinear") + 0.1 * case.inputs[
        "x_high"
    ].repeat(1, 1, 32, 32)
    latent, maps = network.encode(x)
    logits = network.predict(latent)
    codes = {False: network.lookup(logits)}
    codes[True] = adain(codes[False], latent)
    outputs = {
        "input_grid": x[:, :, 5::32, 5::32],
        "lq_feat": latent[:, ::8],
        "logits": logits[:, ::16, :: c["logit_stride"]],
        "indices": logits.argmax(2),
        "margin": margin(logits),
        "quant": codes[False][:, ::16],
        "quant_adain": codes[True][:, ::16],
    }
    for w, matched in c["runs"]:
        out = network.decode(codes[matched], maps, w)
        name = f"out_w{w:g}_adain{int(matched)}"
        outputs |= {f"{name}_grid": out[:, :, 8::16, 8::16], f"{name}_patch": out[:, :, 244:268, 244:268]}
    return outputs


@adapter("codeformer", "io")
def codeformer_io(case: Case) -> dict[str, Tensor]:
    face = case.inputs["face_bgr"].flip(0)  # stored in the order of OpenCV
    return {
        "net_in": to_network(face[None] / 255),
        "uint8_rgb": to_uint8(from_network(case.inputs["net_out"])),
    }
