"""StableSR (Wang et al. 2024): Stable Diffusion, modulated by a low-resolution picture."""
