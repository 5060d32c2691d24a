"""Diffusion Prior Interpolation: super-resolution of faces by conditions on a sparse grid (Yang et al., AAAI
2025).
"""
