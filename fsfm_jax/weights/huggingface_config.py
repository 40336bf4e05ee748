"""The JSON files of a Hugging Face folder: the network that transformers builds, and its image preprocessing."""

from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.ops import NORM_EPSILON
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.normalisation import Statistics

BICUBIC = 3  # Pillow's number


def encoder_config(architecture: str, model_type: str, size: Size, image_size: int) -> dict:
    """Return the entries of `config.json` that all of our networks have.

    The epsilon is required: transformers' default is 1e-12.
    """
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "hidden_act": "gelu",  # the exact one
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": NORM_EPSILON,
        "image_size": image_size,
        "patch_size": size.patch_size,
        "num_channels": 3,
        "dtype": "float32",
    }


def decoder_config(spec: ModelSpec) -> dict:
    """Return the entries of a masked autoencoder with our pixel decoder."""
    return {
        "decoder_hidden_size": spec.pixel_width,
        "decoder_intermediate_size": 4 * spec.pixel_width,
        "decoder_num_hidden_layers": spec.pixel_depth,
        "decoder_num_attention_heads": spec.pixel_heads,
        "mask_ratio": mask_ratio(spec.seen, spec.patches),
        "norm_pix_loss": True,
    }


def mask_ratio(seen: int, patches: int) -> float:
    """Return the ratio from which transformers computes exactly `seen = int(patches * (1 - ratio))` patches."""
    plain = 1 - seen / patches
    return plain if int(patches * (1 - plain)) == seen else 1 - (seen + 0.5) / patches


def mean_pooling_config(spec: ClassifierSpec) -> dict:
    """Return the entries that make BEiT our classifier: our positions, none of its additions, mean of the patches."""
    return {
        "use_mean_pooling": True,
        "use_absolute_position_embeddings": True,
        "use_relative_position_bias": False,
        "use_shared_relative_position_bias": False,
        "use_mask_token": False,
        "layer_scale_init_value": 0.0,
        "drop_path_rate": spec.drop_path,
    }


def label_config(class_names: tuple[str, ...], classes: int) -> dict:
    """Return the entries that name the classes, in the order of the logits.

    Raises:
      ValueError: another number of names than classes, or a name twice.
    """
    if len(class_names) != classes or len(set(class_names)) != classes:
        raise ValueError(
            f"class names: expected {classes} different ones, as the detector has so many classes; found "
            f"{', '.join(class_names) or 'none'}"
        )
    return {
        "id2label": {str(index): name for index, name in enumerate(class_names)},
        "label2id": {name: index for index, name in enumerate(class_names)},
        "problem_type": "single_label_classification",
    }


def preprocessor_config(image_size: int, statistics: Statistics) -> dict:
    """Return `preprocessor_config.json`: resize bicubically to a square, divide by 255, normalise.

    It does not detect faces: a picture must be a crop as `prepare` makes it.
    """
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": image_size, "width": image_size},
        "resample": BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [float(value) for value in statistics.mean],
        "image_std": [float(value) for value in statistics.std],
    }
