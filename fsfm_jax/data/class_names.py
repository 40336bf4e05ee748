"""The names of classes, as a field or option lists them."""

REAL_NAMES = ("real", "bona_fide")


def parse_classes(text: str, field: str = "data.classes") -> tuple[tuple[str, ...], int]:
    """The class names of a field, "real,deepfake,diffusion,spoof", by index, and the index of the real one.

    Raises:
      ValueError: fewer than two names, a name twice, or not exactly one of `REAL_NAMES` among them.
    """
    names = tuple(name.strip() for name in text.split(","))
    real = [index for index, name in enumerate(names) if name in REAL_NAMES]
    if len(set(names)) < max(len(names), 2) or not all(names) or len(real) != 1:
        raise ValueError(
            f"{field}: expected two or more different names, one of them {' or '.join(REAL_NAMES)}; found {text!r}"
        )
    return names, real[0]
