"""Denoising diffusion restoration models (Kawar et al., 2022)."""
