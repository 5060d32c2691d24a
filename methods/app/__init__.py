"""A local page for people: pictures in, restored ones out, by the commands themselves."""
