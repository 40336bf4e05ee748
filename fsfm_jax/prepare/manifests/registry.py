"""The registry of all data sets that can be prepared, by name."""

from fsfm_jax.prepare.manifests.celebdf import CELEBDF
from fsfm_jax.prepare.manifests.crops import CROPPED
from fsfm_jax.prepare.manifests.deepfake_eval import DEEPFAKE_EVAL
from fsfm_jax.prepare.manifests.deepfakebench import DEEPFAKEBENCH
from fsfm_jax.prepare.manifests.df40 import DF40
from fsfm_jax.prepare.manifests.dfdc import DFDC, DFDCP
from fsfm_jax.prepare.manifests.diff import DIFF
from fsfm_jax.prepare.manifests.faceforensics import FACEFORENSICS
from fsfm_jax.prepare.manifests.ffiw import FFIW
from fsfm_jax.prepare.manifests.folder import FOLDERS
from fsfm_jax.prepare.manifests.frame_lists import FRAME_LISTS
from fsfm_jax.prepare.manifests.label_file import LABEL_FILE
from fsfm_jax.prepare.manifests.manifest import DataSet
from fsfm_jax.prepare.manifests.mcio import MCIO
from fsfm_jax.prepare.manifests.siw_mv2 import SIW_MV2
from fsfm_jax.prepare.manifests.uniattack import UNIATTACK
from fsfm_jax.prepare.manifests.vggface2 import VGGFACE2
from fsfm_jax.prepare.manifests.wcs import WCS
from fsfm_jax.prepare.manifests.wilddeepfake import WILDDEEPFAKE
from fsfm_jax.prepare.manifests.youtubefaces import YOUTUBEFACES
from fsfm_jax.text import did_you_mean

# In the order in which they are shown: general ones, ready-made ones, pretraining, deepfakes, diffusion, spoofing.
_ALL = (
    *FOLDERS,
    LABEL_FILE,
    *CROPPED,
    DEEPFAKEBENCH,
    VGGFACE2,
    YOUTUBEFACES,
    *FACEFORENSICS,
    *CELEBDF,
    DFDC,
    DFDCP,
    WILDDEEPFAKE,
    DF40,
    DEEPFAKE_EVAL,
    FFIW,
    DIFF,
    *MCIO,
    *WCS,
    *UNIATTACK,
    SIW_MV2,
    *FRAME_LISTS,
)
DATASETS: dict[str, DataSet] = {data_set.name: data_set for data_set in _ALL}


def find(name: str) -> tuple[DataSet, str]:
    """Find the data set and variant of `NAME` or `NAME:VARIANT`; the default is the first variant ("" if none).

    Raises:
      ValueError: the data set or variant is unknown.
    """
    plain, colon, variant = name.partition(":")
    if plain not in DATASETS:
        known = ", ".join(DATASETS)
        raise ValueError(f"dataset: expected one of {known}, found {plain!r}{did_you_mean(plain, DATASETS)}")
    data_set = DATASETS[plain]
    if not colon:
        return data_set, data_set.variants[0] if data_set.variants else ""
    if not data_set.variants:
        raise ValueError(f"dataset {plain}: it has no variants, found {variant!r}; use --dataset={plain}")
    if variant not in data_set.variants:
        known, hint = ", ".join(data_set.variants), did_you_mean(variant, data_set.variants)
        raise ValueError(f"dataset {plain}: expected variant {known}, found {variant!r}{hint}")
    return data_set, variant
