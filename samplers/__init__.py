"""Diffusion mathematics. Imports torch and nothing of ours."""
