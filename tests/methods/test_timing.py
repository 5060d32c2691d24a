"""How long runs take: told before they begin, and better after every run."""

import json
import logging

import pytest
import torch
from every_method import ABSENT, RUNS, make, pictures, prepared
from torch import nn

from priorsr.methods import timing
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.method import Plan, Upscaler
from priorsr.methods.registry import method_named
from priorsr.methods.timing import Call, Times, by_rule, network_call, show_seconds


class Clock:
    """Time that passes by network calls alone: `each` seconds."""

    def __init__(self, each=2.0):
        self.now, self.each = 0.0, each

    def __call__(self):
        return self.now


class Slow(Upscaler):
    """Thirty calls of a network that the clock counts."""

    def __init__(self, clock, pieces=1, callable=True):
        self.clock, self.steps, self.callable, self.count = clock, 30, callable, pieces
        self.networks = (nn.Conv2d(3, 3, 1),)

    def plan(self, size, scale):
        return Plan(self.result_size(size, scale), self.steps, pieces=self.count)

    def one_call(self, size, scale):
        return Call(self.networks, self.run, (tuple(size),)) if self.callable else None

    def run(self, network):
        self.clock.now += 0 if next(network.parameters()).is_meta else self.clock.each
        return network(torch.zeros(1, 3, 4, 4, device=next(network.parameters()).device))

    def enlarge(self, low, scale, seeds, step, report):
        for _ in range(self.steps * self.count * len(low)):
            self.run(*self.networks)
        return low.repeat_interleave(int(scale), 2).repeat_interleave(int(scale), 3)


@pytest.fixture
def clock(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("priorsr.methods.method.TIMES", Times())
    monkeypatch.setattr(timing, "clock", own := Clock())
    return own


LOW = torch.full((1, 3, 4, 4), 0.5)


def test_nothing_is_measured_for_a_plan_which_a_rule_of_thumb_tells(clock):
    plan = Slow(clock).predict((4, 4), 2.0)
    assert clock.now == 0
    assert not plan.measured
    assert plan.seconds == pytest.approx(30 * by_rule(Slow(clock).one_call((4, 4), 2.0), torch.device("cpu")))
    assert "by a rule of thumb" in plan.describe()


def test_a_call_is_measured_once_for_a_device_and_kept(clock, tmp_path):
    plan = Slow(clock).predict((4, 4), 2.0, measure=True)
    assert clock.now == 4.0  # one call to warm up, and one that counts
    assert (plan.seconds, plan.measured) == (60.0, True)
    again = Slow(clock).predict((4, 4), 2.0, count=3, measure=True)
    assert clock.now == 4.0
    assert again.seconds == 180.0
    assert again.describe() == "30 network calls, about 3 min 0 s as measured here"
    kept = json.loads((tmp_path / "cache" / "priorsr" / "times.json").read_text())
    assert list(kept.values()) == [2.0]


def test_a_short_run_is_not_measured_beforehand(clock):
    short = Slow(clock)
    short.steps = 3
    assert not short.predict((4, 4), 2.0, measure=True).measured
    assert clock.now == 0


@pytest.mark.parametrize("known", [True, False], ids=["by a call", "by runs alone"])
def test_runs_teach_what_the_next_of_their_kind_takes(clock, known):
    slow = Slow(clock, pieces=4, callable=known)
    slow(LOW, 2.0)
    assert slow.predict((4, 4), 2.0).seconds == pytest.approx(30 * 4 * 2.0)
    clock.each = 4.0  # the machine is busier now
    slow(LOW, 2.0)
    assert slow.predict((4, 4), 2.0).seconds == pytest.approx(30 * 4 * 3.0)


def test_a_run_that_was_timed_outweighs_the_call_that_was_measured(clock):
    slow = Slow(clock)
    slow.predict((4, 4), 2.0, measure=True)
    clock.each = 8.0  # with all that is beside the network
    slow(LOW, 2.0)
    assert slow.predict((4, 4), 2.0).seconds == pytest.approx(30 * 8.0)


def test_what_a_tries_end_in_is_not_learnt(clock):
    class Full(Slow):
        def enlarge(self, low, scale, seeds, step, report):
            clock.now += 1000
            raise ValueError("no")

    full = Full(clock)
    with pytest.raises(ValueError, match="no"):
        full(LOW, 2.0)
    assert not full.predict((4, 4), 2.0).measured


def test_other_precision_and_size_are_other_runs(clock):
    slow = Slow(clock)
    slow(LOW, 2.0)
    assert slow.predict((4, 4), 2.0).measured
    assert not slow.predict((8, 8), 2.0).measured
    slow.networks = (slow.networks[0].to(torch.bfloat16),)
    assert slow._keys(None, 30)[0] != Slow(clock)._keys(None, 30)[0]


def test_a_damaged_file_and_a_folder_that_cannot_be_written_keep_nobody_from_working(clock, tmp_path):
    folder = tmp_path / "cache" / "priorsr"
    folder.mkdir(parents=True)
    (folder / "times.json").write_text("[not json")
    Slow(clock)(LOW, 2.0)
    assert Slow(clock).predict((4, 4), 2.0).measured
    (folder / "times.json").unlink()
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    times = Times()
    times.learn("x", 1.0)
    assert times.get("x") == 1.0


def test_a_gradient_takes_more_operations_than_a_call():
    network = method_named("diffsr").prepare().prior.network
    shape = (1, 1, 64, 64)
    plain, pulled = (network_call(network, shape, gradient=g).operations() for g in (False, True))
    assert 1.8 * plain < pulled < 3.2 * plain
    assert network_call(network, (2, *shape[1:])).operations() == pytest.approx(2 * plain, rel=0.05)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make(folder)
    return folder


@pytest.mark.parametrize("name", sorted(set(RUNS) - {"bicubic", "no-prior"}))
def test_every_method_with_a_network_tells_seconds(files, name, clock):
    if name in ABSENT:
        pytest.skip(ABSENT[name])
    upscaler, size, scale = prepared(files, name), tuple(pictures().shape[-2:]), RUNS[name].scale
    call = upscaler.one_call(size, scale)
    if name == "guided":  # which only runs tell
        assert call is None
        return
    assert call.operations() > 0
    call.run(*call.networks)  # what is timed can be run
    assert upscaler.predict(size, scale).seconds > 0


def test_the_command_says_it_before_it_begins(tmp_path, caplog, clock):
    caplog.set_level(logging.INFO)
    write(Picture(torch.rand(1, 3, 24, 24)), tmp_path / "in.png")
    options = ["upscale", "diffsr", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--scale", "4"]
    assert cli.main([*options, "--steps", "2"]) == 0
    assert "by a rule of thumb" in caplog.text
    clock.each = 0
    assert cli.main([*options, "--steps", "2", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "less than a second"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3900, "1 h 5 min"),
        (86399, "23 h 59 min"),
    ],
)
def test_seconds_for_people(seconds, text):
    assert show_seconds(seconds) == text
