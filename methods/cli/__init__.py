"""The `priorsr` command."""
