"""Whole slides: memory, rate and how long the device is busy, on synthetic pyramidal TIFFs.

    python benchmarks/slides.py --model M --folder F [--sizes 20000x20000,20000x40000] [--tissue 0.3]
    python benchmarks/slides.py --network none --folder F           # or random

Writes the slides (height x width, JPEG tiles, tissue in blobs on glass) into F where they are not there yet, predicts
each in a process of its own, and times the bare network: the same compiled function on windows that lie in memory, in
batches of the same size. Prints a table: megapixels a second, the share of time in which the device was busy, the rate
of windows against the bare network's, and the process's peak memory.

Without a model of one's own, five classes in windows of 320 pixels: `--network none` takes one whose network answers at
once, which shows what reading, blending and writing let pass, however fast a device is; `--network random` takes a
ResNet-50 with the DeepLab v3+ decoder and random weights.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from tifffile import TiffWriter

from crcfp_jax.common.files import write_atomic, write_json_atomic
from crcfp_jax.models.network import Network
from crcfp_jax.portable_model.artifact import PLATFORMS, export_network, inference_variables
from crcfp_jax.portable_model.card import ARTIFACT, CARD, PARAMETERS, card_digest, describe_files, read_card
from crcfp_jax.portable_model.folder import load_model, write_variables
from crcfp_jax.training.state import initialise_variables
from data_pipelines.synthesis import synthesise

PATCH = 1024  # pixels; patches of synthetic tissue of one hospital are laid side by side
PATCHES = 8
TILE = 512
FACTOR = 4  # between the levels of the pyramid
GLASS = 242
BLOB = 10.0  # pixels, of the network that answers at once
WINDOW = 320  # pixels
CLASSES = {
    "tumour": [200, 30, 30],
    "stroma": [240, 170, 200],
    "inflammation": [60, 60, 200],
    "necrosis": [90, 90, 90],
    "other": [120, 200, 120],
}


def write_slide(path: Path, height: int, width: int, share: float, microns_per_pixel: float) -> None:
    """Writes a slide of patches inside blobs that cover about `share` of it; memory stays small."""
    rng = np.random.default_rng(0)
    patches = [synthesise(2023, "H11", number, PATCH)[0] for number in range(PATCHES)]
    coarse = cv2.GaussianBlur(rng.random((height // 250, width // 250)).astype(np.float32), (0, 0), 4)
    blobs = (coarse > np.quantile(coarse, 1 - share)).astype(np.uint8)
    order = rng.integers(PATCHES, size=(height // PATCH + 1, width // PATCH + 1))

    def tiles(factor):
        side, small = PATCH // factor, [cv2.resize(p, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
                                        for p in patches]  # fmt: skip
        size = (height // factor, width // factor)
        for top in range(0, size[0], TILE):
            # Nearest cell of the coarse map for every pixel of a row of tiles.
            rows = np.minimum(np.arange(top, top + TILE) * len(blobs) // size[0], len(blobs) - 1)
            for left in range(0, size[1], TILE):
                columns = np.minimum(np.arange(left, left + TILE) * blobs.shape[1] // size[1], blobs.shape[1] - 1)
                tile = np.full((TILE, TILE, 3), GLASS, np.uint8)
                step = min(TILE, side)
                for y in range(0, TILE, step):
                    for x in range(0, TILE, step):
                        row, column = divmod(top + y, side), divmod(left + x, side)
                        patch = small[order[min(row[0], len(order) - 1), min(column[0], order.shape[1] - 1)]]
                        tile[y : y + step, x : x + step] = patch[row[1] : row[1] + step, column[1] : column[1] + step]
                tile[blobs[np.ix_(rows, columns)] == 0] = GLASS
                yield tile

    temporary = path.with_suffix(".part")
    per_centimetre = 1e4 / microns_per_pixel
    with TiffWriter(temporary, bigtiff=True) as file:
        factor = 1
        while True:
            file.write(
                tiles(factor), shape=(height // factor, width // factor, 3), dtype=np.uint8, tile=(TILE, TILE),
                photometric="rgb", compression="jpeg", compressionargs={"level": 85}, metadata=None,
                subfiletype=int(factor > 1), resolution=(per_centimetre / factor,) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip
            if max(height, width) // factor <= 4096:
                break
            factor *= FACTOR
    temporary.rename(path)


def answer_at_once() -> tuple[dict, bytes]:
    """Variables and artifact of a network that gives every window the same blobs of five classes."""
    classes = len(CLASSES)
    noise = np.random.default_rng(0).normal(size=(WINDOW, WINDOW, classes)).astype(np.float32)
    scores = np.exp(200 * cv2.GaussianBlur(noise, (0, 0), BLOB))
    variables = {"answer": scores / scores.sum(-1, keepdims=True)}

    def network(variables, images):
        return {"probabilities": jnp.broadcast_to(variables["answer"], (*images.shape[:3], classes))}

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), WINDOW, WINDOW, 3), jnp.uint8)
    return variables, bytes(export.export(jax.jit(network), platforms=PLATFORMS)(shapes, images).serialize())


def answer_at_random() -> tuple[dict, bytes]:
    """Variables and artifact of a ResNet-50 with the DeepLab v3+ decoder and random weights, as a run's export."""
    network = Network(len(CLASSES), "resnet50", decoder="v3plus", output_stride=16, projection_dim=0)
    initialise = jax.jit(lambda key: initialise_variables(network, key, WINDOW))
    variables = jax.tree.map(np.array, inference_variables(initialise(jax.random.key(0))))
    kernel = variables["params"]["classifier"]["logits"]["kernel"]
    kernel -= kernel.mean(0)  # features are above 0: the class with the greatest sum would win nearly everywhere
    return variables, export_network(network, variables)


NETWORKS = {"none": answer_at_once, "random": answer_at_random}


def write_model(folder: Path, name: str) -> None:
    """A model folder of one of NETWORKS; it is there whole or not at all."""
    variables, artifact = NETWORKS[name]()
    temporary = folder.with_suffix(".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    write_variables(temporary / PARAMETERS, variables)
    write_atomic(temporary / ARTIFACT, artifact)
    card = {
        "format": 1,
        "name": f"network {name}",
        "method": "none",
        "classes": [{"name": name, "colour": colour} for name, colour in CLASSES.items()],
        "microns_per_pixel": 0.5,
        "window": WINDOW,
        "overlap": 0.25,
        "stride": 4,
        "uncertainty": False,
        "data": {"microns_per_pixel": 0.5},
        "versions": {"jax": jax.__version__},
        "files": describe_files(temporary),
    }
    write_json_atomic(temporary / CARD, card | {"card_sha256": card_digest(card)})
    temporary.rename(folder)


def bare_rate(folder: Path, batch_size: int, seconds: float) -> tuple[float, int]:
    """Windows a second of the compiled network on one batch in memory, all devices at work, and a window's side."""
    model, devices = load_model(folder), jax.local_devices()
    side = model.card.window
    start = model.predictor(devices, uncertainty=False)
    size = batch_size * len(devices)
    batch = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    jax.block_until_ready(start(batch))
    started, windows, waiting = time.perf_counter(), 0, []
    while time.perf_counter() - started < seconds:
        waiting.append(start(batch))
        windows += size
        if len(waiting) > 2:
            jax.block_until_ready(waiting.pop(0))
    jax.block_until_ready(waiting)
    return windows / (time.perf_counter() - started), side


def predict(options: argparse.Namespace, slide: Path) -> tuple[dict, float]:
    """Runs the command on a slide; its result and the process's peak memory in bytes."""
    output = options.folder / "results"
    command = [sys.executable, "-m", "crcfp_jax.predict", "--model", options.model, "--output", output, "--overwrite"]
    command += ["--batch_size", options.batch_size, "--formats", options.formats, slide]
    shutil.rmtree(output / slide.name, ignore_errors=True)
    # The greatest of all children so far: each slide is run in a process that has no other.
    code = (
        "import json, resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
        "print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))"
    )
    words = [str(word) for word in (sys.executable, "-c", code, *command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    print("\n".join(lines), flush=True)
    code, memory = json.loads(last)
    if code:
        raise SystemExit(code)
    return json.loads((output / slide.name / "result.json").read_text()), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", type=Path)
    model.add_argument("--network", choices=tuple(NETWORKS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", default="20000x20000,20000x40000", help="width x height, comma-separated")
    parser.add_argument("--tissue", type=float, default=0.3, help="share of the slide")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--bare_seconds", type=float, default=30, help="that the bare network is timed for")
    parser.add_argument("--formats", default="mask,overlay,geojson,csv")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.model is None:
        options.model = options.folder / f"network_{options.network}"
        if not options.model.exists():  # in a process of its own, as JAX is not to be started here
            context = multiprocessing.get_context("spawn")
            writing = context.Process(target=write_model, args=(options.model, options.network))
            writing.start()
            writing.join()
            if writing.exitcode:
                raise SystemExit(writing.exitcode)
    card = read_card(options.model)  # JAX is started here only afterwards: it would take a GPU's memory
    rows = []
    for size in options.sizes.split(","):
        width, height = map(int, size.split("x"))
        slide = options.folder / f"synthetic_{width}x{height}_{options.tissue}.tif"
        if not slide.exists():
            started = time.perf_counter()
            write_slide(slide, height, width, options.tissue, card.microns_per_pixel)
            print(
                f"{slide}: {slide.stat().st_size / 2**20:.0f} MiB in {time.perf_counter() - started:.0f} s", flush=True
            )
        result, memory = predict(options, slide)
        rows.append((width, height, result, memory))
    bare, side = bare_rate(options.model, options.batch_size, options.bare_seconds)
    print(f"\nbare network: {bare:.1f} windows of {side} px a second, batches of {options.batch_size}")
    print("width height windows seconds megapixels/s device_busy of_bare of_bare_whole_command peak_GiB")
    for width, height, result, memory in rows:
        timing, windows = result["timing"], result["network"]["windows"]
        # Of the bare network's rate: while windows pass; and from opening the slide to the last file.
        share = windows / (timing["network_seconds"] - timing["compile_seconds"]) / bare
        whole = windows / timing["seconds"] / bare
        print(
            f"{width} {height} {windows} {timing['seconds']:.0f} {timing['megapixels_per_second']:.2f} "
            f"{timing['device_busy']:.3f} {share:.3f} {whole:.3f} {memory / 2**30:.2f}"
        )
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
