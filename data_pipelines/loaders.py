"""Batches for training, by Grain: decoded in threads, resumable, the same for any number of processes."""

import functools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import grain
import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines import views
from data_pipelines.data_set import DataSet, Record
from data_pipelines.examples import LoaderOptions, labelled_example, unlabelled_example
from data_pipelines.sampling import ClassSampling, draw_pixel

if TYPE_CHECKING:
    from data_pipelines.splits import Split

_ENDLESS = 2**62  # examples; training stops by steps
_LABELLED, _UNLABELLED = 0, 1  # numbers of the example streams
_ORDER, _DRAWS = 0, 1  # what a random generator is for
_KEPT = 2**30  # bytes of decoded tiles a process keeps


class DecodedTiles:
    """Tiles that are kept as decoded, up to a number of bytes; safe to use from several threads.

    Decoding takes most of the time of an example. The first tiles stay: of tiles that come once an epoch, those used
    longest ago are the next to come, and a cache that forgets them never hits.
    """

    def __init__(self, most: int = _KEPT):
        self._left = most
        self._tiles: dict[Any, Mapping[str, np.ndarray]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, decode: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The tile of this key, by `decode` where it isn't kept; the arrays of one that is can't be written to."""
        if (kept := self._tiles.get(key)) is not None:
            return kept
        tile = decode()
        size = sum(array.nbytes for array in tile.values())
        with self._lock:
            if key not in self._tiles and size <= self._left:
                for array in tile.values():
                    array.setflags(write=False)
                self._tiles[key] = tile
                self._left -= size
        return tile


class _Stream:
    """An endless sequence of records; what it says of example i depends on nothing but (seed, stream, i)."""

    def __init__(
        self,
        data_set: DataSet,
        records: Sequence[Record],
        seed: int,
        stream: int,
        decoded: DecodedTiles,
        *,
        labels: bool,
    ):
        self._records, self._decoded = tuple(records), decoded
        self._seed, self._stream = seed, stream
        splits = {record.split for record in records}
        self._sources = {split: data_set.source(split, labels=labels, margins=True) for split in splits}
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self._stream, purpose, number)))

    def _draw_order(self, epoch: int) -> np.ndarray:
        # Grain's own shuffle costs 1.5 ms an example on sets of ten, which a small labelled set is.
        return self._generator(_ORDER, epoch).permutation(len(self._records))

    def example(self, index: int) -> tuple[Record, Mapping[str, np.ndarray], np.random.Generator]:
        """Record and pixels of example number `index` as stored, and the random generator for what is done to it."""
        epoch, position = divmod(index, len(self._records))
        return *self._read(self._order(epoch)[position]), self._generator(_DRAWS, index)

    def example_of_class(
        self, index: int, sampling: ClassSampling
    ) -> tuple[Record, Mapping[str, np.ndarray], np.random.Generator, tuple[int, int]]:
        """As `example`, but of a tile that is drawn by class, and (row, column) of a stored pixel of that class."""
        generator = self._generator(_DRAWS, index)
        number, label = sampling.draw(generator)
        record, stored = self._read(number)
        return record, stored, generator, draw_pixel(stored["label"], label, generator)

    def _read(self, number: int) -> tuple[Record, Mapping[str, np.ndarray]]:
        record = self._records[number]
        tiles = self._sources[record.split]
        return record, self._decoded.get((self._stream, record.id), lambda: tiles[record.position])


def _stack(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    keys = dict.fromkeys(key for example in examples for key in example)
    return {key: np.stack([example[key] for example in examples if key in example]) for key in keys}


class TrainingIterator(grain.DatasetIterator):
    """Endless batches; its state is the number of the next one, which says all, for any number of processes."""

    def __init__(self, batches: grain.DatasetIterator):
        super().__init__(batches)
        self._batches = batches

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        return {"next_batch": int(grain.experimental.get_next_index(self._batches))}

    def set_state(self, state: dict[str, Any]) -> None:
        grain.experimental.set_next_index(self._batches, int(state["next_batch"]))


def training_loader(
    data_set: DataSet,
    split: "Split",
    options: LoaderOptions,
    *,
    sources: Collection[str],
    sampling: ClassSampling | None = None,
) -> TrainingIterator:
    """Endless batches of this process; `get_state` and `set_state` (JSON) continue them to the bit.

    A batch holds `image` uint8 [B, S, S, 3] and `label` uint8 [B, S, S] and, where `sources` names any, those of
    `unlabelled`, `view_a`, `view_b` that it names, uint8 [U, S, S, 3], with `offset` int32 [U, 2] and `flip` bool
    [U, 2] (see `views.overlapping_views`); B and U are this process's shares. The batches of all processes, in their
    order, make up the batch of a single process. Unlabelled examples are read from sources without labels: their masks
    are never decoded. A tile is decoded once, as long as `DecodedTiles` has room. Labelled tiles come once an epoch,
    cropped anywhere; with `sampling` (of `split.labelled`), tile and crop are drawn by class, without epochs.

    Raises UserError if the split has no labelled or, where needed, no unlabelled records, or if `side`, `stride` and
    `overlap` leave no pair of views.
    """
    if not split.labelled:
        raise UserError(f"the split of data set {data_set.name} has no labelled records: choose a greater fraction")
    if sources and not split.unlabelled:
        raise UserError(
            f"the split of data set {data_set.name} has no unlabelled records: choose a smaller "
            "fraction, build it with images that nobody annotated (for slides of your own: unannotated/), or use "
            "config.method=supervised"
        )
    if sources:
        views.possible_offsets(options.side, options.stride, tuple(options.overlap))  # an error now, not in a thread
    cv2.setNumThreads(0)  # examples are made in parallel already; OpenCV's own threads would compete with these
    stream = functools.partial(_Stream, data_set, seed=options.seed, decoded=DecodedTiles())
    labelled_stream = stream(split.labelled, stream=_LABELLED, labels=True)
    unlabelled_stream = stream(split.unlabelled, stream=_UNLABELLED, labels=False) if sources else None
    labelled_share = options.batch_size // options.process_count
    unlabelled_share = options.unlabelled_batch_size // options.process_count if sources else 0

    def scale_of(record: Record) -> float:
        return record.microns_per_pixel / options.microns_per_pixel

    def make_example(number: int) -> dict[str, np.ndarray]:
        # One sequence for both streams: each batch is its labelled examples, then its unlabelled ones, so that a
        # single pool of threads serves both and a single number is the state.
        batch, place = divmod(number, labelled_share + unlabelled_share)
        if place < labelled_share:
            index = batch * options.batch_size + options.process_index * labelled_share + place
            if sampling is None:
                record, stored, generator = labelled_stream.example(index)
                pixel = None
            else:
                record, stored, generator, pixel = labelled_stream.example_of_class(index, sampling)
            return labelled_example(
                stored["image"], stored["label"], generator, options, scale=scale_of(record), holds=pixel
            )
        place -= labelled_share
        index = batch * options.unlabelled_batch_size + options.process_index * unlabelled_share + place
        record, stored, generator = unlabelled_stream.example(index)
        return unlabelled_example(stored["image"], generator, options, scale=scale_of(record), sources=sources)

    examples = grain.MapDataset.range(_ENDLESS).map(make_example)
    prefetch = max(options.prefetch, options.threads)  # a thread without a place for its example would idle
    read_options = grain.ReadOptions(num_threads=options.threads, prefetch_buffer_size=prefetch)
    batches = examples.to_iter_dataset(read_options).batch(labelled_share + unlabelled_share, batch_fn=_stack)
    return TrainingIterator(iter(batches))


def evaluation_examples(
    data_set: DataSet,
    records: Sequence[Record],
    *,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 16,
) -> Iterator[tuple[Record, np.ndarray, np.ndarray]]:
    """Yields (record, image uint8 [h, w, 3], label uint8 [h, w]) for each of this process's records once, in order.

    Over all processes every record comes exactly once; each is decoded as stored, ahead of its use, in threads.
    """
    cv2.setNumThreads(0)
    mine = tuple(records)[process_index::process_count]
    sources = {split: data_set.source(split, labels=True) for split in {record.split for record in mine}}

    def read(number: int) -> tuple[Record, np.ndarray, np.ndarray]:
        record = mine[number]
        stored = sources[record.split][record.position]
        return record, stored["image"], stored["label"]

    read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(grain.MapDataset.range(len(mine)).map(read).to_iter_dataset(read_options))
