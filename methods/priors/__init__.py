"""Released networks as denoisers of the core."""
