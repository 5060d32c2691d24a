"""A blind cleaner: noise, compression and blur of unknown strength are removed, at one or two times the
size.
"""
