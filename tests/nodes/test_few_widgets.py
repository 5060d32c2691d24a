"""What nodes show at first is little; the rest is advanced, which front ends show on demand."""

from __future__ import annotations

from priorsr.methods.graph.standin.node_api import io

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MOST = 8
ASKED = ("custom", "manual")  # choices by which a user wants to see more


def shown(inputs) -> list[str]:
    """Widgets that are not advanced, with the choice that brings most of them."""
    found = []
    for one in inputs:
        if (one.extra_dict or {}).get("advanced"):
            continue
        if one.io_type == io.DynamicCombo.io_type:
            found += [one.id, *max((shown(o.inputs) for o in one.options if o.key not in ASKED), key=len)]
        elif one.io_type in WIDGETS:
            found.append(one.id)
    return found


def test_few_widgets_are_seen_at_first(bare):
    seen = {name: shown(node.GET_SCHEMA().inputs) for name, node in bare.nodes.items()}
    assert not {name: widgets for name, widgets in seen.items() if len(widgets) > MOST}
    assert max(len(widgets) for widgets in seen.values()) > 5
