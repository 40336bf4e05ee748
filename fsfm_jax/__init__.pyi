from fsfm_jax.apps.public import Detector as Detector
from fsfm_jax.apps.public import Encoder as Encoder
from fsfm_jax.apps.public import Masks as Masks
from fsfm_jax.apps.public import Parser as Parser
from fsfm_jax.apps.public import crfr_p as crfr_p
from fsfm_jax.apps.public import crfr_r as crfr_r
from fsfm_jax.apps.public import fasking_i as fasking_i
from fsfm_jax.apps.public import frp as frp
from fsfm_jax.apps.public import load_detector as load_detector
from fsfm_jax.apps.public import load_encoder as load_encoder
from fsfm_jax.apps.public import load_parser as load_parser
from fsfm_jax.apps.public import random as random

__version__: str
