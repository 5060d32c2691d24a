// The classic canvas shows advanced inputs as any other unless their widgets say so themselves; here ours do.
// What is linked stays visible, or its link would end nowhere. "Show Advanced" in a node's menu shows all.
import { app } from "../../scripts/app.js";

const linked = (node, widget) => node.inputs?.some((one) => one.widget?.name === widget.name && one.link != null);

function hide(node, widget) {
  Object.defineProperty(widget, "advanced", {
    configurable: true,
    enumerable: true,
    get: () => Boolean(widget.options?.advanced) && !linked(node, widget),
    set: () => {},
  });
}

app.registerExtension({
  name: "PriorSR.AdvancedInputs",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("PriorSR") || !node.widgets?.length) return;
    node.widgets.forEach((widget) => hide(node, widget));
    const add = node.addCustomWidget;
    node.addCustomWidget = function (widget) {
      // the choices of a combo bring widgets of their own
      const added = add.apply(this, arguments);
      hide(this, added);
      return added;
    };
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), height]);
  },
});
