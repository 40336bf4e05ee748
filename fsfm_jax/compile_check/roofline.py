"""How fast a chip can run a program at best: by the compiler's cycles, and by peaks of products, memory and links."""

import dataclasses

from fsfm_jax.compile_check.chips import Chip
from fsfm_jax.compile_check.program import Figures

PRODUCTS, MEMORY, LINKS = "matrix products", "memory bandwidth", "links between chips"


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Of one call of a program.

    Attributes:
      seconds: by the name of what takes them at its peak.
      limit: the name of the largest.
      images_per_second: of one chip, if everything else were hidden behind the largest.
      mfu: model FLOPs over what the chip could compute in that time.
    """

    seconds: dict[str, float]
    limit: str
    images_per_second: float
    mfu: float


def rooflines(found: Figures, model_flops: float, images: float, chip: Chip) -> dict[str, Roofline]:
    """`cycles`, the compiler's estimate with the messages behind it, and `peaks`; `images` and FLOPs are one device's.

    Where a chip is two devices each has half of it.
    """
    peak, share = chip.flops / chip.devices, 1 / chip.devices
    sent = sum(collective.sent for collective in found.collectives)
    links = sent / (chip.ici * share)
    peaks = {
        PRODUCTS: found.product_flops / peak, MEMORY: found.hbm_bytes / (chip.hbm_bandwidth * share), LINKS: links,
    }  # fmt: skip
    result = {"peaks": _roofline(peaks, model_flops, images, chip)}
    if found.cycles:
        estimate = {"estimated cycles": found.cycles / chip.clock, LINKS: links}
        result = {"cycles": _roofline(estimate, model_flops, images, chip)} | result
    return result


def _roofline(seconds: dict[str, float], model_flops: float, images: float, chip: Chip) -> Roofline:
    limit = max(seconds, key=seconds.__getitem__)
    longest = seconds[limit]
    return Roofline(
        seconds, limit, images * chip.devices / longest, model_flops * chip.devices / longest / chip.flops
    )
