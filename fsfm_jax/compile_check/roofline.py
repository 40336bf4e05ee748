"""Upper bounds on the speed of a program: from the compiler's cycles, and from peaks of products, memory and links."""

import dataclasses

from fsfm_jax.compile_check.chips import Chip
from fsfm_jax.compile_check.program import Figures

PRODUCTS, MEMORY, LINKS = "matrix products", "memory bandwidth", "links between chips"


@dataclasses.dataclass(frozen=True)
class Roofline:
    """A bound on the speed of one call of a program.

    Attributes:
      seconds: time of each resource at its peak, by name.
      limit: name of the bottleneck, the resource with the longest time.
      images_per_second: per chip, if all other work overlaps with the bottleneck.
      mfu: model FLOPs divided by the FLOPs that the chip can compute in that time.
    """

    seconds: dict[str, float]
    limit: str
    images_per_second: float
    mfu: float


def rooflines(found: Figures, model_flops: float, images: float, chip: Chip) -> dict[str, Roofline]:
    """Return the bounds `cycles` (the compiler's estimate, then the messages) and `peaks`.

    `images` and `model_flops` are per device. If a chip has two devices, each gets half of the chip.
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
