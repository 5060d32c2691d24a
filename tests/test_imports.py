"""No import circles, few floors, one place that touches the host, and files that one can read."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from import_graph import circles, floors, imports, rooms, trees

HOST = {"comfy", "comfy_extras", "folder_paths", "latent_preview"}  # every node is written in comfy_api
# May only shrink: take out of it what is mended.
TOUCH_THE_HOST = {"nodes.stablesr_upscale"}
MOST_FLOORS = 9
MOST_LINES = 300
FOLDERS = ("benchmarks", "docs", "methods", "nodes", "samplers", "tests", "tools")
LONGER = {"methods/imaging/resize.py": 400, "nodes/host/model.py": 400}


def touching_the_host(modules: Mapping[str, tuple[ast.Module, bool]]) -> set[str]:
    found = set()
    for name, (tree, _) in modules.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name for one in names if one.partition(".")[0] in HOST}
    return found


def test_no_circles():
    modules = imports(trees())
    assert not circles(modules), "modules that import each other"
    assert not circles(rooms(modules)), "folders that import each other"


def test_only_modules_of_the_host_import_it():
    found = {name for name in touching_the_host(trees()) if not name.startswith("nodes.host")}
    assert found == TOUCH_THE_HOST


def test_floors_grow_no_more():
    assert max(floors(rooms(imports(trees()))).values()) <= MOST_FLOORS


def test_files_can_be_read_at_once(root):
    paths = [root / "__init__.py", *(path for name in FOLDERS for path in (root / name).rglob("*.py"))]
    lines = {path.relative_to(root).as_posix(): path.read_bytes().count(b"\n") for path in paths}
    assert set(LONGER) < set(lines)
    assert not {name: count for name, count in lines.items() if count > LONGER.get(name, MOST_LINES)}


def parsed(**sources: str) -> dict[str, tuple[ast.Module, bool]]:
    return {name.replace("_", "."): (ast.parse(text), text.startswith("#")) for name, text in sources.items()}


def test_circles_are_found_where_they_are():
    plain = {"a": "#", "a_one": "from .two import x", "a_two": "def f():\n    from . import one"}
    assert circles(imports(parsed(**plain))) == {frozenset({"a.one", "a.two"})}
    siblings = {"a": "#\nfrom .one import x", "a_one": "from . import two", "a_two": ""}
    assert not circles(imports(parsed(**siblings)))
    own_folder = {"a": "#\nfrom .one import x", "a_one": "from . import x"}
    assert circles(imports(parsed(**own_folder))) == {frozenset({"a", "a.one"})}
    entered = {"a": "#\nfrom .one import x", "a_one": "from ..b import y", "a_two": ""}
    entered["b"] = "#\nfrom ..a import two"
    assert circles(imports(parsed(**entered))) == {frozenset({"a", "a.one", "b"})}
    typed = {"a": "#", "a_one": "if TYPE_CHECKING:\n    from .two import x", "a_two": "from .one import y"}
    assert circles(imports(parsed(**typed))) == {frozenset({"a.one", "a.two"})}
