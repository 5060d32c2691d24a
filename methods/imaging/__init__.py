"""Pictures."""

LIMIT = "PRIORSR_MAX_PIXELS"  # the environment variable that raises Pillow's limit for the command
