"""Iterative latent variable refinement (Choi et al., 2021)."""
