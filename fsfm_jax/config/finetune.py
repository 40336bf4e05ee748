"""Every field of a fine-tuning configuration, with its meaning and the recipe of FS-VFM's ViT-B for deepfakes as value.

A recipe is a file that changes some of these; `vary` has the variants that recipes of deepfake and diffusion forgery
detection share, `antispoof` the recipe of face anti-spoofing. Durations are texts: "10 epochs", "4000 steps".
"""

from collections.abc import Iterable

from ml_collections import ConfigDict, config_dict

from fsfm_jax.config import evaluate, pretrain

VARIANTS = ("scratch", "released")
# Data sets of the MCIO and WCS protocols by the variant that leaves them out.
MCIO = {"M": "msu", "C": "casia", "I": "replay", "O": "oulu"}
WCS = {"wmca": "wmca", "cefa": "cefa", "surf": "surf"}
# Protocols of fewer sources within MCIO, by their names in papers: sources and target.
LIMITED = {"MI2C": ("MI", "C"), "MI2O": ("MI", "O")}
ONE_TO_ONE = {f"{source}2{target}": (source, target) for target in MCIO for source in MCIO if source != target}
FEWER = LIMITED | ONE_TO_ONE
ANTISPOOF_VARIANTS = ("no-celeb", "celeb", "5-shot", "oracle", "released")
CELEB = "data/mcio_frames:celeb_train"


def finetune() -> ConfigDict:
    """Deepfake detection as FS-VFM fine-tunes ViT-B, every field; the other recipes change some of these."""
    c = ConfigDict()
    c.job = "finetune"
    c.seed = 0
    c.repeats = 1  # runs with the seeds seed, seed + 1, ..., each in a folder of its own; their mean and deviation
    c.duration = "10 epochs"
    # Workdir of a pretraining run, an export of one, an official FILE.pth, or a FILE.safetensors; "scratch": none.
    c.init = ""

    c.data = ConfigDict()
    # Labelled records made by `fsfm_jax.prepare.build`, as in pretraining: "DIR:train,DIR2:train".
    c.data.train = "data/ffpp_all:train"
    c.data.validation = "data/ffpp_all:val"  # of the sources, several with commas; "": none
    c.data.test = ""  # "NAME=DIR:test,NAME=DIR:test", what the finished detector is evaluated on; "": none
    # "": those of the data. "real,deepfake,spoof": these, and the data are written CLASS=DIR:train, which says of
    # which class the forged faces are.
    c.data.classes = ""
    c.data.statistics = "init"  # those of the pretraining; or "records", "vggface2", "ffpp", "imagenet"
    c.data.balanced = False  # as many real as fake faces, and as many of each data set, in every batch
    # How often each face comes: "natural", as often as every other; "classes": real and forged faces equally often in
    # every batch, over all data sets (Kang et al., 2020, section 3); "methods": so, and each manipulation as often as
    # every other.
    c.data.sampling = "natural"
    c.data.workers = 0
    c.data.threads = 2

    c.batch = ConfigDict()
    c.batch.size = 64
    c.batch.per_device = 64
    c.batch.accumulation = config_dict.placeholder(int)

    c.model = ConfigDict()
    c.model.size = "vit_b16"
    c.model.image_size = 224  # side of the images, a multiple of the patch; positions of another grid are resized
    # What `init` is: "fsfm", our run or a file of FSFM or FS-VFM; or a file of "supervised" (timm's ViT), "deit",
    # "mae", "dino", "clip", "mcf", "marlin".
    c.model.base = "fsfm"
    c.model.network = "classifier"  # or "antispoof": bottleneck and unit columns behind the encoder
    c.model.pooling = "mean_patches"  # or "cls"
    c.model.unit_features = False  # of "classifier": features are scaled to length 1 before the head (GenD)
    c.model.drop_path = 0.1  # probability that a block is left out, rising linearly with depth (stochastic depth)
    c.model.dropout = 0.5  # of "antispoof"
    c.model.norm_over = "tokens"  # of "antispoof": released code; "features": the few-shot method it builds on
    c.model.dtype = "bfloat16"
    c.model.remat = "none"  # or "attention", "dots", "full"; see docs/SCALING.md

    c.tuning = ConfigDict()
    # What is trained: "full"; or with a frozen encoder "fs_adapter" or "linear_probe"; or in it "layer_norm", "bias"
    # (BitFit), "lora". Heads always are.
    c.tuning.method = "full"
    c.tuning.reduction = 4  # of "fs_adapter": its bottleneck is so many times narrower than the encoder
    # Where the bottleneck of "fs_adapter" is: behind the encoder, its output beside the features, "concat" (FS-VFM), or
    # added to them, "add"; or one in each block, beside the MLP, "parallel", or behind it, "sequential".
    c.tuning.insertion = "concat"
    c.tuning.rank = 8  # of "lora"
    c.tuning.alpha = 16.0  # of "lora": updates are multiplied by alpha / rank
    # Of "lora": which maps of a block have updates, of "qkv,proj,mlp" (Hu et al., 2022, section 7.1), and which blocks,
    # as in "0-3,11", 0 = first; "": all.
    c.tuning.projections = "qkv"
    c.tuning.blocks = ""  # of "lora": the blocks with updates, as in "0-3,11"; "": all

    c.features = ConfigDict()
    # Folder where features of a frozen encoder are kept and trained from, each image seen once; "": none.
    c.features.cache = ""

    c.augment = ConfigDict()
    # Sides of the images in training, "224,320,384": each step has one of them by chance (Redmon and Farhadi, 2017,
    # section 2), and positions are resized to it; "": model.image_size. The detector's images are of model.image_size.
    c.augment.sizes = ""
    c.augment.crop = True  # random resized crop; False: the whole face
    c.augment.flip = 0.5  # probability of a mirrored image
    c.augment.rand_augment = "rand-m9-mstd0.5-inc1"  # or "none"
    c.augment.interpolation = "bicubic"  # what the recipe asks for; "bilinear": what the released code does
    c.augment.erase = 0.25  # probability of random erasing
    c.augment.saturation = 0.0  # probability of a saturation jitter (anti-spoofing: 0.5)
    c.augment.overflow = "clip"  # of that jitter; "wrap": released code, modulo 256

    c.mix = ConfigDict()
    c.mix.mixup = 0.8  # alpha of the Beta distribution of mixup; 0: never
    c.mix.cutmix = 1.0  # alpha of the Beta distribution of CutMix; 0: never
    c.mix.probability = 1.0  # share of batches that are mixed
    c.mix.switch = 0.5  # share of mixed batches with CutMix, where both are on

    c.loss = ConfigDict()
    c.loss.smoothing = 0.1  # share of a label that is spread over all classes (Inception v3, section 7)
    # Gamma of the focal loss, in the place of cross-entropy, such as 2.0 (Lin et al., 2017, equation 5); 0: none. Its
    # alpha: forged faces count alpha, real ones 1 - alpha; None: all count 1 (equation 4).
    c.loss.focusing = 0.0
    c.loss.alpha = config_dict.placeholder(float)  # of the focal loss: forged faces count alpha, real ones 1 - alpha
    # Weights of two losses of features of unit length, within a micro-batch; 0: none. GenD (Yermakov et al., 2026) has
    # 0.5 and 0.1. Uniformity: features lie evenly on the sphere; alignment: those of a class near each other (Wang and
    # Isola, 2020, sections 4.1.2 and 4.1.1).
    c.loss.uniformity = 0.0
    c.loss.alignment = 0.0  # weight of the alignment loss, see loss.uniformity
    c.loss.contrast = 0.0  # weight of the contrastive loss of FS-Adapter; 0: none
    c.loss.contrast_kind = "real_anchor"  # or "real_real", "real_fake", "none"
    c.loss.temperature = 0.07  # of that loss

    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"  # or "lion", "muon"; docs/extending.md says how to add one
    c.optimizer.options = ""  # numbers that only this optimizer has: "momentum=0.95,rms=0.2" of "muon"
    c.optimizer.base_learning_rate = 2e-4  # per 256 images
    c.optimizer.min_learning_rate = 1e-6
    c.optimizer.warmup = "5 epochs"
    c.optimizer.schedule = "cosine"  # or "constant"
    c.optimizer.beta1 = 0.9
    c.optimizer.beta2 = 0.999
    c.optimizer.epsilon = 1e-8
    c.optimizer.weight_decay = 0.03
    c.optimizer.decay = "decoupled"  # AdamW; "coupled": Adam with an L2 penalty (anti-spoofing)
    c.optimizer.layer_decay = 0.6  # factor of the learning rate from each block to the one before it

    c.average = ConfigDict()
    # Moving average of what is trained, which then is what is evaluated and saved: the decay per step, such as 0.9999;
    # 0: none, the last weights. In step t, 0 = first, it is min(decay, (1 + t) / (10 + t)).
    c.average.decay = 0.0

    c.selection = ConfigDict()
    # Which step becomes the detector: by "source-validation" (data.validation), the "last", or by "oracle", the test
    # set itself, as the released anti-spoofing code does; every output of such a run says so.
    c.selection.rule = "source-validation"
    c.selection.metric = "loss"  # mean cross-entropy of frames; or "auc", "hter": of videos
    c.selection.ties = "earlier"  # or "later"

    c.calibration = ConfigDict()
    # Share of real faces (videos) that may be called fake at the threshold that the detector keeps.
    c.calibration.false_alarm_rate = 0.01

    c.nonfinite = "stop"
    c.nonfinite_limit = pretrain.skip_limit()
    # A loss that is nearly 0 doubles with every batch that is a little harder.
    c.alarms = pretrain.alarms(loss=10.0, gradient=100.0, steps=20)

    c.checkpoint = ConfigDict()
    c.checkpoint.every = "1 epochs"  # also how often the validation set is looked at
    c.checkpoint.keep_latest = 1
    c.checkpoint.keep_every = "0 steps"

    c.writers = "console,jsonl"  # where metrics go; also "tensorboard"

    c.partition = ConfigDict()
    c.partition.replicas = config_dict.placeholder(int)
    c.partition.fsdp = False
    c.partition.fsdp_min_size = 65536
    c.update(evaluate.looking())
    return c


def vary(
    c: ConfigDict, variant: str, special: dict[str, dict] | None = None, also: Iterable[str] = ()
) -> ConfigDict:
    """Turns a recipe of deepfake or diffusion forgery detection into its variant; "scratch,released" applies two.

    | variant    | what it is                                                                                    |
    |------------|-----------------------------------------------------------------------------------------------|
    | `scratch`  | nothing is pretrained: 50 epochs (FSFM supplement), all layers at one rate (ours)             |
    | `released` | every switch as the released code acts: augmentation resamples bilinearly                     |

    `special` are the variants that only this recipe has: fields by their dotted names. `also` are words that it has
    taken off already, for the message.

    Raises:
      ValueError: another name.
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
    """Face anti-spoofing of the papers, trained on all data sets of a protocol but the target of the variant.

    12 real and 12 fake faces of each source a step, Adam with an L2 penalty at a constant rate, five seeds. The step
    is chosen on the test splits of the sources.

    | variant              | what it is                                                                          |
    |----------------------|-------------------------------------------------------------------------------------|
    | `M`, `C`, `I`, `O`   | target MSU, CASIA, Replay or OULU; sources: the other three and CelebA-Spoof        |
    | `wmca`, `cefa`, `surf` | target WMCA, CeFA or SURF; sources: the other two                                 |
    | `MI2C`, `MI2O`       | limited sources: MSU and Replay alone                                               |
    | `M2C`, `C2M`, ...    | one source alone, twelve pairs                                                      |
    | `no-celeb`           | without CelebA-Spoof (FSFM supplement D.2); behind M, C, I, O                       |
    | `celeb`              | with CelebA-Spoof as one more source; behind all others                             |
    | `5-shot`             | five videos of each class of the target are one more source                         |
    | `oracle`             | the step is chosen by HTER on the target's own test set, as in the published tables |
    | `released`           | `oracle`, and the saturation jitter wraps around                                    |

    Raises:
      ValueError: a first word that is no target, or another word behind it.
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
    """The test set of a protocol of `antispoof`, `NAME=data/FOLDER:SPLIT`, from the same words.

    Raises:
      ValueError: a first word that is no target or protocol, or another word behind it.
    """
    first, *words = variant.split(",")
    if first not in (MCIO | WCS | FEWER):
        raise pretrain.unknown_variant(first, MCIO | WCS | FEWER)
    # Each has one of these two by itself.
    known = [word for word in ANTISPOOF_VARIANTS if word != ("celeb" if first in MCIO else "no-celeb")]
    for word in words:
        if word not in known:
            raise pretrain.unknown_variant(word, known)
    target = FEWER[first][1] if first in FEWER else first
    folder, names = ("mcio_frames", MCIO) if target in MCIO else ("wcs_frames", WCS)
    # Published numbers of the protocols with other sources and with five shots are others.
    ends = [word.replace("-", "_") for word in ("no-celeb", "celeb", "5-shot") if word in words]
    return f"{'_'.join([protocol(first), *ends])}=data/{folder}:{names[target]}_test"


def protocol(target: str) -> str:
    """The name of a protocol as the papers have it: `O` -> `ICM2O`, `wmca` -> `CS2W`, `MI2C` as it is."""
    if target in FEWER:
        return target
    if target in MCIO:
        return {"M": "OCI2M", "C": "OMI2C", "I": "OCM2I", "O": "ICM2O"}[target]
    return {"wmca": "CS2W", "cefa": "SW2C", "surf": "CW2S"}[target]
