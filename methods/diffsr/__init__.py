"""Diff-SR: any target size from one unconditional prior, the noise level chosen by the perceptual recoverable
field.
"""
