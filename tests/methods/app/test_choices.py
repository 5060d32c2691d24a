"""What the page offers: the decision table, every method with its options, and the command that they make."""

from __future__ import annotations

import ast

import pytest
from seventh_method import registered

from priorsr.methods.app import choices
from priorsr.methods.app.run import places
from priorsr.methods.cli.main import build_parser
from priorsr.methods.registry import methods

EVERY = sorted(choices.subcommands())


def test_every_row_of_the_table_with_a_picture_in_and_out_is_offered(root):
    rows = [row for row in choices.TABLE.read_text(encoding="utf-8").splitlines() if " OUT" in row]
    found = choices.choices()
    assert len(found) == len(rows) > 5
    for choice in found:
        values = choices.given(choice)
        assert len(values) == len(choice.values), choice
        words = choices.words_of(choice.command, choice.method, values, "IN", "OUT")
        build_parser(choice.command).parse_args(words)
        assert choice.because
        assert not set(choice.because) & set("*[`")


def test_a_row_that_no_form_could_show_is_refused(tmp_path, monkeypatch):
    page = tmp_path / "which.md"
    page.write_text("| picture | use | because |\n| a | `priorsr upscale x clip.mp4 larger.mp4` | b |\n")
    monkeypatch.setattr(choices, "TABLE", page)
    with pytest.raises(ValueError, match="is no command with IN and OUT"):
        choices.choices()


@pytest.mark.parametrize(("command", "method"), EVERY)
def test_what_is_set_is_what_the_command_says_and_no_more(command, method):
    options = choices.options_of(command, method)
    plain = choices.words_of(command, method, {}, "IN", "OUT")
    assert plain == [command, method, "IN", "OUT"]
    wanted = {}
    for option in options:
        if option.kind is bool:
            wanted[option.name] = not option.default
        elif option.kind in (int, float):
            low = option.low if option.low is not None else 1
            wanted[option.name] = option.kind(low if low != option.default else low + 1)
        elif option.name == choices.REGION:
            wanted[option.name] = "1,2,3,4"
        elif option.name == choices.DEVICE:
            wanted[option.name] = "cpu"
        elif option.choices and not option.free:
            wanted[option.name] = next(one for one in option.choices if one != option.default)
        else:
            wanted[option.name] = "a b.pth"
    longest = wanted.pop("longest", None)
    words = choices.words_of(command, method, wanted, "-IN".lstrip("-"), "OUT")
    parsed = vars(build_parser(command).parse_args(words))
    many = [one.name for one in (methods()[method].weights if method in methods() else ()) if one.many]
    for name, value in wanted.items():
        assert parsed[name] == ([value] if name in many else value), name
    if longest:
        assert "--scale" not in choices.words_of(command, method, {"longest": 9, "scale": 3.0}, "a", "b")


def test_a_further_method_appears_by_itself_with_its_limits():
    with registered():
        assert ("restore-faces", "blocks") in choices.subcommands()
        (option,) = (one for one in choices.options_of("upscale", "blocks") if one.label == "brightness")
        assert (option.low, option.high, option.default, option.first) == (0, 2, 1.0, True)
    assert ("upscale", "blocks") not in choices.subcommands()
    with pytest.raises(ValueError, match="there is no command upscale blocks"):
        choices.options_of("upscale", "blocks")


def test_no_method_is_named(root):
    names = {name for _, name in EVERY}
    options = {option.name for key in EVERY for option in choices.options_of(*key)}
    for path in (root / "methods" / "app").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names - options, f"{path.name} names {node.value}"


def test_nothing_that_is_for_terminals_is_shown():
    for key in EVERY:
        names = {option.name for option in choices.options_of(*key)}
        assert not names & {"overwrite", "workers", "shard", "json", "cluster", "reference"}
        assert not any(name.startswith("cluster") for name in names)


@pytest.mark.parametrize("command", choices.COMMANDS)
def test_the_format_is_that_of_out_where_one_picture_comes_out(command):
    method = next(name for one, name in EVERY if one == command)
    (form,) = (one for one in choices.options_of(command, method) if one.name == choices.FORMAT)
    assert form.choices == ("png", "jpg", "webp")
    assert "preset" not in form.unset
    for value in form.choices:
        one = choices.words_of(command, method, {"format": value}, *places(["a.heic"], value))
        assert one == [command, method, "a.heic", f"a_restored.{value}"]
        several = choices.words_of(command, method, {"format": value}, *places(["a.png", "b.png"], value))
        assert several[-2:] == ["--format", value]
    assert places(["a.jpg"])[1] == "a_restored.png"


def test_the_quality_has_limits_and_devices_are_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(choices, "devices", lambda: ["cpu", "cuda:0", "cuda:1"])
    for key in EVERY:
        found = {one.name: one for one in choices.options_of(*key)}
        assert (found["quality"].low, found["quality"].high, found["quality"].default) == (1, 100, 95)
        assert found["device"].choices == ("auto", "cpu", "cuda:0", "cuda:1")
        assert found["device"].words("cuda:1") == ["--device", "cuda:1"]
        assert found["device"].words("auto") == []


def test_a_region_is_a_box_and_no_file_of_the_machine():
    for key in EVERY:
        (region,) = (one for one in choices.options_of(*key) if one.name == choices.REGION)
        assert region.words("40, 20,100,120") == ["--region", "40,20,100,120"]
        assert region.words("") == []
        with pytest.raises(ValueError, match="the region is given by its left, top, width and height"):
            region.words("/etc/mask.png")
