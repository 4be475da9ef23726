"""segloop everything: all masks of one or a million images, in a run that can be stopped and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import segloop
from segloop.cli.console import (
    INTERRUPTED,
    LOG_SECONDS,
    CommandError,
    interrupts_held,
    progress_bar,
    say,
)
from segloop.cli.downloads import fetch_model
from segloop.cli.failures import Failure, noting_failures, tell_failures
from segloop.cli.mask_files import FORMATS, WantedFiles, write_masks
from segloop.cli.options import (
    MAX_PIXELS,
    DeviceOption,
    MaxPixelsOption,
    ModelOption,
    OutOption,
    PathsArgument,
    ThreadsOption,
    parse_bytes,
)
from segloop.cli.prompting import box_numbers
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.backends.base import BackendSpec
    from segloop.cli.run_folder import Job, RunFolder
    from segloop.predict.automatic import AutomaticConfig, FilterCount
    from segloop.predict.predictor import Predictor

PresetOption = Annotated[
    str, typer.Option(metavar="default|sa1b", help="The released defaults, or SA-1B's settings.")
]
PointsOption = Annotated[
    int | None, typer.Option(min=1, help="Grid of N x N points.", show_default=False)
]
MinIouOption = Annotated[
    float | None, typer.Option(help="Least predicted IoU; 0 for all.", show_default=False)
]
MinStabilityOption = Annotated[
    float | None, typer.Option(help="Least stability score.", show_default=False)
]
CropLayersOption = Annotated[
    int | None, typer.Option(min=0, help="Layers of crops, for small things.", show_default=False)
]
MinRegionOption = Annotated[
    int | None,
    typer.Option(min=0, help="Islands and holes under so many pixels go.", show_default=False),
]
NmsOption = Annotated[
    float | None, typer.Option(help="Box IoU above which the worse goes.", show_default=False)
]
MaskNmsOption = Annotated[
    float | None, typer.Option(help="The same by the masks themselves.", show_default=False)
]
RegionOption = Annotated[
    str | None,
    typer.Option(metavar="X0,Y0,X1,Y1", help="Only in this part of each image, in pixels."),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format", metavar=",".join(FORMATS), help="With commas; the SA-1B JSON is always made."
    ),
]
CopyOption = Annotated[
    bool, typer.Option("--copy-images", help="Put the images beside their JSON, as SA-1B has it.")
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="800M|1.2G",
        help="Resident memory to stay below, by smaller batches.",
        show_default=False,
    ),
]
CountsOption = Annotated[
    bool, typer.Option("--counts", help="Say how many masks each filter took away.")
]
RedoOption = Annotated[
    bool, typer.Option("--redo", help="Make anew what is done, with other settings too.")
]


@dataclass
class Outcome:
    """What a run has come to so far: images and masks, what failed, and masks before and after each filter."""

    num_images: int = 0
    num_masks: int = 0
    failures: list[Failure] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, num_masks: int, counts: Sequence[FilterCount]) -> None:
        """Count the masks of one more image."""
        self.num_images += 1
        self.num_masks += num_masks
        for one in counts:
            before, after = self.counts.get(one.name, (0, 0))
            self.counts[one.name] = (before + one.before, after + one.after)

    def standing(self, num_found: int, again: str) -> str:
        """How far the run has come, for whoever stopped it."""
        return (
            f"{self.num_images} of {num_found} images are done; "
            f"the same command{again} goes on from there"
        )


@dataclass(frozen=True)
class Order:
    """What was asked for."""

    paths: Sequence[str]
    out: Path
    settle: Callable[[BackendSpec | None], AutomaticConfig]
    wanted: WantedFiles
    max_bytes: int | None
    max_pixels: int
    redo: bool


@dataclass(frozen=True)
class Run:
    """All that is the same for every image."""

    predictor: Predictor
    config: AutomaticConfig
    wanted: WantedFiles
    max_bytes: int | None
    max_pixels: int
    folder: RunFolder


def everything(
    paths: PathsArgument,
    out: OutOption,
    preset: PresetOption = "default",
    points_per_side: PointsOption = None,
    min_iou: MinIouOption = None,
    min_stability: MinStabilityOption = None,
    crop_layers: CropLayersOption = None,
    min_region: MinRegionOption = None,
    nms: NmsOption = None,
    mask_nms: MaskNmsOption = None,
    region: RegionOption = None,
    formats: FormatOption = "sa1b",
    copy_images: CopyOption = False,
    max_memory: MemoryOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    counts: CountsOption = False,
    redo: RedoOption = False,
    model: ModelOption = "default",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    r"""Find all masks of every image.

    OUT/NAME.json has the masks of an image in SA-1B layout, NAME_labels.png
    one label a pixel (16 bits), NAME_overlay.jpg a picture to look at,
    OUT/coco.json all images. NAME keeps the folders below PATH; where two
    images would share one, the second is NAME-2.

    A run that was stopped, even killed, goes on where it was when the same
    command is given again. An image that fails stops nothing, is named at
    the end, and is tried again by the next run.

    [bold]Examples[/bold]

      segloop everything photo.jpg -o out --format sa1b,overlay
      segloop everything photos -o out --format coco,labels --max-memory 1.2G
      segloop everything 'shots/**/*.jpg' set.tar -o out --copy-images
      segloop everything photos -o fine --preset sa1b --counts
    """
    wanted = WantedFiles.parse(formats, copy_images)
    settle = partial(
        build_config,
        preset=preset,
        points_per_side=points_per_side,
        predicted_iou_threshold=min_iou,
        stability_threshold=min_stability,
        crop_layers=crop_layers,
        min_region_px=min_region,
        box_nms_threshold=nms,
        mask_nms_threshold=mask_nms,
        region_xyxy=None if region is None else box_numbers(region, "--region"),
    )
    settle(None)  # what makes no sense is said before a model is loaded
    max_bytes = None if max_memory is None else parse_bytes(max_memory, "--max-memory")
    order = Order(paths, out, settle, wanted, max_bytes, max_pixels, redo=redo)
    outcome, num_earlier = _fulfil(order, partial(_load, model, device, threads))
    _report(outcome, out, num_earlier=num_earlier, counts=counts)


def _load(model: str, device: str, threads: int | None) -> Predictor:
    from segloop.predict.predictor import load

    fetch_model(model)
    return load(model, device=device, threads=threads)


def _fulfil(order: Order, predictor: Callable[[], Predictor]) -> tuple[Outcome, int]:
    """Do what is not done yet: what has come of it, and how many images were done before."""
    from segloop.cli.run_folder import Manifest, open_run
    from segloop.data.folder import find_images

    found = find_images(order.paths, exclude=order.out)
    if found.num_excluded:
        say(f"segloop: {found.num_excluded} files are left alone: they lie in {order.out}")
    loaded = predictor()
    config = order.settle(loaded.spec)
    settings = asdict(config)
    del settings["batch_size"]  # it changes time and memory, not masks
    spec = loaded.spec
    manifest = Manifest(segloop.__version__, spec.name, spec.identity, settings)
    with open_run(order.out, manifest) as folder:
        jobs, done = folder.plan(found.images, order.wanted.files_of, redo=order.redo)
        outcome = Outcome(num_images=len(done), num_masks=sum(one.num_masks for one in done))
        again = " without --redo" if order.redo else ""
        try:
            run = Run(loaded, config, order.wanted, order.max_bytes, order.max_pixels, folder)
            _process(run, jobs, outcome)
        except KeyboardInterrupt as error:
            say(f"segloop: interrupted: {outcome.standing(len(found.images), again)}")
            raise typer.Exit(INTERRUPTED) from error
        except CommandError as error:
            standing = outcome.standing(len(found.images), again)
            raise CommandError(f"{error}; {standing}") from error
    return outcome, len(done)


def build_config(
    spec: BackendSpec | None, preset: str = "default", **changes: object
) -> AutomaticConfig:
    """The generator's settings: a preset as it suits the model, and what differs; None stands for the preset's value."""
    from segloop.predict.automatic import PRESETS, suited_config

    if preset not in PRESETS:
        raise InputError(f"--preset {preset!r}: choose from {', '.join(PRESETS)}")
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return replace(PRESETS[preset] if spec is None else suited_config(spec, preset), **given)


def _process(run: Run, jobs: Sequence[Job], outcome: Outcome) -> None:
    with progress_bar("segmenting", log_seconds=LOG_SECONDS) as bar:
        started, masks_before = time.monotonic(), outcome.num_masks
        for number, job in enumerate(jobs):

            def show(points_done: int, num_points: int, number: int = number) -> None:
                done = number + min(0.999, points_done / max(1, num_points))
                num_masks = outcome.num_masks - masks_before
                bar.update(done, len(jobs), _pace(done, num_masks, time.monotonic() - started))

            show(0, 1)
            with noting_failures(outcome.failures, job.image.label):
                _segment(run, job, outcome, show)
    if run.wanted.coco:
        _write_coco(run.folder)


def _segment(run: Run, job: Job, outcome: Outcome, progress: Callable[[int, int], None]) -> None:
    """Find the masks of one image and write its files."""
    from segloop.data.image import load_image
    from segloop.data.sa1b import decode_sa1b
    from segloop.predict.automatic import generate
    from segloop.predict.memory import batch_size_within

    content = job.image.read()
    pixels = load_image(content, run.max_pixels)
    earlier = run.folder.earlier_file(job, f"{job.name}.json")
    if earlier is None:
        config = run.config
        if run.max_bytes is not None:
            size_hw = (int(pixels.shape[0]), int(pixels.shape[1]))
            batch_size = batch_size_within(run.predictor.backend, size_hw, run.max_bytes)
            config = replace(config, batch_size=batch_size)
        generation = generate(
            run.predictor, pixels, config, max_pixels=run.max_pixels, progress=progress
        )
        masks, counts = generation.masks, generation.counts
    else:  # only another format is wanted
        masks, counts = decode_sa1b(earlier), ()
    sizes = write_masks(run.folder, job, content, pixels, masks, run.wanted)
    with interrupts_held():  # so that what is noted and what is counted never differ
        run.folder.finish(job, content, sizes, len(masks))
        outcome.add(len(masks), counts)


def _write_coco(folder: RunFolder) -> None:
    """One file for all images that lie in the folder, those of earlier runs too."""
    from segloop.cli.run_folder import COCO
    from segloop.data.archive import Member
    from segloop.data.coco import write_coco

    names = [f"{one.name}.json" for one in folder.done]
    with folder.write_stream(COCO) as stream:
        write_coco(stream, [(name, Member(folder.path(name))) for name in names])


def _report(outcome: Outcome, out: Path, *, num_earlier: int, counts: bool) -> None:
    earlier = f", {num_earlier:,} of them done before" if num_earlier else ""
    typer.echo(f"{out}: {outcome.num_images:,} images, {outcome.num_masks:,} masks{earlier}")
    if counts and outcome.counts:
        typer.echo(f"{'masks':<28}{'before':>12}{'after':>12}")
        for name, (before, after) in outcome.counts.items():
            typer.echo(f"{name:<28}{before:>12,}{after:>12,}")
    if outcome.num_images and not outcome.num_masks:
        say(
            "segloop: no mask passed the filters: see --counts, and lower --min-iou or --min-stability"
        )
    tell_failures(outcome.failures, "; the same command tries them again")


def _pace(done: float, num_masks: int, seconds: float) -> str:
    rate = done / seconds if seconds else 0.0
    speed = f"{rate:.1f} images/s" if rate >= 1 else f"{1 / rate:.1f} s an image" if rate else ""
    return ", ".join(part for part in (speed, f"{num_masks:,} masks") if part)
