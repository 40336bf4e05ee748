"""Every field of a pretraining configuration, with its meaning and the FS-VFM recipe as its value.

A recipe is a file that changes some of these. Printing one needs nothing but ml_collections.
Durations are texts: "600 epochs", "1 epoch", "40000 steps" or "5000000 examples".
"""

from collections.abc import Iterable

from ml_collections import ConfigDict, config_dict

from fsfm_jax.text import did_you_mean

VARIANTS = ("fsfm400", "ffpp", "mae", "naive-mae", "snapshot", "released", "released-multi-gpu")


def pretrain() -> ConfigDict:
    """The recipe that FSFM and FS-VFM share (FSFM supplement D.1)."""
    c = ConfigDict()
    c.job = "pretrain"  # which job this is a configuration of
    c.seed = 0  # of initial weights, masks, augmentation and order
    c.duration = "600 epochs"  # how long training lasts
    # Length of the schedules of learning rate and target momentum, where the run ends earlier; "": the duration.
    c.horizon = ""

    c.data = ConfigDict()
    # Records made by `fsfm_jax.prepare.build`. Several: "DIR,DIR" one after the other, "DIR@0.7,DIR@0.3" mixed.
    c.data.train = "data/vggface2"
    c.data.statistics = "records"  # mean and deviation: of the "records", or "vggface2", "ffpp", "imagenet"
    c.data.augment = False  # random crop and flip, of photo and parsing map with one draw: augment_online "simple"
    # The view of each network (supplement C.2): "none", "simple" (crop, flip), "strong" (crop, flip, colour), or some
    # of these words with commas.
    c.data.augment_online = ""  # "": as data.augment says
    c.data.augment_target = ""  # "": the view of the online network
    c.data.workers = 0  # loader processes; 0: threads of the training process
    c.data.threads = 2  # loader threads per process; more than the cores gains nothing
    c.data.repeat_batch = False  # True: the first batch again and again; the device's own speed, and useless weights

    c.batch = ConfigDict()
    c.batch.size = 4096  # images of one optimizer step, over all devices
    c.batch.per_device = 128  # images that a device takes at once, at most; the rest is accumulated
    c.batch.accumulation = config_dict.placeholder(int)  # micro-batches of a step; not set: from per_device

    c.model = ConfigDict()
    c.model.size = "vit_b16"  # or "vit_s16", "vit_l16", "vit_h14", and the others of models/vit.py
    c.model.image_size = 224  # side of the images, a multiple of the patch; photos and maps of 224 are resized together
    c.model.pixel_width = 512  # of the pixel decoder, which reconstructs hidden patches
    c.model.pixel_depth = 8  # blocks of the pixel decoder
    c.model.pixel_heads = 16  # attention heads of the pixel decoder
    c.model.rep_depth = 2  # blocks of the representation decoder, which completes the tokens for the instance loss
    c.model.rep_heads = 16  # attention heads of the representation decoder
    c.model.projection_hidden = 4096  # hidden width of projector and predictor
    c.model.projection_features = 256  # output width of projector and predictor
    c.model.instance_discrimination = True  # False: a plain masked autoencoder
    # What the target sees and which networks decode: a design of supplement Fig. 4 and C.1, "4a", "4b", "4c-free",
    # "4c-online" or "4c-siamese"; or by parts, "full", "other_visible" or "masked" patches, with rep_decoded.
    c.model.target_view = "full"  # with rep_decoded "both": "4c-siamese"
    c.model.rep_decoded = "both"  # or "online", "neither"
    c.model.rep_positions = "zeros"  # released weights; "sincos": as the paper draws it
    c.model.dtype = "bfloat16"  # of the matrix products; parameters, norms, softmax, losses are float32
    c.model.remat = "none"  # compute activations again: of "attention", all but the "dots", or "full"; docs/SCALING.md

    c.mask = ConfigDict()
    c.mask.strategy = "crfr_p"  # or "random", "fasking_i", "frp", "crfr_r"; docs/extending.md says how to add one
    c.mask.ratio = 0.75  # share of hidden patches
    c.mask.region_draw = "image"  # the paper; "batch": one region per mask.draw_group images, released code
    c.mask.draw_group = 256  # images that share a region with mask.region_draw "batch"
    c.mask.count = "exact"  # "released": off by one when ratio * patches is not whole

    c.loss = ConfigDict()
    c.loss.kind = "ncs"  # or "byol", "infonce", "mocov3", "simclr"; docs/extending.md says how to add one
    c.loss.ncs_scale = 1.0  # the paper's -cos; 0.5: hidden in the released code
    c.loss.temperature = 0.1  # of the kinds with negatives
    c.loss.negatives = True  # of these kinds; False: the positive pairs only, as the released code has it
    c.loss.normalise_pixels = True  # reconstruct each patch minus its mean over its standard deviation (MAE)
    c.loss.masked_weight = 1.0  # of the reconstruction of hidden patches; 0 with region_weight 0: no pixel decoder
    c.loss.region_weight = 0.007  # of the covered region's
    c.loss.instance_weight = 0.1  # of the instance loss, between online and target network
    c.loss.ratio_over = "global_batch"  # "micro_batch": released code, per micro-batch

    c.optimizer = ConfigDict()
    c.optimizer.name = "adamw"  # or "lion", "muon"; docs/extending.md says how to add one
    c.optimizer.options = ""  # numbers that only this optimizer has: "momentum=0.95,rms=0.2" of "muon"
    c.optimizer.base_learning_rate = 1.5e-4  # per 256 images
    c.optimizer.min_learning_rate = 0.0  # at the end of the cosine; not scaled by the batch
    c.optimizer.warmup = "40 epochs"  # linear rise of the learning rate from 0
    c.optimizer.beta1 = 0.9  # decay of the first moment
    c.optimizer.beta2 = 0.95  # decay of the second moment
    c.optimizer.epsilon = 1e-8  # added to the root of the second moment
    c.optimizer.weight_decay = 0.05  # of matrices; biases and norms have none
    c.optimizer.clip_norm = 1.0  # of the whole gradient; 0: never clipped

    c.target = ConfigDict()
    c.target.rule = "ema"  # "frozen": what the released code does on several GPUs
    c.target.cadence = "optimizer_step"  # "micro_step": released code
    c.target.momentum = 0.996  # at the start; a cosine takes it to 1
    c.target.warmup = "0 steps"  # linear rise of the momentum from target.warmup_momentum; 0: none
    c.target.warmup_momentum = 0.0  # momentum of the first step of target.warmup

    # Of a loss or gradient that is not finite. "skip_step": the step moves nothing and counts, so schedules go on;
    # "skip": released code drops the micro-batch and goes on, whatever its gradient is.
    c.nonfinite = "stop"
    c.nonfinite_limit = skip_limit()
    c.alarms = alarms()
    c.alarms.collapse = ConfigDict()  # the projections of all faces have become one
    c.alarms.collapse.action = "warn"  # or "stop", "off"
    c.alarms.collapse.below = 0.02  # of feature_std; 1 is spread out, rounding alone gives 0.001
    c.alarms.collapse.steps = 100  # in a row, below that number
    c.alarms.frozen_target = ConfigDict()  # the target does not move although target.rule says so
    c.alarms.frozen_target.action = "warn"  # or "stop", "off"
    c.alarms.frozen_target.steps = 10  # a working target moves in every step

    c.checkpoint = ConfigDict()
    c.checkpoint.every = "1 epochs"  # how often the state is saved
    c.checkpoint.keep_latest = 2  # the last checkpoints, which are replaced by newer ones
    c.checkpoint.keep_every = "20 epochs"  # kept for good; "0 steps": none

    # Where metrics go, names with commas: "console", "jsonl" (metrics.jsonl), "tensorboard" (with the last picture).
    c.writers = "console,jsonl"

    c.partition = ConfigDict()
    c.partition.replicas = config_dict.placeholder(int)  # groups that share nothing but gradients; not set: slices
    c.partition.reduce_dtype = "float32"  # in which gradients are summed over devices; "bfloat16": half the bytes
    c.partition.fsdp = False  # split parameters, moments and target over the devices
    c.partition.fsdp_min_size = 65536  # smaller arrays stay whole on every device

    c.figure = ConfigDict()
    c.figure.data = "samples:heldout"  # faces of the picture that a run ends with
    c.figure.faces = 5  # faces in that picture
    return c


def skip_limit() -> ConfigDict:
    """After how many steps that were left out, or had micro-batches left out, a run ends; 0: never."""
    c = ConfigDict()
    c.consecutive = 10  # so many in a row have a cause that does not go away
    c.total = 1000  # since the command was started
    return c


def alarms(loss: float = 2.0, gradient: float = 10.0, steps: int = 10) -> ConfigDict:
    """The alarms that every training has, see docs/watching.md; an action is "warn", "stop" or "off"."""
    c = ConfigDict()
    c.divergence = ConfigDict()
    c.divergence.action = "warn"  # or "stop", "off"
    # Multiples of the median of the last steps. A loss that has become that of a guess is not far above what it was; a
    # gradient varies more.
    c.divergence.loss = loss
    c.divergence.gradient = gradient  # the same for the norm of the gradient
    c.divergence.window = 100  # steps of the median; nothing is looked at before there are as many
    c.divergence.steps = steps  # in a row: single steps far above the rest are usual, and harmless
    return c


def vary(c: ConfigDict, variant: str, accumulation: int) -> ConfigDict:
    """Turns a recipe into its variant; "" leaves it alone, "fsfm400,released" applies two in turn.

    | variant              | what it is                                                              |
    |----------------------|-------------------------------------------------------------------------|
    | `fsfm400`            | FSFM (CVPR 2025): 400 epochs                                            |
    | `ffpp`               | the ablation set of FSFM: originals of FaceForensics++, 400 epochs      |
    | `mae`                | a plain masked autoencoder: random masks, no instance discrimination    |
    | `naive-mae`          | the same without the region loss: with another mask, only the mask      |
    |                      | differs from MAE (FSFM supplement B)                                    |
    | `snapshot`           | 600 epochs of a schedule over 800, as the released file of ViT-L says   |
    | `released`           | every switch as the released code acts where its target moves (one GPU) |
    | `released-multi-gpu` | the same on several GPUs, where its target never moves                  |

    `accumulation` is the number of micro-batches of the released scripts, on four GPUs.

    Raises:
      ValueError: another name.
    """
    for name in filter(None, variant.split(",")):
        if name == "fsfm400":
            c.duration = "400 epochs"
        elif name == "ffpp":
            c.data.train, c.duration = "data/ffpp_originals", "400 epochs"
        elif name == "mae":
            # The region term is empty with random masks; with a mask that covers a region it counts.
            c.model.instance_discrimination, c.mask.strategy = False, "random"
        elif name == "naive-mae":
            # Pretrained on FF++ originals there: "ffpp,naive-mae", and --config.mask.strategy for each of the masks.
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
            # With one GPU to a process the target moves; with several, as the scripts start it, it does not.
            c.target.rule = "ema" if name == "released" else "frozen"
            c.nonfinite = "skip"
        else:
            raise unknown_variant(name, VARIANTS)
    return c


def unknown_variant(name: str, known: Iterable[str]) -> ValueError:
    """What to raise for a variant that a recipe does not have."""
    return ValueError(f"variant: expected one of {', '.join(known)}; found {name!r}{did_you_mean(name, known)}")
