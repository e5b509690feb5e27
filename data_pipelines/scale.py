"""The scale: how large a pixel is that the network sees, and what each tile has to be scaled by for it."""

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record


def network_pixel_size(data_set: DataSet, *, microns_per_pixel: float, base_size: int) -> float:
    """µm of a network pixel at scale 1: `microns_per_pixel` above 0, else what the data set or `base_size` says.

    A data set that suggests a pixel size (`network_microns_per_pixel`) is seen at that.

    The paper scales a tile to a long side of `base_size` pixels. That is one magnification only where all tiles show
    the same extent, so nothing else is accepted: extents may differ by half a stored pixel, the rounding of a tile that
    was resized.

    Args:
      data_set: its records say what their pixels measure, and how many there are.
      microns_per_pixel: `config.data.microns_per_pixel`.
      base_size: `config.data.base_size`, pixels of a tile's long side; unused where the pixel size is given.

    Raises:
      UserError: no pixel size is given, and tiles show extents that differ; names two of them.
    """
    if microns_per_pixel > 0:
        return microns_per_pixel
    if data_set.network_microns_per_pixel > 0:
        return data_set.network_microns_per_pixel
    first = data_set.records[0]
    if first.height is None:
        # The index is of a version whose data sets had tiles of one size: any of them says it.
        tile = data_set.source(first.split, labels=False)[first.position]
        return first.microns_per_pixel * max(tile["image"].shape[:2]) / base_size
    least, greatest = (choose(data_set.records, key=_extent) for choose in (min, max))
    if _extent(greatest) - _extent(least) > max(least.microns_per_pixel, greatest.microns_per_pixel) / 2:
        raise UserError(
            f"data set {data_set.name}: tile {least.id} shows {_extent(least):.4g} µm along its long side, "
            f"tile {greatest.id} {_extent(greatest):.4g} µm, which config.data.base_size={base_size} would scale to "
            "the same number of pixels: set config.data.microns_per_pixel, µm per pixel for the network to see"
        )
    return _extent(first) / base_size


def _extent(record: Record) -> float:
    """Of the long side, µm."""
    return record.microns_per_pixel * max(record.height, record.width)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width, in network pixels, of an image of height x width stored pixels; `scale`: network per stored."""
    # Rounded twice: a half must not fall to one side or the other by the last bit of the scale.
    return tuple(max(1, round(round(length * scale, 6))) for length in (height, width))
