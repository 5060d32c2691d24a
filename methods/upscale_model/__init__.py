"""Upscale models of other authors, of every architecture that spandrel knows."""
