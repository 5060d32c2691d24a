"""Guidance: classifier-free, by a classifier, by a measurement."""
