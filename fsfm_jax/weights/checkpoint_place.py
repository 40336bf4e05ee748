"""Find a checkpoint on this machine: the weights of the package, an address of the Hub, or a path."""

from fsfm_jax.weights import bundled, hub_file


def resolve(checkpoint: str | None, part: str) -> str:
    """Return the path of a checkpoint as users name it.

    Args:
      checkpoint: `small` or None for the weights of the package, `hf://...` for those of the Hub, which are fetched;
        any other text is a path, and nothing is read.
      part: which of the package's weights, `bundled.ENCODER` or `bundled.DETECTOR`.

    Raises:
      FileNotFoundError, ValueError: as `bundled.resolve_name`.
      ModuleNotFoundError, ValueError, OSError: as `hub_file.fetch_checkpoint`.
    """
    if checkpoint is not None and hub_file.is_address(checkpoint):
        return hub_file.fetch_checkpoint(checkpoint)
    return bundled.resolve_name(checkpoint, part)
