"""Runs in the interpreter of a ComfyUI checkout: its own executor, asked by lines of JSON, without a socket.

python graph_worker.py CHECKOUT FOLDER PACK [its options]: FOLDER has input and output pictures, PACK is
this package, for a checkout that has it not. Imports nothing of the package, which that interpreter may lack.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
from pathlib import Path


def has_device() -> bool:
    """Whether torch sees anything but the processor."""
    import torch

    mps = getattr(torch.backends, "mps", None)
    xpu = getattr(torch, "xpu", None)
    return torch.cuda.is_available() or (mps and mps.is_available()) or bool(xpu and xpu.is_available())


def start(checkout: Path, folder: Path, pack: Path, options: list[str]):
    """The executor, its checker, and the answer to /object_info."""
    os.chdir(checkout)
    sys.path[0] = str(checkout)
    if "--cpu" not in options and not has_device():
        options = ["--cpu", *options]
    sys.argv = ["main.py", "--database-url", "sqlite:///:memory:", "--disable-api-nodes", *options]
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.cli_args import args
    from utils.extra_config import load_extra_path_config  # before nodes, which hide it

    more = [str(checkout / "extra_model_paths.yaml")]
    for path in [*more, *(one for some in args.extra_model_paths_config or [] for one in some)]:
        if os.path.isfile(path):
            load_extra_path_config(path)
    import folder_paths

    folder_paths.set_output_directory(str(folder / "output"))
    folder_paths.set_temp_directory(str(folder / "temp"))
    import comfy.utils
    import execution
    import server

    import nodes

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    messenger = server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))
    if "PriorSRUpscaleBicubic" not in nodes.NODE_CLASS_MAPPINGS:
        loop.run_until_complete(nodes.load_custom_node(str(pack)))
    route = next(one for one in messenger.routes if getattr(one, "path", "") == "/object_info")
    info = loop.run_until_complete(route.handler(None)).text
    kept = {"lru": 0, "ram": 2.0, "ram_inactive": 2.0}  # of which the classic cache takes nothing
    executor = execution.PromptExecutor(messenger, execution.CacheType.CLASSIC, kept)
    check = lambda key, nodes: loop.run_until_complete(execution.validate_prompt(key, nodes, None))  # noqa: E731
    return messenger, executor, check, info, comfy.utils.set_progress_bar_global_hook


def encoded(picture, longest: int | None = None) -> str:
    """A preview as JPEG in base64, at most as large as the host shows it."""
    picture = picture.copy()
    if longest:
        picture.thumbnail((longest, longest))
    content = io.BytesIO()
    picture.convert("RGB").save(content, "JPEG", quality=95)
    return base64.b64encode(content.getvalue()).decode()


def main() -> None:
    # what the host prints goes to where its log is read; lines of JSON have a place of their own
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**told: object) -> None:
        answers.write(json.dumps(told, default=str) + "\n")
        answers.flush()

    checkout, folder, pack = map(Path, sys.argv[1:4])
    messenger, executor, check, info, hook = start(checkout, folder, pack, sys.argv[4:])
    at = {"node": "", "previews": None}

    def heard(event: object, told: object, to: object = None) -> None:
        if event == "executing" and isinstance(told, dict):
            at["node"] = told.get("node") or ""
            if at["node"]:
                say(progress=[str(at["node"]), 0, 0])

    def moved(value: int, total: int, preview: tuple | None = None, **more: object) -> None:
        say(progress=[str(at["node"]), value, total])
        if preview and at["previews"]:
            say(preview=encoded(*preview[1:]))

    messenger.send_sync = heard
    hook(moved)
    say(info=json.loads(info))
    for number, line in enumerate(sys.stdin):
        asked, key = json.loads(line), str(number)
        nodes, at["previews"] = asked["nodes"], asked["previews"]
        valid, error, outputs, node_errors = check(key, nodes)
        if not valid:
            say(refused=[error.get("message", "") if isinstance(error, dict) else str(error), node_errors])
            continue
        executor.execute(nodes, key, {"client_id": "priorsr", "preview_method": at["previews"]}, outputs)
        if executor.success:
            say(outputs=executor.history_result["outputs"])
        else:
            say(failed=executor.status_messages)


if __name__ == "__main__":
    main()
