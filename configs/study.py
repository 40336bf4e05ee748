"""The study: does pretraining on real faces help to find forged ones? All of it on folders of anybody's pictures.

    make study DATA=FOLDER
    python -m fsfm_jax.main --config=configs/study.py --config.folder=FOLDER --workdir=runs/study

Hardware: CPU. docs/study.md has the layout of the folder, the tasks, the cost and what was measured.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import study


def get_config() -> ConfigDict:
    return study.study()
