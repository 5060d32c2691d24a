from __future__ import annotations

import json
import sys

import pytest
import torch
import torch.nn.functional as F
from open_clip_tiny import text_state
from safetensors.torch import save_file

from priorsr.methods.nets.open_clip_text import BLOCKS, LENGTH, VOCABULARY
from priorsr.methods.stablesr.load import TEXT, load_text
from priorsr.methods.stablesr.method import NEGATIVE, POSITIVE
from priorsr.methods.stablesr.text import END, START, read_context, tokenise

WIDTH = 128  # two heads


def reference(state, tokens):
    """The tower written out in float64, one head at a time."""
    state = {k: v.double() for k, v in state.items()}
    norm = lambda x, name: F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"]
    later = torch.ones(LENGTH, LENGTH).triu(1).bool()
    for i in range(BLOCKS):
        block = f"transformer.resblocks.{i}"
        seen = norm(x, f"{block}.ln_1")
        parts = (seen @ state[f"{block}.attn.in_proj_weight"].T + state[f"{block}.attn.in_proj_bias"]).split(
            WIDTH, -1
        )
        heads = []
        for q, k, v in zip(*(part.split(64, -1) for part in parts), strict=True):
            weights = (q @ k.mT / 8).masked_fill(later, float("-inf")).softmax(-1)
            heads.append(weights @ v)
        x = (
            x
            + torch.cat(heads, -1) @ state[f"{block}.attn.out_proj.weight"].T
            + state[f"{block}.attn.out_proj.bias"]
        )
        wide = (
            norm(x, f"{block}.ln_2") @ state[f"{block}.mlp.c_fc.weight"].T + state[f"{block}.mlp.c_fc.bias"]
        )
        x = x + F.gelu(wide) @ state[f"{block}.mlp.c_proj.weight"].T + state[f"{block}.mlp.c_proj.bias"]
    return norm(x, "ln_final")


@pytest.mark.parametrize("prefix", TEXT)
def test_the_text_encoder_of_a_full_file_gives_the_second_to_last_layer_normalised(tmp_path, prefix):
    state = text_state(WIDTH)
    save_file(
        {f"{prefix}{k}": v for k, v in state.items()} | {"first_stage_model.quant_conv.bias": torch.zeros(1)},
        tmp_path / "sd.safetensors",
    )
    network = load_text(str(tmp_path / "sd.safetensors"))
    tokens = torch.cat([tokenise(""), torch.arange(LENGTH)[None] * 641 % VOCABULARY])
    found, expected = network(tokens), reference(state, tokens)
    assert expected.std() > 0.1
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    changed = tokens.clone()
    changed[:, 40] += 1
    differs = (network(changed) - found).abs().amax((0, 2)) > 1e-6
    assert not differs[:40].any()
    assert differs[40:].all(), "no token sees a later one, and all see the earlier ones"


def test_half_precision_files_and_those_without_the_last_block_give_the_same(tmp_path):
    state = {f"{TEXT[0]}{k}": v.half() for k, v in text_state(WIDTH).items()}
    save_file(state, tmp_path / "whole.safetensors")
    save_file(
        {k: v for k, v in state.items() if f"resblocks.{BLOCKS}." not in k}, tmp_path / "pruned.safetensors"
    )
    whole, pruned = (
        load_text(str(tmp_path / f"{name}.safetensors"))(tokenise("")) for name in ("whole", "pruned")
    )
    assert whole.dtype == torch.float32
    assert torch.equal(whole, pruned)


def test_files_without_or_with_half_a_text_encoder_are_refused(tmp_path):
    file = tmp_path / "sd.safetensors"
    save_file({"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(8)}, file)
    with pytest.raises(ValueError, match=r"no network that PriorSR knows .*embeddings"):
        load_text(str(file))
    state = {f"{TEXT[0]}{k}": v for k, v in text_state(8).items()}
    save_file({k: v for k, v in state.items() if "resblocks.7.ln_1.bias" not in k}, file)
    with pytest.raises(ValueError, match=r"1 missing .transformer\.resblocks\.7\.ln_1\.bias"):
        load_text(str(file))


@pytest.fixture
def tokenizer(tmp_path):
    """A vocabulary of all letters and a few words, in the published form."""
    words = [
        "a",
        "c",
        "t",
        "3",
        "d",
        ",",
        "(",
        ":",
        "é"[0],
        "a</w>",
        "t</w>",
        "3</w>",
        "d</w>",
        ",</w>",
        "(</w>",
        ":</w>",
        "at</w>",
        "cat</w>",
        "Ã",
        "©</w>",
    ]
    (tmp_path / "vocab.json").write_text(
        json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8"
    )
    (tmp_path / "merges.txt").write_text("#version: 0.2\na t</w>\nc at</w>\n", encoding="utf-8")
    return str(tmp_path), words


def test_prompts_become_tokens_between_start_and_end(tokenizer):
    folder, words = tokenizer
    expected = [
        "cat</w>",
        "a</w>",
        "c",
        "d</w>",
        "3</w>",
        "d</w>",
        ",",
        "(</w>",
        "3</w>",
        ":</w>",
        "3</w>",
        "Ã",
        "©</w>",
    ]
    for prompt in ("cat A  cd 3d,(3:3 é", "  CAT a\ncd 3D,(  3:3 e\u0301 "):
        row = tokenise(prompt, folder)[0].tolist()
        assert row[: len(expected) + 2] == [START, *(words.index(word) for word in expected), END]
        assert len(row) == LENGTH
        assert not any(row[len(expected) + 2 :])
    for prompt in ("", " \n"):
        assert tokenise(prompt)[0].tolist() == [START, END] + [0] * (LENGTH - 2)
    assert tokenise("cat " * 75, folder)[0, -1] == END
    with pytest.raises(ValueError, match="76 tokens and Stable Diffusion reads 75"):
        tokenise("cat " * 76, folder)
    with pytest.raises(FileNotFoundError, match=r"lacks vocab\.json and merges\.txt"):
        tokenise("cat", folder + "/none")


def test_the_published_prompts_need_no_tokenizer():
    """The token numbers of the paper's prompts in OpenCLIP's vocabulary."""
    for prompt, count, first, last in ((NEGATIVE, 21, 274, 264), (POSITIVE, 22, 263, 264)):
        row = tokenise(f" {prompt} ")[0].tolist()
        assert (row[0], row[1], row[count], row[count + 1]) == (START, first, last, END)
        assert all(row[1 : count + 1])
        assert not any(row[count + 2 :])
        assert len(row) == LENGTH
        # what both say: a bracket, the word, ", quality", a colon, 2, brackets closed
        assert row[row.index(2361) : row.index(2361) + 2] == [2361, 263]
        assert row.count(3027) == 2 - (prompt == POSITIVE)
    assert tokenise(NEGATIVE)[0, 1:9].tolist() == [274, 323, 267, 7651, 267, 6469, 267, 17622]
    with pytest.raises(FileNotFoundError):
        tokenise("3d, cartoon", "none")


def test_without_the_extra_a_prompt_says_what_to_install(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert tokenise("").shape == (1, LENGTH)
    with pytest.raises(ImportError, match=r'pip install "priorsr\[sd\]"'):
        tokenise("cat", tokenizer[0])


def test_embeddings_come_with_or_without_a_batch(tmp_path):
    context = torch.arange(12.0).view(1, 3, 4)
    for i, stored in enumerate((context, context[0], context.half())):
        save_file({"context": stored}, tmp_path / f"{i}.safetensors")
        assert torch.equal(read_context(str(tmp_path / f"{i}.safetensors")), context)
    for name, state, message in (
        ("two", {"context": context.expand(2, -1, -1).clone()}, "not .2, 3, 4."),
        ("nan", {"context": context / 0}, "finite"),
        ("other", {"prompt": context}, "no tensor called context but prompt"),
    ):
        save_file(state, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=message):
            read_context(str(tmp_path / f"{name}.safetensors"))
