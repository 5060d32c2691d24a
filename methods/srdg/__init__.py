"""SRDG: super-resolution of faces by a score network, refined by attribute classifiers."""
