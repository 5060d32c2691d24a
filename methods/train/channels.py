"""What of a picture a training learns."""

from __future__ import annotations


class Coloured:
    """A recipe with a setting `channels`, which is luma or rgb."""

    channels: str

    @property
    def colours(self) -> int:
        """How many channels that is."""
        return 1 if self.channels == "luma" else 3
