"""What StableSR's UNet is told: a prompt's tokens, or its embeddings from a file, without a host program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .. import weights
from ..nets.open_clip_text import LENGTH
from .method import NEGATIVE, POSITIVE

START, END, PADDING = 49406, 49407, 0
FILES = ("vocab.json", "merges.txt")
WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # what CLIP's vocabulary was made of, lower case
)
CONTEXT = "context"  # the tensor's name in a file of embeddings
KNOWN = {  # the paper's prompts, taken literally, in OpenCLIP's vocabulary
    "": "",
    NEGATIVE: "274 323 267 7651 267 6469 267 17622 267 263 5719 3027 281 273 2361 263 1042 3027 281 273 264",
    POSITIVE: (
        "263 12066 281 273 2361 263 949 3027 281 273 2361 263 16157 281 273 2361 263 1070 3143 281 273 264"
    ),
}


def tokenise(prompt: str, folder: str = "") -> Tensor:
    """A prompt as tokens 1 77 (int64), taken literally: no weighting.

    Only those of KNOWN need no `folder`, which holds FILES.

    Raises FileNotFoundError, ImportError without the `sd` extra, or ValueError where the prompt is too long.
    """
    if prompt.strip() in KNOWN:
        words = [int(token) for token in KNOWN[prompt.strip()].split()]
    else:
        words = _encoder(Path(folder)).encode(prompt).ids
    if len(words) > LENGTH - 2:
        raise ValueError(
            f"the prompt has {len(words)} tokens and Stable Diffusion reads {LENGTH - 2}: shorten it"
        )
    return torch.tensor([[START, *words, END, *[PADDING] * (LENGTH - 2 - len(words))]], device="cpu")


def read_context(name: str) -> Tensor:
    """Embeddings of a prompt, 1 L D in float32, from a file whose tensor `context` is 1 L D or L D.

    Raises FileNotFoundError or ValueError.
    """
    path = weights.locate(name)
    state, _ = weights.read_state(path)
    if CONTEXT not in state:
        raise ValueError(
            f"{path} holds no tensor called {CONTEXT} but {', '.join(list(state)[:3]) or 'none'}: save the "
            "prompt's embeddings under it"
        )
    context = state[CONTEXT].float()
    context = context[None] if context.ndim == 2 else context
    if context.ndim != 3 or len(context) != 1 or not context.numel() or not context.isfinite().all():
        raise ValueError(
            f"{path}: the embeddings of a prompt are finite, (tokens, channels) or (1, tokens, channels), "
            f"not {tuple(context.shape)}"
        )
    return context


def _encoder(folder: Path):
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {' and '.join(missing)}: give the tokenizer folder of Stable Diffusion 2.1 or "
            "of any CLIP model"
        )
    try:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise ImportError('prompts need one more package: pip install "priorsr[sd]"') from error
    encoder = Tokenizer(
        models.BPE.from_file(*(str(folder / name) for name in FILES), end_of_word_suffix="</w>")
    )
    encoder.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return encoder


def check_contexts(contexts: Mapping[str, Tensor], origins: Mapping[str, str], wanted: int) -> None:
    """Raises ValueError for embeddings of other channels than are wanted, or of different lengths."""
    for key, context in contexts.items():
        if context.shape[-1] != wanted:
            raise ValueError(
                f"the UNet reads prompts of {wanted} channels and those of {origins[key]} have "
                f"{context.shape[-1]}: "
                "encode them for this UNet"
            )
    if len({context.shape for context in contexts.values()}) > 1:
        lengths = " and ".join(str(context.shape[1]) for context in contexts.values())
        raise ValueError(f"the prompt and the negative one have {lengths} tokens: encode both alike")


def tokens_of(prompt: str, folder: str) -> Tensor:
    """A prompt's tokens, of the published ones without a tokenizer's folder. Raises ValueError."""
    if prompt.strip() not in KNOWN and not folder:
        raise ValueError(
            f"the prompt {prompt!r} needs tokenizer FOLDER, with vocab.json and merges.txt of Stable "
            'Diffusion 2.1 or of any CLIP model; an empty one, "", and the published ones need none'
        )
    return tokenise(prompt, folder)
