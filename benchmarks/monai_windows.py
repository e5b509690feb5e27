"""The same windows through this project's engine and through MONAI's `sliding_window_inference`.

    python benchmarks/monai_windows.py [--size 1520] [--batch_size 4] [--repeats 3]

Both run a full-size DeepLab v3+ on ResNet-50 with random weights, float32, on a square picture in memory: windows of
320 pixels, a quarter of overlap, blended with weights that fall towards the border. The two networks have the same
layers (benchmarks/pytorch_step.py), not the same weights: it is the time that is compared. Needs PyTorch and MONAI
(`pip install torch monai`). Prints the least and the median
seconds of each, compilation and warm-up left out, and of the bare networks on the same windows.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytorch_step
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference

from crcfp_jax.blending.programs import window_mesh
from crcfp_jax.models.encoders.pixels import IMAGENET, normalise
from crcfp_jax.models.network import Network
from crcfp_jax.slides.engine import Engine, Job
from crcfp_jax.slides.strips import slab_height
from data_pipelines.tiling import Tiling, choose_windows, window_step

SIDE, OVERLAP, CLASSES = 320, 0.25, 5


class Picture:
    """A canvas in memory."""

    def __init__(self, pixels: np.ndarray):
        self.pixels, self.size = pixels, pixels.shape[:2]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.pixels[top : top + height, left : left + width]


def ours(pixels: np.ndarray, batch_size: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """Functions that predict the picture, and run the bare network on as many windows; they return the windows."""
    network = Network(CLASSES, "resnet50", decoder="v3plus", output_stride=16, projection_dim=0)
    keys = jax.random.split(jax.random.key(0), 1)
    variables = network.init(jax.random.key(0), np.zeros((1, SIDE, SIDE, 3), np.float32), keys, method="initialise")

    @jax.jit
    def forward(variables, windows):
        return {
            "probabilities": jax.nn.softmax(network.apply(variables, normalise(windows, network.pixels), train=False))
        }

    tiling = Tiling(*pixels.shape[:2], SIDE, window_step(SIDE, OVERLAP))
    windows = choose_windows(tiling, lambda top, left: True)
    count = len(windows) ** 2 // batch_size

    def run() -> int:
        job = Job(
            canvas=Picture(pixels),
            tiling=tiling,
            windows=windows,
            output=pixels.shape[:2],
            channels={"probabilities": CLASSES},
            gives=("classes",),
            sink=lambda rows, arrays: None,
            slab_height=slab_height(tiling.width),
        )
        mesh = window_mesh(jax.local_devices()[:1])
        with (
            ThreadPoolExecutor(2) as pool,
            Engine(
                lambda batch: forward(variables, batch), mesh=mesh, side=SIDE, batch_size=batch_size, pool=pool
            ) as engine,
        ):
            timing = engine.send(job)
            engine.flush()
            return timing.result().windows

    def bare() -> int:
        batch = np.broadcast_to(pixels[:SIDE, :SIDE], (batch_size, SIDE, SIDE, 3))
        jax.block_until_ready([forward(variables, batch) for _ in range(count)])
        return count * batch_size

    return run, bare


def monai(pixels: np.ndarray, batch_size: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """The same in PyTorch; uint8 goes to the device once, as a whole."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = pytorch_step.Network(CLASSES).eval().to(device, memory_format=torch.channels_last)
    mean, deviation = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in vars(IMAGENET).values())
    count = len(Tiling(*pixels.shape[:2], SIDE, window_step(SIDE, OVERLAP)).tops) ** 2 // batch_size
    seen = 0

    def forward(windows: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(windows)
        images = ((windows / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)
        logits = network.classifier(network.encode(images))
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False).softmax(1)

    @torch.inference_mode()
    def run() -> int:
        nonlocal seen
        seen = 0
        image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float()
        sliding_window_inference(image, SIDE, batch_size, forward, overlap=OVERLAP, mode="gaussian").cpu()
        return seen

    @torch.inference_mode()
    def bare() -> int:
        window = torch.from_numpy(pixels[:SIDE, :SIDE]).to(device).permute(2, 0, 1).float()
        outputs = [forward(window.expand(batch_size, -1, -1, -1)) for _ in range(count)]
        outputs[-1].cpu()
        return count * batch_size

    return run, bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1520, help="pixels of the picture's side; 1520 gives 36 windows")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (options.size, options.size, 3), dtype=np.uint8)
    runs = {}
    runs["crcfp_jax"], runs["its_network"] = ours(pixels, options.batch_size)
    runs["MONAI"], runs["PyTorch_network"] = monai(pixels, options.batch_size)
    counts = {name: run() for name, run in runs.items()}  # compiles and warms up
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):  # in turn, so that whatever else the machine does meets both
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    print(f"{options.size} x {options.size} pixels, batches of {options.batch_size}, {jax.default_backend()}")
    print("what windows least_s median_s windows/s")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name} {counts[name]} {min(seconds):.2f} {median:.2f} {counts[name] / median:.2f}")


if __name__ == "__main__":
    main()
