// The classic canvas shows advanced inputs as any other unless their widgets say so themselves; here ours do.
// What is linked stays visible, or its link would end nowhere. "Show Advanced" in a node's menu shows all.
import { app } from "../../scripts/app.js";
import { forEachWidget } from "./widgets.js";

const linked = (node, widget) => node.inputs?.some((one) => one.widget?.name === widget.name && one.link != null);

function property(widget, name, get) {
  let own = widget[name];
  Object.defineProperty(widget, name, {
    configurable: true,
    enumerable: true,
    get: () => get(own),
    set: (value) => { own = value; },
  });
}

function collapse(node, widget) {
  property(widget, "advanced", (own) => Boolean(own || widget.options?.advanced) && !linked(node, widget));
  // the canvas keeps room for widgets that are not hidden; Nodes 2.0 looks at `advanced` by itself
  property(widget, "hidden", (own) => own || (!LiteGraph.vueNodesMode && widget.advanced && !node.showAdvanced));
}

app.registerExtension({
  name: "PriorSR.AdvancedInputs",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("PriorSR") || !node.widgets?.length) return;
    forEachWidget(node, (widget) => collapse(node, widget));
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), height]);
  },
});
