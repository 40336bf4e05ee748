"""FSFM / FS-VFM in JAX: face security from self-supervised pretraining on real faces."""

__version__ = "0.1.0"
