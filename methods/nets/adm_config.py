"""What an ADM network is made of: its settings, as a dataclass and from the released command line flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Pool = Literal["attention", "adaptive", "spatial", "spatial_v2"]
GROUPS = 32  # of every group norm of the released networks
CLASSES = 1000  # of ImageNet: the released class-conditional networks and classifiers

CHANNEL_MULT: dict[int, tuple[float, ...]] = {  # by image size, where nothing else is said
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}


@dataclass(frozen=True)
class ADMConfig:
    """A UNet, a super-resolution UNet (`superres`) or a noisy-image classifier (`pool`); the defaults are
    256x256_diffusion_uncond.

    Heads are of `num_head_channels` each or, where that is None, `num_heads` (in the decoder
    `num_heads_upsample`, if given). `new_attention_order` reads the same weights as ([q k v], head, channel)
    instead of the legacy (head, [q k v], channel). Source: Dhariwal and Nichol, Diffusion Models Beat GANs on
    Image Synthesis (2021), section 3 and appendix I.
    """

    image_size: int = 256  # what it was trained on; only the attention pool depends on it
    in_channels: int = 3  # of the image
    out_channels: int = (
        6  # twice those of the image with a learned variance; the number of classes of a classifier
    )
    model_channels: int = 256
    num_res_blocks: int = 2  # of each level
    channel_mult: tuple[float, ...] = CHANNEL_MULT[256]  # width of each level in model_channels
    attention_factors: tuple[int, ...] = (
        8,
        16,
        32,
    )  # downsampling factors of the levels with attention; the middle always has it
    num_classes: int | None = None  # None: not class-conditional
    num_heads: int = 4
    num_head_channels: int | None = 64
    num_heads_upsample: int | None = None
    scale_shift: bool = (
        True  # the time embedding scales and shifts after the second norm, else it is added before
    )
    resblock_updown: bool = True  # residual blocks resample, else a layer between them
    conv_resample: bool = True  # that layer convolves (it has no weights otherwise)
    new_attention_order: bool = False
    dropout: float = 0.0
    superres: bool = False  # a low-resolution image comes beside the noisy one
    # the network sees blocks of so many pixels squared as channels: cheap at large sizes (not in the released
    # files)
    unshuffle: int = 1
    frequency_shift: int = 0  # of the time embedding's: 1 in networks of Ho et al. 2020
    pad_after: bool = False  # a strided convolution sees zeros below and to the right only
    eps: float = 1e-5  # of every group norm
    groups: int = GROUPS  # of every group norm; with 32 of them, a map of 32 channels loses its brightness
    pool: Pool | None = None  # a classifier, and how it ends

    def __post_init__(self):
        if self.pool is not None and self.pool not in get_args(Pool):
            raise ValueError(
                f"pool {self.pool!r} is not one of {', '.join(get_args(Pool))}, or None for a UNet"
            )
        if self.pool and (self.superres or self.num_classes is not None):
            raise ValueError(
                "a classifier takes neither low_res nor a label: leave superres and num_classes out, or pool"
            )
        if self.pool == "attention" and self.num_head_channels is None:
            raise ValueError("the attention pool needs num_head_channels: give it, or choose another pool")
        wrong = [
            w for w in (self.model_channels, *self.widths) if self.groups < 1 or w % self.groups or w <= 0
        ]
        if wrong or not self.channel_mult:
            raise ValueError(
                f"every level of an ADM network has a multiple of {self.groups} channels, not {wrong}: "
                f"change model_channels {self.model_channels}, "
                f"channel_mult {self.channel_mult} or groups"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the finest first."""
        return tuple(int(m * self.model_channels) for m in self.channel_mult)

    @property
    def stem_channels(self) -> int:
        """Channels that the first convolution sees, the enlarged low-resolution image included."""
        return self.in_channels * (2 if self.superres else 1) * self.unshuffle**2

    @property
    def reduction(self) -> int:
        """How much smaller the coarsest map is; the sides of an image must be multiples of it."""
        return self.unshuffle * 2 ** (len(self.channel_mult) - 1)

    @property
    def learn_sigma(self) -> bool:
        """Whether the second half of the output is a variance."""
        return self.pool is None and self.out_channels == 2 * self.in_channels

    def heads(self, channels: int, decoder: bool = False) -> int:
        """How many attention heads a map of so many channels has. Raises ValueError where they do not
        divide.
        """
        if self.num_head_channels is not None:
            count, rest = divmod(channels, self.num_head_channels)
        else:
            count = (self.num_heads_upsample if decoder else None) or self.num_heads
            rest = channels % count
        if rest:
            raise ValueError(
                f"{channels} channels cannot be split into heads of "
                f"{self.num_head_channels or 'an equal share each'} "
                f"(num_head_channels {self.num_head_channels}, num_heads {self.num_heads}): change one of "
                "them"
            )
        return count


def attention_factors(image_size: int, sizes: str | int) -> tuple[int, ...]:
    """Downsampling factors of the map sizes with attention, as the released flags write them: (256,
    "32,16,8") to (8, 16, 32).
    """
    listed = [int(size) for size in str(sizes).split(",") if size.strip()]
    return tuple(sorted({image_size // size for size in listed if size <= image_size}))


def level_mult(image_size: int, text: str = "") -> tuple[float, ...]:
    """Level widths from the released flag ("1,2,2"), or by image size where it is empty.

    Raises ValueError for unlisted sizes.
    """
    if text:
        return tuple(float(m) if "." in m else int(m) for m in text.split(","))
    if image_size not in CHANNEL_MULT:
        raise ValueError(
            f"no channel_mult is known for size {image_size} (only {', '.join(map(str, CHANNEL_MULT))}): "
            "give one, as in '1,2,2'"
        )
    return CHANNEL_MULT[image_size]


def from_flags(
    *,
    image_size: int,
    num_channels: int,
    num_res_blocks: int,
    attention_resolutions: str | int,
    channel_mult: str = "",
    learn_sigma: bool = False,
    class_cond: bool = False,
    num_heads: int = 4,
    num_head_channels: int = -1,
    num_heads_upsample: int = -1,
    use_scale_shift_norm: bool = True,
    dropout: float = 0.0,
    resblock_updown: bool = False,
    use_new_attention_order: bool = False,
    superres: bool = False,
) -> ADMConfig:
    """The UNet that guided-diffusion's command line flags describe; -1 is none. image_size is the large one
    of an upsampler.
    """
    mult_size = (
        min(image_size, 256) if superres else image_size
    )  # the released 512 upsampler has the levels of the 256 one
    return ADMConfig(
        image_size=image_size,
        out_channels=6 if learn_sigma else 3,
        model_channels=num_channels,
        num_res_blocks=num_res_blocks,
        channel_mult=level_mult(mult_size, channel_mult),
        attention_factors=attention_factors(image_size, attention_resolutions),
        num_classes=CLASSES if class_cond else None,
        num_heads=num_heads,
        num_head_channels=given(num_head_channels),
        num_heads_upsample=given(num_heads_upsample),
        scale_shift=use_scale_shift_norm,
        resblock_updown=resblock_updown,
        new_attention_order=use_new_attention_order,
        dropout=dropout,
        superres=superres,
    )


def classifier_from_flags(
    *,
    image_size: int,
    classifier_width: int = 128,
    classifier_depth: int = 2,
    classifier_attention_resolutions: str = "32,16,8",
    classifier_use_scale_shift_norm: bool = True,
    classifier_resblock_updown: bool = True,
    classifier_pool: Pool = "attention",
) -> ADMConfig:
    """The ImageNet classifier that guided-diffusion's command line flags describe; the defaults are those of
    256x256_classifier.
    """
    return ADMConfig(
        image_size=image_size,
        out_channels=CLASSES,
        model_channels=classifier_width,
        num_res_blocks=classifier_depth,
        channel_mult=level_mult(image_size),
        attention_factors=attention_factors(image_size, classifier_attention_resolutions),
        scale_shift=classifier_use_scale_shift_norm,
        resblock_updown=classifier_resblock_updown,
        pool=classifier_pool,
    )


def given(value: int) -> int | None:
    """The released flags write -1 where nothing is given."""
    return None if value == -1 else value
