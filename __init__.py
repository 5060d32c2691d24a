"""PriorSR: image and face super-resolution with diffusion priors.

A ComfyUI node pack and a plain Python package.
"""

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI; loads the nodes (and with them torch) only then."""
    from .nodes import PriorSRExtension

    return PriorSRExtension()
