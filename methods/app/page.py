"""The page: what is dropped, chosen and set on the left, what came of it on the right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
from gradio import themes  # pyright: ignore[reportMissingImports]

from ..cli.graph_from_command import workflow_of
from .choices import FORMAT, Choice, choices, given, options_of, spoken, subcommands, words_of
from .faces import WHICH, Found, found
from .form import component
from .run import Run, Runs, Upload, kept_name, places, shown

DOCS = "https://github.com/priorsr/priorsr/blob/main/docs"
CHANGED = "changed"  # so that a row that gives the same values tells them again
OTHER = "none of these: I choose a method"
HEAD = """# PriorSR
Small, old, noisy or compressed pictures made larger and clearer, and the faces in them restored."""
FOOT = f"""What a picture no longer holds can only be invented, and an invented face is no evidence of who
someone is ([why]({DOCS}/ethics.md)). For medical and legal pictures there is nothing here."""
EMPTY = "Drop a picture, say which kind it is, and press **Restore**."
CSS = """
.gradio-container {max-width: 1500px !important; margin: 0 auto !important}
#page-status {min-height: 3.2em}
#page-row .wrap {flex-direction: column; align-items: stretch; gap: 4px}
footer {display: none !important}
"""


def received(payload: Any) -> list[Upload]:
    """Uploaded files with the names that they had, which Gradio's own would change."""
    files = [] if payload is None else payload.root if hasattr(payload, "root") else [payload]
    return [Upload(Path(one.path), kept_name(one.orig_name or Path(one.path).name)) for one in files]


def theme() -> themes.Base:
    """Fonts of the reader's own machine, for nothing is fetched."""
    own = ("system-ui", "sans-serif")
    return themes.Default(font=own, font_mono=("ui-monospace", "monospace"))


def page(runs: Runs, largest: str) -> gr.Blocks:
    """The page for users whose runs are kept in `runs`; largest: what an upload may be, in words."""
    rows = {one.picture: one for one in choices()}
    known = {f"{command} {method}": about for (command, method), about in subcommands().items()}

    def chosen(row: str, other: str) -> Choice:
        if row in rows:
            return rows[row]
        command, _, method = other.partition(" ")
        return Choice(row, command, method, (), known[other])

    with gr.Blocks(title="PriorSR", analytics_enabled=False, delete_cache=(600, 7200)) as blocks:
        gr.Markdown(HEAD)
        with gr.Row():
            with gr.Column(scale=4, min_width=340):
                label = f"Your picture, or several (each at most {largest})"
                files = gr.File(label=label, file_count="multiple", height=150)
                vars(files)["preprocess"] = received
                row = gr.Radio(
                    [*rows, OTHER],
                    value=next(iter(rows)),
                    label="What kind of picture is it?",
                    elem_id="page-row",
                )
                method = gr.Dropdown(list(known), value=next(iter(known)), label="Method", visible=False)
                because = gr.Markdown()
                with gr.Column(visible=False) as faces:
                    faces_found = gr.Markdown()
                    seen = gr.Image(interactive=False, show_label=False, height=260, buttons=["fullscreen"])
                    numbers = gr.CheckboxGroup([], label="Faces to restore")
                    people = gr.State(None)
                settings = gr.Column()
                told = gr.State({})
            with gr.Column(scale=6, min_width=420):
                slider = gr.ImageSlider(
                    label="Before and after", interactive=False, max_height=640, buttons=["fullscreen"]
                )
                with gr.Row():
                    start = gr.Button("Restore", variant="primary")
                    halt = gr.Button("Stop", variant="stop", interactive=False)
                status = gr.Markdown(EMPTY, elem_id="page-status")
                result = gr.DownloadButton("Download the result", visible=False)
                command = gr.Textbox(
                    label="The same as a command, in the folder of the picture",
                    buttons=["copy"],
                    lines=2,
                    elem_id="page-command",
                )
                with gr.Accordion("The same as a ComfyUI workflow", open=False):
                    workflow_note = gr.Markdown()
                    workflow = gr.Code(language="json", max_lines=12, visible=False)
        gr.Markdown(FOOT)

        def explain(row: str, other: str) -> dict:
            """Why a row's method, and the form's beginning."""
            choice = chosen(row, other)
            reset = {told: {**given(choice), CHANGED: time.monotonic_ns()}}
            return {method: gr.Dropdown(visible=row not in rows), because: _sentence(choice.because), **reset}

        def words(
            files: list[Upload], row: str, other: str, told: dict, people: Any, taken: list[int]
        ) -> list[str]:
            choice, values = chosen(row, other), dict(told)
            if people is not None and len(taken) < len(people.labels):
                values[WHICH] = ",".join(map(str, taken))
            where = places([one.name for one in files], values.get(FORMAT) or "")
            return words_of(choice.command, choice.method, values, *where)

        def find(files: list[Upload], row: str, other: str, told: dict, request: gr.Request) -> dict:
            """Show the faces of a single picture where the choice restores them."""
            choice = chosen(row, other)
            nothing = {faces: gr.Column(visible=False), people: None, numbers: gr.CheckboxGroup([], value=[])}
            named = {one.name for one in options_of(choice.command, choice.method)}
            if len(files) != 1 or WHICH not in named:
                return nothing
            try:
                asked = words_of(choice.command, choice.method, told, "in.png", "out.png")
                one = found(files[0].path, asked, runs.scratch(_session(request), "faces.png"))
            except (ValueError, OSError):
                return nothing  # which the run says
            count = f"{len(one.labels) or 'No'} face{'s' * (len(one.labels) != 1)} found"
            cure = ". Click one to leave it out, or to take it again." if one.labels else "."
            return {
                faces: gr.Column(visible=True),
                faces_found: f"{count}{f', left out: {one.notes}' if one.notes else ''}{cure}",
                seen: str(one.picture),
                numbers: gr.CheckboxGroup(
                    choices=[(text, number) for number, text in enumerate(one.labels)],
                    value=list(range(len(one.labels))),
                    visible=bool(one.labels),
                ),
                people: one,
            }

        def toggle(people: Found | None, taken: list[int], event: gr.SelectData) -> list[int]:
            number = people.at(*event.index) if people else None
            return taken if number is None else sorted(set(taken) ^ {number})

        def stop(request: gr.Request) -> dict:
            runs.stop(_session(request))
            return {start: gr.Button(interactive=True), halt: gr.Button(interactive=False)}

        def leave(request: gr.Request) -> None:
            runs.leave(_session(request))

        def go(
            files: list[Upload],
            row: str,
            other: str,
            told: dict,
            people: Any,
            taken: list[int],
            request: gr.Request,
            progress: Any = gr.Progress(),
        ) -> Iterator[dict]:
            choice = chosen(row, other)
            try:
                if people is not None and people.labels and not taken:
                    raise ValueError("no face is chosen: tick one at least")
                for one in options_of(choice.command, choice.method):
                    if one.needed and not told.get(one.name):
                        raise ValueError(f"{one.label} is missing, {one.help}: choose a file under its name")
                if not files:
                    raise ValueError("there is no picture yet: drop one, or several")
                run = runs.begin(_session(request), words(files, row, other, told, people, taken), files)
            except (ValueError, OSError) as error:
                yield {status: _sentence(str(error))}
                return
            running = {start: gr.Button(interactive=False), halt: gr.Button(interactive=True)}
            yield {status: "Loading ...", result: gr.DownloadButton(visible=False), **running}
            for done, of, what in run.steps():
                progress((done, of or len(files)), desc=what, unit=what)
            idle = {start: gr.Button(interactive=True), halt: gr.Button(interactive=False)}
            yield {**outcome(run), **idle}

        def say(*asked: Any) -> dict:
            """The command and, where there is one, the workflow that do the same."""
            try:
                said = words(asked[0] or [Upload(Path(), "photo.png")], *asked[1:])
            except ValueError as error:
                return {command: "", workflow_note: _sentence(str(error)), workflow: gr.Code(visible=False)}
            none = {command: spoken(said), workflow: gr.Code(visible=False)}
            try:
                text = json.dumps(workflow_of(said), indent=1)
            except (ValueError, OSError) as error:
                return {**none, workflow_note: _sentence(str(error))}
            except SystemExit:
                return {**none, workflow_note: "There is no workflow of what the command refuses."}
            note = "Open it in ComfyUI, and choose your picture in *Load Image*."
            return {command: spoken(said), workflow_note: note, workflow: gr.Code(text, visible=True)}

        quiet: dict[str, Any] = {"show_progress": "hidden"}
        # in the queue, outside which Gradio hears of no change of a state; and none is lost to another
        one_by_one = {**quiet, "concurrency_id": "told", "concurrency_limit": 1}
        asked = [files, row, method, told, people, numbers]
        gr.on(
            [row.change, method.change, blocks.load],
            explain,
            [row, method],
            [method, because, told],
            **one_by_one,
        )
        gr.on(
            [files.change, told.change],
            find,
            [files, row, method, told],
            [faces, faces_found, seen, numbers, people],
            concurrency_id="find",
            trigger_mode="always_last",
            **quiet,
        )
        gr.on(
            [files.change, told.change, people.change, numbers.change],
            say,
            asked,
            [command, workflow_note, workflow],
            trigger_mode="always_last",
            **quiet,
        )
        seen.select(toggle, [people, numbers], numbers, **quiet)
        start.click(
            go,
            asked,
            [slider, status, result, start, halt],
            concurrency_id="run",
            concurrency_limit=1,
            show_progress_on=status,
        )
        halt.click(stop, None, [start, halt], queue=False)
        blocks.unload(leave)

        with settings:

            @gr.render([row, method])
            def form(row: str, other: str) -> None:
                """The settings of what is chosen; what is changed in them is told."""
                choice = chosen(row, other)
                options = [one for one in options_of(choice.command, choice.method) if one.name != WHICH]
                values = given(choice)
                made = {one.name: component(one, values) for one in options if one.first}
                with gr.Accordion("More settings", open=False):
                    made |= {one.name: component(one, values) for one in options if not one.first}
                for name, part in made.items():
                    gr.on([part.change], partial(changed, name), [told, part], told, **one_by_one)

        def outcome(run: Run) -> dict:
            """What a run has made, and what there is to say."""
            lines = [run.error] if run.error else []
            lines += run.failures
            if not run.pairs:
                return {status: _lines(lines or ["Nothing was made."])}
            source, target = run.pairs[0]
            before = shown(source, run.folder / "shown" / "before.png")
            after = shown(target, run.folder / "shown" / "after.png")
            made = target if len(run.pairs) == 1 and not run.several else run.archive()
            count = f"{len(run.pairs)} pictures" if run.several else target.name
            lines = [f"**Done: {count}.**", *run.notes, *lines]
            return {
                slider: (str(before), str(after)),
                status: _lines(lines),
                result: gr.DownloadButton(f"Download {made.name}", value=str(made), visible=True),
            }

    return blocks


def changed(name: str, told: dict, value: Any) -> dict:
    """What is told of the settings, with one more."""
    return {**told, name: value}


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _lines(lines: list[str]) -> str:
    """The first as a sentence, the others as a list below."""
    first, *rest = dict.fromkeys(map(_sentence, lines))
    return "\n".join([first, "", *(f"- {one}" for one in rest)])


def _sentence(text: str) -> str:
    """With a capital letter and a full stop, and nothing that Markdown would take for more than text."""
    text = text.strip().replace("<", "&lt;")
    if text.startswith("**") or Path(text.split(":")[0]).suffix:  # the name of a file
        return text
    return f"{text[:1].upper()}{text[1:]}{'' if text[-1:] in '.!?' else '.'}"
