"""Tiles in memory, the loader on them, and the same tiles built and stored."""

import dataclasses
from types import SimpleNamespace

import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines import build, examples, loaders, recipes
from data_pipelines.data_set import Record
from data_pipelines.units import Splits, Unit

OPTIONS = examples.LoaderOptions(
    side=32,
    microns_per_pixel=0.25,
    labelled_scale=(0.5, 2.0),
    unlabelled_scale=(0.8, 2.0),
    overlap=(0.1, 1.0),
    whole_view_scale=0.8,
    flips="horizontal",
    stride=8,
    batch_size=4,
    unlabelled_batch_size=4,
    seed=1,
    threads=2,
    prefetch=8,
)


class FakeDataSet:
    """Tiles in memory; reading the label of a position in `secret` fails, as does any image in `broken`."""

    name = "fake"

    def __init__(self, images, labels=None, secret=(), broken=()):
        self.images, self.secret, self.broken = images, secret, broken
        self.labels = [np.zeros(image.shape[:2], np.uint8) for image in images] if labels is None else labels
        self.records = tuple(
            Record(f"tile {position}", "train", position, "hospital", "patient", "image", 0, 0, True, 0.25)
            for position in range(len(images))
        )

    def source(self, split, *, labels, margins=False):
        assert split == "train"
        return FakeSource(self, labels)

    def split(self, labelled):
        return SimpleNamespace(labelled=self.records[:labelled], unlabelled=self.records[labelled:])


@dataclasses.dataclass
class FakeSource:
    data_set: FakeDataSet
    labels: bool

    def __getitem__(self, position):
        if position in self.data_set.broken:
            raise UserError(f"tile {position} can't be read")
        tile = {"image": self.data_set.images[position]}
        if self.labels:
            assert position not in self.data_set.secret, "the mask of an unlabelled tile was read"
            tile["label"] = self.data_set.labels[position]
        return tile


def noise(count, height=48, width=40):
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8))
    return FakeDataSet(images, list(generator.integers(0, 5, (count, height, width), dtype=np.uint8)))


def loader(data_set, labelled=3, *, with_unlabelled=True, sampling=None, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    split = data_set.split(labelled)
    sources = examples.SOURCES if with_unlabelled else ()
    return loaders.training_loader(data_set, split, options, sources=sources, sampling=sampling)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def build_stored(folder, data_set):
    """Builds the tiles of a FakeDataSet by the project's own builder and opens what is stored."""

    def tiles():
        for record, image, label in zip(data_set.records, data_set.images, data_set.labels, strict=True):
            yield recipes.Tile(
                record.id, image, label, record.hospital, record.patient, record.image, record.x, record.y
            )

    recipe = recipes.Recipe(
        name="tiny",
        description="tiles of a test",
        licence="",
        classes=tuple(ClassInfo(f"class {label}", (label, label, label)) for label in range(5)),
        microns_per_pixel=0.25,
        splits=Splits((Unit("image", {"1/1": 9}),)),
        find_sources=lambda raw_dir: recipes.FoundSources((recipes.Source("all", "train", tiles),)),
        needs_raw=False,
    )
    return build.build(recipe, None, folder)
