"""Training of attribute classifiers: balance, noise, resuming, files that guide."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from classifier_trainings import QUICK, RECIPE, SPEC, pictures
from trainings import interrupted, weights_of

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.srdg.attributes import AttributeTarget, load_attribute, read_attributes
from priorsr.methods.srdg.guidance import AttributeGuidance
from priorsr.methods.train.balance import chances, class_weights, drawn_of, groups_of
from priorsr.methods.train.classifier import (
    TIMES,
    Labelled,
    accuracies,
    build,
    files,
    metadata,
    moved,
    rgb,
    settings_of,
    task,
)
from priorsr.methods.train.judge import judged_accuracies
from priorsr.methods.train.labels import UNKNOWN
from priorsr.methods.train.loop import Batch, fit
from priorsr.samplers.schedule import Level

CLASSES = {"light": ("dark", "bright"), "side": ("left", "right")}


@pytest.fixture(scope="module")
def data():
    return Labelled.of(*pictures(48), RECIPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("faces")
    named, table = pictures(8)
    for name, x in named:
        write(Picture(x[None]), place / name)
    rows = [f"{name},{row['level']},{row['side']}" for name, row in table.items()]
    (place / "labels.csv").write_text("\n".join(["file,level,side", *rows]) + "\n", encoding="utf-8")
    return place


def test_pictures_without_labels_are_left_out_and_classes_are_drawn_alike():
    named, table = pictures(8)
    del table["000.png"]
    table["001.png"] = {"level": "other", "side": "1"}
    data = Labelled.of(named, table, RECIPE)
    assert data.images.shape == (7, 1, 16, 16)
    assert (data.labels["light"] == UNKNOWN).sum() == 1
    labels = torch.tensor([0, 1, 1, 1, UNKNOWN])
    for balanced, chance in ((True, 0.5), (False, 0.25)):
        drawn = drawn_of(groups_of(labels, balanced), 4000, torch.Generator().manual_seed(0))
        assert set(drawn.tolist()) == {0, 1, 2, 3}
        assert float((labels[drawn] == 0).float().mean()) == pytest.approx(chance, abs=0.03)


def test_every_attribute_is_learnt_from_its_own_draw_and_moves_do_what_they_say(data):
    work = task(RECIPE, data, data)
    work.loss(work.network, Batch(torch.Generator().manual_seed(0), False, torch.device("cpu"))).backward()
    for net in work.network.networks.values():
        assert all(float(p.grad.abs().sum()) > 0 for p in net.parameters() if p.ndim > 1)
    x = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    assert torch.equal(moved(x, [(1, 1)], 1), x)
    assert torch.equal(moved(x, [(2, 1)], 1)[..., :3, :], x[..., 1:, :])
    assert torch.equal(moved(x, [(1, 0)], 1)[..., 1:], x[..., :-1])


@pytest.mark.slow
def test_training_learns_all_attributes_and_resumes(tmp_path, data):
    judged = Labelled.of(*pictures(12), RECIPE)
    net = fit(task(RECIPE, data, judged, 1), QUICK, tmp_path / "whole", progress=False)
    profile = accuracies(net.networks, judged)
    assert list(profile) == ["light", "side"]
    assert all(tuple(p) == TIMES for p in profile.values())
    assert profile["light"][0.1] == 1.0  # nearly clean
    assert profile["light"][0.1] > profile["light"][0.85]
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["light@0.1"] == 1.0
    assert rows[-1]["accuracy"] == pytest.approx(sum(v for p in profile.values() for v in p.values()) / 18)
    assert min(read(tmp_path / "whole" / "accuracy.png").pixels.shape[-2:]) > 100

    interrupted(task(RECIPE, data, judged, 1), QUICK, tmp_path / "parts", 15)
    again = fit(task(RECIPE, data, judged, 1), QUICK, tmp_path / "parts", resume=True, progress=False)
    for one, other in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_accuracy_is_that_of_each_class_alike(data):
    class Always(torch.nn.Linear):
        def forward(self, x, sigma):
            return torch.tensor([[0.0, 1.0]]).expand(len(x), 2)

    few = Labelled(data.images[:9], {"light": torch.tensor([0] * 8 + [1])})
    assert accuracies({"light": Always(1, 1)}, few, (0.1,)) == {"light": {0.1: 0.5}}


def test_the_command_writes_a_file_for_each_attribute_that_guides(tmp_path, folder, caplog):
    out, alone = tmp_path / "judge.safetensors", tmp_path / "alone.safetensors"
    small = [
        "--size",
        "16",
        "--layers",
        "1,1",
        "--growth",
        "4",
        "--batch",
        "4",
        "--steps",
        "3",
        "--device",
        "cpu",
    ]
    common = [
        "train",
        "classifier",
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--labels",
        str(folder / "labels.csv"),
        *small,
    ]
    assert cli.main([*common, "--attributes", SPEC, "--out", str(out)]) == 0
    light, side = (load_attribute(str(tmp_path / f"judge_{name}.safetensors")) for name in ("light", "side"))
    assert (light.attribute, light.classes, light.luma) == ("light", ("dark", "bright"), False)
    assert side.classes == ("left", "right")
    assert cli.main([*common, "--attributes", SPEC, "--out", str(out)]) == 2
    assert "judge_light.safetensors exists" in caplog.text
    assert (
        cli.main(
            [
                *common,
                "--attributes",
                "light:level=dark,bright:high",
                "--channels",
                "luma",
                "--out",
                str(alone),
            ]
        )
        == 0
    )
    luma = load_attribute(str(alone))
    assert luma.luma
    pushed = AttributeGuidance([AttributeTarget(luma, (1,))]).gradient(
        torch.zeros(1, 1, 16, 16), Level(1.0, 1.0, 1.0)
    )
    assert pushed.shape == (1, 1, 16, 16)
    assert pushed.abs().max() > 0
    assert read_attributes([luma], torch.full((1, 1, 16, 16), 0.5))[0].probabilities.shape == (1, 2)


def test_one_network_may_tell_all_attributes(tmp_path, data):
    recipe = dataclasses.replace(RECIPE, shared=True)
    work = task(recipe, data, data, 1)
    light, side = work.network.networks.values()
    assert light.Conv_0 is side.Conv_0
    assert light.Dense_3 is not side.Dense_3
    net = fit(work, QUICK, tmp_path / "run", progress=False)
    profile = accuracies(net.networks, data)
    assert min(profile["light"][0.1], profile["side"][0.1]) > 0.9
    again = fit(task(recipe, data, data, 1), QUICK, tmp_path / "run", resume=True, progress=False)
    assert torch.equal(weights_of(again), weights_of(net))
    for path, network, said in files(net, metadata(recipe, QUICK), tmp_path / "all.safetensors"):
        weights.save(network, path, said)
    told = load_attribute(str(tmp_path / "all_side.safetensors")).network
    x, level = rgb(data.images[:4] / 255), torch.full((4,), 0.1)
    torch.testing.assert_close(told(x, level), net.networks["side"].eval()(x, level), rtol=0, atol=1e-5)


def test_rare_classes_are_seen_and_weigh_what_the_common_ones_do():
    labels = {"a": torch.tensor([0] * 95 + [1] * 5), "b": torch.tensor([0, 1] * 50)}
    members = {name: groups_of(of, True) for name, of in labels.items()}
    drawn = chances(members, 100)
    assert float(drawn.sum()) == pytest.approx(1.0)
    assert float(drawn[95:].sum()) == pytest.approx(0.5 * 0.05 + 0.25 * 0.5 + 0.25 * 0.05, abs=0.01)
    for name, of in labels.items():
        weights_by_class = class_weights(of, members[name], drawn)
        masses = [float(weights_by_class[k] * drawn[of == k].sum()) for k in (0, 1)]
        assert masses == pytest.approx([0.5, 0.5])
    assert class_weights(labels["a"], members["a"], None).tolist() == [1, 1]


def test_a_classifier_that_sees_blocks_comes_back_from_its_file(tmp_path, data):
    recipe = dataclasses.replace(RECIPE, pool=2)
    network = build(recipe, seed=3)["light"].eval()
    said = {**metadata(recipe, QUICK), "attribute": "light", "classes": "dark,bright"}
    said["settings"] = settings_of(network)
    file = weights.save(network, tmp_path / "pooled.safetensors", said)
    again = load_attribute(str(file)).network
    assert (again.config.image_size, again.config.pool) == (16, 2)
    x, level = rgb(data.images[:3] / 255), torch.full((3,), 0.1)
    torch.testing.assert_close(again(x, level), network(x, level), rtol=0, atol=1e-6)
    mixed = x.view(3, 3, 8, 2, 8, 2).flip(3, 5).reshape(x.shape)  # within the blocks
    torch.testing.assert_close(again(mixed, level), network(x, level), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="no multiple of 4"):
        dataclasses.replace(recipe, size=18).config()
    for wrong in ("0", '"2"', "1.5", "65", "true"):
        weights.save(network, file, {**said, "settings": f'{{"pool": {wrong}}}'})
        with pytest.raises(ValueError, match=r"pooled\.safetensors.*setting pool is"):
            load_attribute(str(file))


def test_a_judge_of_another_architecture_learns_and_never_guides(tmp_path, data):
    recipe = dataclasses.replace(RECIPE, net="plain", width=16, size=32)
    big = Labelled.of(*pictures(48, 32), recipe)
    net = fit(task(recipe, big, big, 1), dataclasses.replace(QUICK, steps=40), tmp_path, progress=False)
    profile = judged_accuracies(net.networks, big.images, big.labels)
    assert list(profile["light"]) == [1, 2, 4, 8]
    assert min(profile["light"].values()) > 0.9
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["light@4"] == profile["light"][4]
    for path, network, said in files(net, metadata(recipe, QUICK), tmp_path / "judge.safetensors"):
        weights.save(network, path, said)
    judge = load_attribute(str(tmp_path / "judge_light.safetensors"), judging=True)
    assert (judge.attribute, judge.classes, judge.luma) == ("light", ("dark", "bright"), True)
    bright = big.labels["light"].tolist()
    read = read_attributes([judge], big.images / 255)[0].probabilities.argmax(1).tolist()
    assert sum(a == b for a, b in zip(bright, read, strict=True)) > 40
    with pytest.raises(ValueError, match="holds attribute judge weights where attribute weights are needed"):
        load_attribute(str(tmp_path / "judge_light.safetensors"))
    for wrong, words in (({"width": 20}, "multiple of 16"), ({"size": 16}, "halved 5 times")):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(recipe, **wrong).config()


def test_a_training_goes_on_from_files(tmp_path, data):
    work = task(RECIPE, data, data, seed=1)
    for name, network in work.network.networks.items():
        said = {"kind": "attribute", "channels": "luma", "classes": ",".join(CLASSES[name])}
        weights.save(network, tmp_path / f"first_{name}.safetensors", said)
    again = build(dataclasses.replace(RECIPE, init=str(tmp_path / "first.safetensors")), seed=2)
    assert torch.equal(weights_of(again), weights_of(work.network.networks))
    other = RECIPE.attributes.replace("dark,bright:high", "bright:high,dark")
    for change, words in (
        ({"attributes": other}, "tells dark,bright of luma pictures"),
        ({"growth": 4}, r"other settings \(growth_rate 8\)"),
        ({"channels": "rgb"}, "not dark,bright of rgb"),
    ):
        with pytest.raises(ValueError, match=words):
            build(dataclasses.replace(RECIPE, init=str(tmp_path / "first.safetensors"), **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--attributes", ""], "name none"),
        (["--attributes", "hat=0,1"], "no column 'hat'"),
        (["--attributes", SPEC, "--labels", "nowhere.csv"], "nowhere.csv"),
        (["--attributes", SPEC, "--layers", "x"], "no list of whole numbers"),
    ],
)
def test_mistakes_are_told_before_training(tmp_path, folder, caplog, change, words):
    common = [
        "train",
        "classifier",
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--labels",
        str(folder / "labels.csv"),
    ]
    assert (
        cli.main(
            [*common, "--size", "16", "--out", str(tmp_path / "x.safetensors"), "--layers", "1,1", *change]
        )
        == 2
    )
    assert words in caplog.text
    assert not list(tmp_path.iterdir())
