"""Configuration fields of a pretraining, with the FS-VFM recipe as default values.

A recipe is a file that changes some of these. Printing one needs only ml_collections.
Durations are texts: "600 epochs", "1 epoch", "40000 steps" or "5000000 examples".
"""

from collections.abc import Iterable

from ml_collections import ConfigDict, config_dict

from fsfm_jax.text import did_you_mean

VARIANTS = ("fsfm400", "ffpp", "mae", "naive-mae", "snapshot", "released", "released-multi-gpu")


def pretrain() -> ConfigDict:
    """Return the fields of a pretraining, with the recipe shared by FSFM and FS-VFM (FSFM supplement D.1)."""
    c = ConfigDict()
    c.job = "pretrain"  # which job this is a configuration of
    c.seed = 0  # random seed of initial weights, masks, augmentation and data order
    c.duration = "600 epochs"  # how long training lasts
    # Length of the learning rate and target momentum schedules, if the run ends before them; "": the duration.
    c.horizon = ""

    c.data = ConfigDict()
    # Training records made by `fsfm_jax.prepare.build`: "DIR"; "DIR,DIR" joins sets, "DIR@0.7,DIR@0.3" weights them.
    c.data.train = "data/vggface2"
    c.data.statistics = "records"  # pixel mean and std: "records" (measured), "vggface2", "ffpp" or "imagenet"
    c.data.augment = False  # random crop and flip, with one draw for photo and parsing map; same as "simple"
    # Augmentation of the online network's view (supplement C.2): "none", "simple" (crop, flip), "strong" (crop, flip,
    # colour), or several of "crop", "flip", "colour" with commas; "": as data.augment.
    c.data.augment_online = ""
    c.data.augment_target = ""  # augmentation of the target network's view; "": the view of the online network
    c.data.workers = 0  # loader processes; 0: threads of the training process
    c.data.threads = 2  # loader threads per process; more threads than cores do not help
    c.data.repeat_batch = False  # True: repeat the first batch to measure device speed; the weights are useless

    c.batch = ConfigDict()
    c.batch.size = 4096  # images of one optimizer step, over all devices
    c.batch.per_device = 128  # largest number of images per device at once; gradients of the rest are accumulated
    c.batch.accumulation = config_dict.placeholder(int)  # micro-batches per step; not set: from per_device

    c.model = ConfigDict()
    c.model.size = "vit_b16"  # encoder: "vit_s16", "vit_b16", "vit_l16", "vit_h14" and the others in models/vit.py
    c.model.image_size = 224  # image side in pixels, a multiple of the patch size; photos and maps are resized together
    c.model.pixel_width = 512  # width of the pixel decoder, which reconstructs masked patches
    c.model.pixel_depth = 8  # blocks of the pixel decoder
    c.model.pixel_heads = 16  # attention heads of the pixel decoder
    c.model.rep_depth = 2  # blocks of the representation decoder, which fills in tokens for the instance loss
    c.model.rep_heads = 16  # attention heads of the representation decoder
    c.model.projection_hidden = 4096  # hidden width of projector and predictor
    c.model.projection_features = 256  # output width of projector and predictor
    c.model.instance_discrimination = True  # False: a plain masked autoencoder
    # Patches that the target network sees: "full", "other_visible" or "masked", combined with model.rep_decoded; or a
    # whole design of supplement Fig. 4 and C.1: "4a", "4b", "4c-free", "4c-online" or "4c-siamese". "full" with
    # rep_decoded "both" is "4c-siamese".
    c.model.target_view = "full"
    c.model.rep_decoded = "both"  # networks with a representation decoder: "both", "online" or "neither"
    c.model.rep_positions = "zeros"  # decoder positions: "zeros" as the released weights, "sincos" as in the paper
    c.model.dtype = "bfloat16"  # dtype of matrix products; parameters, norms, softmax and losses stay float32
    c.model.remat = "none"  # what to recompute: "none", "attention", "dots" (all but dots), "full"; docs/SCALING.md

    c.mask = ConfigDict()
    c.mask.strategy = "crfr_p"  # "crfr_p", "random", "fasking_i", "frp" or "crfr_r"; docs/extending.md: how to add one
    c.mask.ratio = 0.75  # share of masked patches, between 0 and 1
    c.mask.region_draw = "image"  # "image": one region each (paper); "batch": one per draw_group (released code)
    c.mask.draw_group = 256  # images that share a region, with mask.region_draw "batch"
    c.mask.count = "exact"  # "exact"; "released": off by one if ratio * patches is not an integer

    c.loss = ConfigDict()
    c.loss.kind = "ncs"  # instance loss: "ncs", "byol", "infonce", "mocov3", "simclr"; see docs/extending.md
    c.loss.ncs_scale = 1.0  # factor of the "ncs" loss: 1 is the paper's -cos; 0.5 is found in the released code
    c.loss.temperature = 0.1  # temperature of the kinds with negatives
    c.loss.negatives = True  # use negatives in these kinds; False: positive pairs only, as in the released code
    c.loss.normalise_pixels = True  # standardise each target patch by its own mean and std (MAE)
    c.loss.masked_weight = 1.0  # weight of the reconstruction loss; 0 with region_weight 0: no pixel decoder
    c.loss.region_weight = 0.007  # weight of the reconstruction loss of the fully masked region
    c.loss.instance_weight = 0.1  # weight of the instance loss between online and target network
    c.loss.ratio_over = "global_batch"  # scope of the loss means: "global_batch"; "micro_batch": released code

    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"  # "adamw", "lion" or "muon"; docs/extending.md describes how to add one
    c.optimizer.options = ""  # numbers specific to the optimizer, such as "momentum=0.95,rms=0.2" for "muon"
    c.optimizer.base_learning_rate = 1.5e-4  # peak learning rate per 256 images of batch.size
    c.optimizer.min_learning_rate = 0.0  # learning rate at the end of the cosine; not scaled by the batch size
    c.optimizer.warmup = "40 epochs"  # duration of the linear rise of the learning rate from 0
    c.optimizer.beta1 = 0.9  # decay of the first moment
    c.optimizer.beta2 = 0.95  # decay of the second moment
    c.optimizer.epsilon = 1e-8  # added to the root of the second moment
    c.optimizer.weight_decay = 0.05  # weight decay of matrices; biases and norms have none
    c.optimizer.clip_norm = 1.0  # largest global norm of the gradient; 0: no clipping

    c.target = ConfigDict()
    c.target.rule = "ema"  # update of the target network: "ema"; "frozen": as the released code on several GPUs
    c.target.cadence = "optimizer_step"  # when the target is updated: "optimizer_step"; "micro_step": released code
    c.target.momentum = 0.996  # momentum of the target at the start; it rises to 1 along a cosine
    c.target.warmup = "0 steps"  # duration of a linear rise of the momentum from target.warmup_momentum; 0: none
    c.target.warmup_momentum = 0.0  # momentum of the first step of target.warmup

    # Reaction to a non-finite loss or gradient. "stop": end the run. "skip_step": count the step but change no
    # parameter. "skip": drop micro-batches with a non-finite loss and do not check the gradient, as the released code.
    c.nonfinite = "stop"
    c.nonfinite_limit = skip_limit()
    c.alarms = alarms()
    c.alarms.collapse = ConfigDict()  # alarm for projections that are equal for all faces
    c.alarms.collapse.action = "warn"  # reaction to collapse: "warn", "stop" or "off"
    c.alarms.collapse.below = 0.02  # limit of feature_std: 1 is fully spread, rounding alone gives 0.001
    c.alarms.collapse.steps = 100  # consecutive steps below the limit that raise the alarm
    c.alarms.frozen_target = ConfigDict()  # alarm for a target that does not move although target.rule is "ema"
    c.alarms.frozen_target.action = "warn"  # reaction to a target that does not move: "warn", "stop" or "off"
    c.alarms.frozen_target.steps = 10  # consecutive steps without a target update that raise the alarm

    c.checkpoint = ConfigDict()
    c.checkpoint.every = "1 epochs"  # interval of checkpoints
    c.checkpoint.keep_latest = 2  # number of latest checkpoints to keep
    c.checkpoint.keep_every = "20 epochs"  # interval of checkpoints that are never deleted; "0 steps": none

    # Comma-separated destinations of the metrics: "console", "jsonl" (metrics.jsonl) and "tensorboard" (with the final
    # picture).
    c.writers = "console,jsonl"

    c.partition = ConfigDict()
    c.partition.replicas = config_dict.placeholder(int)  # groups that exchange gradients only; not set: one per slice
    c.partition.reduce_dtype = "float32"  # dtype of gradient sums: "float32" or "bfloat16" (half the bytes)
    c.partition.fsdp = False  # shard parameters, moments and target over the devices
    c.partition.fsdp_min_size = 65536  # elements of the smallest array to shard; smaller ones are replicated

    c.figure = ConfigDict()
    c.figure.data = "samples:heldout"  # records of the faces in the final picture
    c.figure.faces = 5  # number of faces in the final picture
    return c


def skip_limit() -> ConfigDict:
    """Return the limits of skipped steps, or steps with skipped micro-batches, at which a run ends; 0: no limit."""
    c = ConfigDict()
    c.consecutive = 10  # consecutive skipped steps that end the run; 0: no limit
    c.total = 1000  # skipped steps since the start of the command that end the run; 0: no limit
    return c


def alarms(loss: float = 2.0, gradient: float = 10.0, steps: int = 10) -> ConfigDict:
    """Return the alarms that every training has, see docs/watching.md; an action is "warn", "stop" or "off"."""
    c = ConfigDict()
    c.divergence = ConfigDict()
    c.divergence.action = "warn"  # reaction to divergence: "warn", "stop" or "off"
    # Alarm limit of the loss, as a multiple of its median over the last steps. A loss at chance level may be only
    # a little higher than before.
    c.divergence.loss = loss
    c.divergence.gradient = gradient  # alarm limit of the gradient norm, as a multiple of its median
    c.divergence.window = 100  # number of steps of the median; the alarm is off before so many steps
    c.divergence.steps = steps  # consecutive steps above a limit that raise the alarm; single outliers are harmless
    return c


def vary(c: ConfigDict, variant: str, accumulation: int) -> ConfigDict:
    """Turn a recipe into its variant; "" changes nothing, "fsfm400,released" applies two in order.

    | variant              | what it is                                                              |
    |----------------------|-------------------------------------------------------------------------|
    | `fsfm400`            | FSFM (CVPR 2025): 400 epochs                                            |
    | `ffpp`               | the ablation set of FSFM: originals of FaceForensics++, 400 epochs      |
    | `mae`                | a plain masked autoencoder: random masks, no instance discrimination    |
    | `naive-mae`          | `mae` without the region loss: with another mask strategy, only the     |
    |                      | mask differs from MAE (FSFM supplement B)                               |
    | `snapshot`           | 600 epochs of a schedule over 800, as stated in the ViT-L file          |
    | `released`           | all switches as in the released code on one GPU, where the target moves |
    | `released-multi-gpu` | the same on several GPUs, where the target never moves                  |

    Args:
      accumulation: number of micro-batches in the released scripts, which use four GPUs.

    Raises:
      ValueError: the variant is unknown.
    """
    for name in filter(None, variant.split(",")):
        if name == "fsfm400":
            c.duration = "400 epochs"
        elif name == "ffpp":
            c.data.train, c.duration = "data/ffpp_originals", "400 epochs"
        elif name == "mae":
            # The region loss is empty with random masks; it counts with a strategy that masks a whole region.
            c.model.instance_discrimination, c.mask.strategy = False, "random"
        elif name == "naive-mae":
            # The paper pretrains on FF++ originals: "ffpp,naive-mae", with --config.mask.strategy for each mask.
            c.model.instance_discrimination, c.mask.strategy, c.loss.region_weight = False, "random", 0.0
        elif name == "snapshot":
            c.duration, c.horizon = "600 epochs", "800 epochs"
        elif name in ("released", "released-multi-gpu"):
            c.batch.accumulation = accumulation
            c.model.rep_positions = "zeros"
            c.mask.region_draw, c.mask.draw_group = "batch", c.batch.size // (4 * accumulation)
            c.mask.count = "released"
            c.loss.ncs_scale = 0.5
            c.loss.ratio_over = "micro_batch"
            c.target.cadence = "micro_step"
            # The target moves with one GPU per process; it does not move with several, as the scripts start it.
            c.target.rule = "ema" if name == "released" else "frozen"
            c.nonfinite = "skip"
        else:
            raise unknown_variant(name, VARIANTS)
    return c


def unknown_variant(name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a variant that a recipe does not have."""
    return ValueError(f"variant: expected one of {', '.join(known)}; found {name!r}{did_you_mean(name, known)}")
