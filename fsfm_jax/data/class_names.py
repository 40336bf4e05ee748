"""The names of classes, as a field or option lists them."""

REAL_NAMES = ("real", "bona_fide")


def parse_classes(text: str, field: str = "data.classes") -> tuple[tuple[str, ...], int]:
    """Parse the class names of a field, "real,deepfake,diffusion,spoof", by index, and find the index of the real one.

    Raises:
      ValueError: there are fewer than two names, a name is repeated, or not exactly one of `REAL_NAMES` is present.
    """
    names = tuple(name.strip() for name in text.split(","))
    real = [index for index, name in enumerate(names) if name in REAL_NAMES]
    if len(set(names)) < max(len(names), 2) or not all(names) or len(real) != 1:
        raise ValueError(
            f"{field}: expected two or more distinct names, exactly one {' or '.join(REAL_NAMES)}; found {text!r}"
        )
    return names, real[0]
