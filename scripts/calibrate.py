"""Measures the activation ranges that NanoDet's 8-bit form is made with, on a video and on virtual views of it.

    python scripts/calibrate.py [--video .cache/video/vtest.avi] [--frames 20] [--out models/nanodet_ranges.json]

The views differ in scale, brightness and white balance. The same video gives the same table on the same
kind of CPU and the same torch.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models.detector import ImageHW3  # noqa: E402  # the rooms lie beside this script's folder
from models.detectors import NANODET_SIZE, load_nanodet  # noqa: E402
from models.execution import resize  # noqa: E402
from models.nanodet import NANODET_RANGES, convolutions  # noqa: E402
from models.ranges import measure_ranges  # noqa: E402
from models.weights import WeightStore  # noqa: E402
from pipeline.virtual_cameras import four_quadrants, render  # noqa: E402

BLACK_AND_WHITE = tuple(np.full((64, 64, 3), level, np.uint8) for level in (0, 255))


def main() -> None:
    """Run over the video and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, default=ROOT / ".cache/video/vtest.avi")
    parser.add_argument("--frames", type=int, default=20, help="how many frames, spread over the video")
    parser.add_argument("--out", type=Path, default=NANODET_RANGES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in another order would end in other digits
    network = load_nanodet(WeightStore()).eval()
    batches = (upload(image) for image in images(arguments.video, arguments.frames))
    ranges = measure_ranges(network, list(convolutions(network)), batches)
    ranges.write(arguments.out)
    print(f"{arguments.out}: {len(ranges.convolutions)} convolutions, digest {ranges.digest[:12]}")


def upload(image: ImageHW3) -> torch.Tensor:
    """Return 1 x 3 x H x W, stretched as the detector does it."""
    return torch.from_numpy(resize(image, NANODET_SIZE)).permute(2, 0, 1)[None].float()


def images(video: Path, num_frames: int) -> Iterator[ImageHW3]:
    """Yield black, white, and each chosen frame as it is and as four cameras would see it."""
    yield from BLACK_AND_WHITE
    with av.open(str(video)) as container:
        step = max(1, container.streams.video[0].frames // num_frames)
        for index, picture in enumerate(container.decode(video=0)):
            if index % step == 0:
                frame = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
                yield frame
                yield from (
                    render(camera, frame) for camera in four_quadrants(frame.shape[1], frame.shape[0])
                )


if __name__ == "__main__":
    main()
