// The choices of a combo bring widgets of their own, so that a node's widgets come and go.
export function forEachWidget(node, act) {
  node.widgets?.forEach((widget) => act(widget));
  const add = node.addCustomWidget;
  node.addCustomWidget = function () {
    const added = add.apply(this, arguments);
    act(added);
    return added;
  };
}
