"""What is looked at of a picture: at which pixel size, in which windows, and the pixels of the output."""

from dataclasses import dataclass

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import differ
from crcfp_jax.portable_model.card import Card
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.writing.band import OutputGrid
from crcfp_jax.slides.writing.output import output_grid
from data_pipelines.reading.resample import View
from data_pipelines.reading.slide import Slide
from data_pipelines.reading.tissue import Tissue, find_tissue, is_region
from data_pipelines.tiling import Tiling, Window, choose_windows, window_step

COARSE = 1.5  # times the training images' pixel size, from which a picture lacks what the network has learnt to see
TOO_COARSE = 8.0  # times; beyond, the pixel size is a mistake, and a small picture would be enlarged for hours
WHOLE = 0.95  # share of a small picture that is looked at, below which a user should know
IN_MICRONS = "in µm (about 0.25 at 40x, 0.5 at 20x)"


@dataclass(frozen=True)
class SlidePlan:
    """What is looked at of a picture, and at which sizes."""

    slide: Slide
    microns_per_pixel: float  # of the slide
    view: View  # the slide as the network sees it
    grid: OutputGrid
    tissue: Tissue | None  # None: everything counts
    tiling: Tiling
    windows: list[list[Window]]

    @property
    def count(self) -> int:
        """Windows."""
        return sum(map(len, self.windows))


def plan_picture(slide: Slide, card: Card, options: Options) -> SlidePlan:
    """Decides the sizes, finds the tissue and chooses the windows.

    Raises:
        UserError: nothing tells the slide's pixel size, or it is far from that of training, or it can't be read.
    """
    told = slide.microns_per_pixel
    microns_per_pixel = options.forced_microns_per_pixel or told or options.microns_per_pixel
    if microns_per_pixel is None:
        raise UserError(f"{slide.path} doesn't say how large its pixels are: give --mpp, {IN_MICRONS}")
    if microns_per_pixel > TOO_COARSE * card.data_microns_per_pixel:
        of_file = microns_per_pixel == told and options.forced_microns_per_pixel is None
        remedy = f"if its file is wrong, give --force_mpp, {IN_MICRONS}" if of_file else f"give it {IN_MICRONS}"
        coarser = microns_per_pixel / card.data_microns_per_pixel
        raise UserError(
            f"{slide.path}: pixels of {microns_per_pixel:.3g} µm are {coarser:.0f} times as coarse as the "
            f"{card.data_microns_per_pixel:.3g} µm that the model was trained on: {remedy}"
        )
    view = View(slide, card.microns_per_pixel / microns_per_pixel)
    height, width = view.size
    tissue = find_tissue(slide, microns_per_pixel) if options.tissue_only else None
    side = options.side

    def wanted(top: int, left: int) -> bool:
        if tissue is None:
            return True
        return tissue.touches(top, left, min(side, height - top), min(side, width - left), view.size)

    tiling = Tiling(height, width, side, window_step(side, options.overlap))
    grid = output_grid(slide.size, microns_per_pixel, view.size)
    return SlidePlan(slide, microns_per_pixel, view, grid, tissue, tiling, choose_windows(tiling, wanted))


def caveats(plan: SlidePlan, card: Card, options: Options) -> list[str]:
    """What a user should know before trusting the result, one short line each."""
    found = caveats_of_scale(plan, card, options)
    if options.side != card.window:
        found.append(f"windows of {options.side} pixels, not the {card.window} of training: another context")
    if plan.count == 0:
        found.append("no tissue found; --everything looks at all of it")
    elif plan.tissue and plan.tissue.share < WHOLE and is_region(plan.slide.size, plan.microns_per_pixel):
        found.append(f"{1 - plan.tissue.share:.0%} of it taken for glass and left out; --everything looks at all of it")
    return found


def caveats_of_scale(plan: SlidePlan, card: Card, options: Options) -> list[str]:
    """Those of the size of its pixels."""
    found = []
    told, filling, forced = plan.slide.microns_per_pixel, options.microns_per_pixel, options.forced_microns_per_pixel
    if told and forced and differ(forced, told):
        found.append(f"its file says {told:.4g} µm per pixel; --force_mpp {forced:.4g} counts instead")
    if told and filling and differ(filling, told):
        found.append(
            f"its file says {told:.4g} µm per pixel, which counts; --mpp {filling:.4g} is for those that don't say, "
            "--force_mpp is for all"
        )
    if plan.microns_per_pixel > COARSE * card.data_microns_per_pixel:
        found.append(
            f"its pixels of {plan.microns_per_pixel:.3g} µm are coarser than the {card.data_microns_per_pixel:.3g} µm "
            "that the model was trained on: it lacks detail"
        )
    return found
