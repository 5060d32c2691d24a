"""Denoising diffusion null-space models (Wang et al., 2023)."""
