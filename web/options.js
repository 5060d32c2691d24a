// Options of combos in the user's language: the front end looks up names and tooltips, but no options.
// The value stays beside its word, since help pages and tooltips name it.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { forEachWidget } from "./widgets.js";

let nodes = {};

function label(node, widget) {
  const input = widget.name?.replaceAll(".", "_"); // as locales write the dots of nested names
  const words = nodes[node.comfyClass]?.inputs?.[input]?.options;
  if (!words || !widget.options?.values) return;
  widget.options.getOptionLabel = (value) =>
    words[value] && words[value] !== value ? `${words[value]} (${value})` : value ?? "";
}

app.registerExtension({
  name: "PriorSR.Options",
  async init() {
    const language = app.ui.settings.getSettingValue("Comfy.Locale");
    if (language === "en") return;
    const locales = await (await api.fetchApi("/i18n")).json();
    nodes = locales[language]?.nodeDefs ?? {};
  },
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("PriorSR")) forEachWidget(node, (widget) => label(node, widget));
  },
});
