"""A training run as typed values; a recipe (segloop.train.recipes) is a function that returns one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from segloop.data.augment import NO_AUGMENTATION, Augmentation
from segloop.train.losses import DICE_WEIGHT, IOU_WEIGHT


@dataclass(frozen=True)
class DataConfig:
    """Which datasets, how mixed, how prepared.

    weights: how often a dataset is drawn, by its name, that of the folder it lies in, or a pattern such as "manual*", the
    first that fits; 1 where none does. weighs_images: they are weights of each image, so that a dataset of twice the images
    is drawn twice as often.
    """

    batch_size: int = 4
    max_masks: int = 8
    repeats: int = 1
    augmentation: Augmentation = NO_AUGMENTATION
    weights: dict[str, float] = field(default_factory=dict)
    weighs_images: bool = False
    num_workers: int = 1


@dataclass(frozen=True)
class InteractionConfig:
    """The simulated conversation (paper appendix A): a first prompt, clicks on errors, rounds with no new prompt.

    first_box, first_mask: chances that the first prompt is a box or a rough mask; otherwise it is a point.
    num_mask_only: one of these comes at the very end, the others at random places among the clicks.
    all_iou: train the predicted IoU of all supervised outputs, not of the one of least loss alone.
    focal_alpha: weight of the foreground in the focal loss; the background has one minus it.
    dice_weight, iou_weight: weights of the dice loss and of the error of predicted IoU.
    ambiguity: of several outputs the one of least loss learns, or all do alike.
    """

    num_clicks: int = 8
    num_mask_only: int = 2
    first_box: float = 0.5
    first_mask: float = 0.0
    all_iou: bool = False
    focal_alpha: float = 0.25
    dice_weight: float = DICE_WEIGHT
    iou_weight: float = IOU_WEIGHT
    ambiguity: Literal["minimum", "mean"] = "minimum"

    @property
    def num_steps(self) -> int:
        """Decoder runs for each object; 11 in the paper."""
        return 1 + self.num_clicks + self.num_mask_only


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, linear warm-up, then a constant rate cut tenfold at each milestone (paper appendix A).

    schedule: "cosine" instead falls to 0 over the run in half a wave, as MAE does. layer_decay: factor on the rate for each
    layer below the top of the encoder. frozen: parameters whose names start so are not trained. ema: decay of the running
    mean of the weights, which is what a run delivers; 0 for none.
    """

    learning_rate: float = 8e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 0.8
    warmup_steps: int = 250
    schedule: Literal["milestones", "cosine"] = "milestones"
    milestones: tuple[int, ...] = (60_000, 86_666)
    clip_norm: float | None = None
    frozen: tuple[str, ...] = ()
    ema: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that any run depends on besides data paths and the start weights; each kind of step adds its own.

    data.batch_size images are encoded at once in each process; an update is made of `accumulate` such batches, or of as many
    as give global_batch images over all processes. recompute: keep no activations of the encoder's blocks, compute them
    again in the backward pass. compiles: let torch.compile translate the encoder first. keep_checkpoints: how many of the
    latest stay on disk. images, start: what tells the images, by their names, and the start weights from others; a run fills
    them in, so that it does not go on from a checkpoint of others.
    """

    recipe: str
    model: str
    input_size: int
    num_steps: int
    data: DataConfig
    optim: OptimConfig
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = 1
    global_batch: int | None = None
    recompute: bool = False
    compiles: bool = False
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    validate_every: int = 1000
    images: str | None = None
    start: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A run of the promptable model (paper appendix A).

    drop_path: chance that the last block of a ViT is skipped, growing from 0 at the first. dropout: in the mask decoder.
    """

    interaction: InteractionConfig
    drop_path: float = 0.0
    dropout: float = 0.0
