"""Configuration fields of a fine-tuning, with the recipe of FS-VFM's ViT-B for deepfakes as default values.

A recipe is a file that changes some of these. `vary` applies the variants that the recipes for deepfake and diffusion
forgery detection share. `antispoof` is the recipe for face anti-spoofing. Durations are texts: "10 epochs".
"""

from collections.abc import Iterable

from ml_collections import ConfigDict, config_dict

from fsfm_jax.config import evaluate, pretrain

VARIANTS = ("scratch", "released")
# Data sets of the MCIO and WCS protocols, by the variant that tests on them.
MCIO = {"M": "msu", "C": "casia", "I": "replay", "O": "oulu"}
WCS = {"wmca": "wmca", "cefa": "cefa", "surf": "surf"}
# Protocols with fewer sources within MCIO, by their names in the papers: sources and target.
LIMITED = {"MI2C": ("MI", "C"), "MI2O": ("MI", "O")}
ONE_TO_ONE = {f"{source}2{target}": (source, target) for target in MCIO for source in MCIO if source != target}
FEWER = LIMITED | ONE_TO_ONE
ANTISPOOF_VARIANTS = ("no-celeb", "celeb", "5-shot", "oracle", "released")
CELEB = "data/mcio_frames:celeb_train"


def finetune() -> ConfigDict:
    """Return the fields of a fine-tuning, with the FS-VFM recipe of ViT-B for deepfake detection as defaults."""
    c = ConfigDict()
    c.job = "finetune"
    c.seed = 0
    c.repeats = 1  # number of runs, with the seeds seed, seed + 1, ...; mean and standard deviation are reported
    c.duration = "10 epochs"
    # Pretrained encoder: working directory of a pretraining run, its export, an official FILE.pth or a
    # FILE.safetensors; "scratch": random initialisation.
    c.init = ""

    c.data = ConfigDict()
    # Labelled training records made by `fsfm_jax.prepare.build`: "DIR:train,DIR2:train".
    c.data.train = "data/ffpp_all:train"
    c.data.validation = "data/ffpp_all:val"  # comma-separated validation splits; "": none
    c.data.test = ""  # test sets of the finished detector, "NAME=DIR:test,NAME=DIR:test"; "": none
    # Class names; "": those of the data. With names such as "real,deepfake,spoof" write the data as CLASS=DIR:train,
    # where CLASS is the class of the forged faces.
    c.data.classes = ""
    c.data.statistics = "init"  # pixel mean and std: "init" (pretraining), "records", "vggface2", "ffpp", "imagenet"
    c.data.balanced = False  # equal numbers of real and fake faces, and of each data set, in every batch
    # Sampling of the faces: "natural", all equally often; "classes", equal numbers of real and forged faces in every
    # batch, over all data sets (Kang et al., 2020, section 3); "methods", the same with all manipulations equally
    # often.
    c.data.sampling = "natural"
    c.data.workers = 0
    c.data.threads = 2

    c.batch = ConfigDict()
    c.batch.size = 64
    c.batch.per_device = 64
    c.batch.accumulation = config_dict.placeholder(int)

    c.model = ConfigDict()
    c.model.size = "vit_b16"
    c.model.image_size = 224  # image side in pixels, a multiple of the patch size; position embeddings are resized
    # Kind of weights at `init`: "fsfm" (a run of fsfm_jax, or a file of FSFM or FS-VFM), or a file of "supervised"
    # (timm's ViT), "deit", "mae", "dino", "clip", "mcf" or "marlin".
    c.model.base = "fsfm"
    c.model.network = "classifier"  # "classifier", or "antispoof" with a bottleneck and unit columns after the encoder
    c.model.pooling = "mean_patches"  # pooling of the tokens: "mean_patches" or "cls"
    c.model.unit_features = False  # "classifier" only: scale features to length 1 before the head (GenD)
    c.model.drop_path = 0.1  # probability of dropping the last block, linear in depth (stochastic depth)
    c.model.dropout = 0.5  # dropout probability, "antispoof" only
    c.model.norm_over = "tokens"  # "antispoof" only: "tokens" as released code, "features" as its few-shot predecessor
    c.model.dtype = "bfloat16"
    c.model.remat = "none"  # rematerialisation: "none", "attention", "dots" or "full"; see docs/SCALING.md

    c.tuning = ConfigDict()
    # What is trained: "full"; or with a frozen encoder "fs_adapter" or "linear_probe"; or parts of the encoder:
    # "layer_norm", "bias" (BitFit) or "lora". The head is always trained.
    c.tuning.method = "full"
    c.tuning.reduction = 4  # "fs_adapter" only: encoder width divided by bottleneck width
    # "fs_adapter" only, place of the bottleneck. After the encoder: "concat" joins its output to the features (FS-VFM),
    # "add" sums them. In every block: "parallel" to the MLP, or "sequential", after it.
    c.tuning.insertion = "concat"
    c.tuning.rank = 8  # "lora" only: rank of the updates
    c.tuning.alpha = 16.0  # "lora" only: updates are multiplied by alpha / rank
    # "lora" only: layers of a block that get updates, one or more of "qkv,proj,mlp" (Hu et al., 2022, section 7.1).
    c.tuning.projections = "qkv"
    c.tuning.blocks = ""  # "lora" only: blocks with updates, such as "0-3,11", where 0 is the first; "": all

    c.features = ConfigDict()
    # Folder that caches the features of a frozen encoder, computed once per image; "": no cache.
    c.features.cache = ""

    c.augment = ConfigDict()
    # Image sides for training in pixels, such as "224,320,384". Each step draws one at random (Redmon and Farhadi,
    # 2017, section 2) and resizes the position embeddings. "": model.image_size, the size of the finished detector.
    c.augment.sizes = ""
    c.augment.crop = True  # True: random resized crop; False: the whole face
    c.augment.flip = 0.5  # probability of a horizontal flip
    c.augment.rand_augment = "rand-m9-mstd0.5-inc1"  # policy of RandAugment; "none": off
    c.augment.interpolation = "bicubic"  # "bicubic" as in the paper's recipe; "bilinear" as in the released code
    c.augment.erase = 0.25  # probability of random erasing
    c.augment.saturation = 0.0  # probability of a saturation jitter (anti-spoofing: 0.5)
    c.augment.overflow = "clip"  # pixel overflow of the jitter: "clip"; "wrap": modulo 256 as in the released code

    c.mix = ConfigDict()
    c.mix.mixup = 0.8  # alpha of the Beta distribution of mixup; 0: off
    c.mix.cutmix = 1.0  # alpha of the Beta distribution of CutMix; 0: off
    c.mix.probability = 1.0  # probability that a batch is mixed
    c.mix.switch = 0.5  # probability of CutMix in a mixed batch, if both are on

    c.loss = ConfigDict()
    c.loss.smoothing = 0.1  # label smoothing: share spread over all classes (Inception v3, section 7)
    # Gamma of the focal loss, which replaces cross-entropy, such as 2.0 (Lin et al., 2017, equation 5); 0: off.
    c.loss.focusing = 0.0
    c.loss.alpha = config_dict.placeholder(float)  # focal loss: weight of forged faces, of real ones 1 - alpha; None: 1
    # Weight of the uniformity loss, which spreads features of unit length over the sphere (Wang and Isola, 2020,
    # section 4.1.2), within a micro-batch; 0: off. GenD (Yermakov et al., 2026) uses 0.5.
    c.loss.uniformity = 0.0
    # Weight of the alignment loss, which moves features of one class together (Wang and Isola, 2020, section 4.1.1),
    # within a micro-batch; 0: off. GenD uses 0.1.
    c.loss.alignment = 0.0
    c.loss.contrast = 0.0  # weight of the contrastive loss of FS-Adapter; 0: off
    c.loss.contrast_kind = "real_anchor"  # contrasted pairs: "real_anchor", "real_real", "real_fake" or "none"
    c.loss.temperature = 0.07  # temperature of the contrastive loss

    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"  # "adamw", "lion" or "muon"; docs/extending.md describes how to add one
    c.optimizer.options = ""  # numbers specific to the optimizer, such as "momentum=0.95,rms=0.2" for "muon"
    c.optimizer.base_learning_rate = 2e-4  # learning rate per 256 images of batch.size
    c.optimizer.min_learning_rate = 1e-6
    c.optimizer.warmup = "5 epochs"
    c.optimizer.schedule = "cosine"  # learning rate schedule: "cosine" or "constant"
    c.optimizer.beta1 = 0.9
    c.optimizer.beta2 = 0.999
    c.optimizer.epsilon = 1e-8
    c.optimizer.weight_decay = 0.03
    c.optimizer.decay = "decoupled"  # weight decay: "decoupled" (AdamW), "coupled" (L2 penalty, anti-spoofing)
    c.optimizer.layer_decay = 0.6  # learning rate factor from each block to the block before it; 1: one rate

    c.average = ConfigDict()
    # Decay per step of a moving average of the trained weights, such as 0.9999. The average is evaluated and saved.
    # 0: no average. At step t, counted from 0, the decay is min(decay, (1 + t) / (10 + t)).
    c.average.decay = 0.0

    c.selection = ConfigDict()
    # Selection of the step that becomes the detector: best on data.validation ("source-validation"), the "last", or
    # best on the test set ("oracle"), as in the released anti-spoofing code. Every output of an oracle run says so.
    c.selection.rule = "source-validation"
    c.selection.metric = "loss"  # "loss": mean cross-entropy over frames; "auc" or "hter": over videos
    c.selection.ties = "earlier"  # step to select among equal ones: "earlier" or "later"

    c.calibration = ConfigDict()
    # Share of real videos that may be classified as fake at the stored threshold of the detector.
    c.calibration.false_alarm_rate = 0.01

    c.nonfinite = "stop"
    c.nonfinite_limit = pretrain.skip_limit()
    # The limits are looser than in pretraining: a loss near 0 doubles with every slightly harder batch.
    c.alarms = pretrain.alarms(loss=10.0, gradient=100.0, steps=20)

    c.checkpoint = ConfigDict()
    c.checkpoint.every = "1 epochs"  # interval of checkpoints and of validation
    c.checkpoint.keep_latest = 1
    c.checkpoint.keep_every = "0 steps"

    c.writers = "console,jsonl"  # comma-separated destinations of the metrics: "console", "jsonl", "tensorboard"

    c.partition = ConfigDict()
    c.partition.replicas = config_dict.placeholder(int)
    c.partition.fsdp = False
    c.partition.fsdp_min_size = 65536
    c.update(evaluate.looking())
    return c


def vary(
    c: ConfigDict, variant: str, special: dict[str, dict] | None = None, also: Iterable[str] = ()
) -> ConfigDict:
    """Turn a recipe for deepfake or diffusion forgery detection into its variant; "scratch,released" applies two.

    | variant    | what it is                                                                                    |
    |------------|-----------------------------------------------------------------------------------------------|
    | `scratch`  | no pretraining: 50 epochs (FSFM supplement), one rate for all layers (our choice)             |
    | `released` | all switches as in the released code: augmentation resamples bilinearly                       |

    Args:
      special: variants that only this recipe has, as fields by dotted name.
      also: words that the recipe has already removed from `variant`; the error message lists them.

    Raises:
      ValueError: the variant is unknown.
    """
    special = special or {}
    for name in filter(None, variant.split(",")):
        if name in special:
            c.update_from_flattened_dict(special[name])
        elif name == "scratch":
            c.init, c.duration, c.optimizer.layer_decay, c.data.statistics = "scratch", "50 epochs", 1.0, "vggface2"
        elif name == "released":
            c.augment.interpolation = "bilinear"
        else:
            raise pretrain.unknown_variant(name, (*VARIANTS, *special, *also))
    return c


def antispoof(variant: str) -> ConfigDict:
    """Return the recipe for face anti-spoofing: train on all data sets of a protocol except the target.

    Each step has 12 real and 12 fake faces of each source. The optimizer is Adam with an L2 penalty at a constant rate.
    There are five seeds. The step is selected on the test splits of the sources.

    | variant              | what it is                                                                          |
    |----------------------|-------------------------------------------------------------------------------------|
    | `M`, `C`, `I`, `O`   | target MSU, CASIA, Replay or OULU; sources: the other three and CelebA-Spoof        |
    | `wmca`, `cefa`, `surf` | target WMCA, CeFA or SURF; sources: the other two                                 |
    | `MI2C`, `MI2O`       | limited sources: only MSU and Replay                                                |
    | `M2C`, `C2M`, ...    | a single source, twelve pairs                                                       |
    | `no-celeb`           | without CelebA-Spoof (FSFM supplement D.2); follows M, C, I or O                    |
    | `celeb`              | with CelebA-Spoof as an additional source; follows all other targets                |
    | `5-shot`             | five target videos of each class are an additional source                           |
    | `oracle`             | selects the step by HTER on the target test set, as in the published tables         |
    | `released`           | `oracle`, and the saturation jitter wraps around                                    |

    Raises:
      ValueError: the first word is no target, or a later word is unknown.
    """
    first, *words = variant.split(",")
    c = finetune()
    c.data.test = antispoof_test(variant)
    given, target = FEWER.get(first, (None, first))
    folder, names = ("mcio_frames", MCIO) if target in MCIO else ("wcs_frames", WCS)
    kept = [name for key, name in names.items() if key != target and (given is None or key in given)]
    sources = [f"data/{folder}:{name}_train" for name in kept]
    sources += [CELEB] if "celeb" in words or (first in MCIO and "no-celeb" not in words) else []
    sources += [f"data/{folder}:{names[target]}_shot"] if "5-shot" in words else []
    c.duration, c.repeats = "4000 steps", 5
    c.data.train = ",".join(sources)
    c.data.validation = ",".join(f"data/{folder}:{name}_test" for name in kept)
    c.data.balanced = True
    c.batch.size = c.batch.per_device = 24 * len(sources)
    c.model.network, c.model.drop_path = "antispoof", 0.0
    c.model.dtype = "float32"
    c.augment.crop, c.augment.rand_augment, c.augment.erase = False, "none", 0.0
    c.augment.saturation = 0.5
    c.mix.probability = 0.0
    c.loss.smoothing = 0.0
    c.optimizer.schedule, c.optimizer.warmup, c.optimizer.decay = "constant", "0 steps", "coupled"
    c.optimizer.layer_decay = 1.0
    c.selection.metric, c.selection.ties = "hter", "later"
    c.evaluation.transform = "resize"
    c.checkpoint.every = "100 steps"
    c.report.layout = "fas"
    if {"oracle", "released"} & set(words):
        c.selection.rule = "oracle"
    if "released" in words:
        c.augment.overflow = "wrap"
    return c


def antispoof_test(variant: str) -> str:
    """Return the test set of an `antispoof` variant as `NAME=data/FOLDER:SPLIT`.

    Raises:
      ValueError: the first word is no target or protocol, or a later word is unknown.
    """
    first, *words = variant.split(",")
    if first not in (MCIO | WCS | FEWER):
        raise pretrain.unknown_variant(first, MCIO | WCS | FEWER)
    # MCIO has CelebA-Spoof by default and the others do not, so each accepts only the opposite word.
    known = [word for word in ANTISPOOF_VARIANTS if word != ("celeb" if first in MCIO else "no-celeb")]
    for word in words:
        if word not in known:
            raise pretrain.unknown_variant(word, known)
    target = FEWER[first][1] if first in FEWER else first
    folder, names = ("mcio_frames", MCIO) if target in MCIO else ("wcs_frames", WCS)
    # Protocols with other sources or with five shots have their own published numbers, hence their own names.
    ends = [word.replace("-", "_") for word in ("no-celeb", "celeb", "5-shot") if word in words]
    return f"{'_'.join([protocol(first), *ends])}=data/{folder}:{names[target]}_test"


def protocol(target: str) -> str:
    """Return the name of a protocol in the papers: `O` -> `ICM2O`, `wmca` -> `CS2W`, `MI2C` unchanged."""
    if target in FEWER:
        return target
    if target in MCIO:
        return {"M": "OCI2M", "C": "OMI2C", "I": "OCM2I", "O": "ICM2O"}[target]
    return {"wmca": "CS2W", "cefa": "SW2C", "surf": "CW2S"}[target]
