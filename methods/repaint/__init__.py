"""Inpainting by resampling (Lugmayr et al., 2022)."""
