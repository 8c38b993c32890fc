"""Make3D (Saxena et al., PAMI 2009): 134 test images with depth of a laser scanner.

```
Test134/img-TAIL.jpg                      1704x2272 pixels
Gridlaserdata/depth_sph_corr-TAIL.mat     Position3DGrid: 55x305x4, the last channel is the depth
```

An image and its depth have the same TAIL; depths of other images (those for training have the
same names) may lie beside them.
"""

from __future__ import annotations

from pathlib import Path

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.images import list_images, read_image
from vo.datasets.matlab import read_matlab
from vo.datasets.split_list import ListedFrame
from vo.datasets.stills import Still, Stills, check_pixels, known_depth

IMAGES, DEPTHS = "Test134", "Gridlaserdata"
IMAGE_SIZE = (1704, 2272)
GRID = (55, 305, 4)
COUNT = 134
_PREFIX = "img-"


def is_make3d(data: Path) -> bool:
    """Whether a folder holds the test images or their depth."""
    return (data / IMAGES).is_dir() or (data / DEPTHS).is_dir()


def open_make3d(data: Path) -> Stills:
    """The test images in the natural order of their names, numbered from 0.

    Raises:
        InputError: when a folder or the depth of an image is missing; when a frame is read, if a
            file is damaged or has another size.
    """
    for folder in (IMAGES, DEPTHS):
        if not (data / folder).is_dir():
            remedy = f"unpack Make3D's test images to {IMAGES} and their depth to {DEPTHS}"
            raise InputError(data / folder, "no such folder", remedy)
    found = list_images(data / IMAGES)
    images = [path for path in found if path.name.startswith(_PREFIX)]
    if not images:
        raise InputError(data / IMAGES, "holds no img-*.jpg", "unpack Make3D's test images there")
    depths = [depth_file(data, image) for image in images]
    for image, depth in zip(images, depths, strict=True):
        if not depth.is_file():
            problem = f"is missing, the depth of {image.name}"
            raise InputError(depth, problem, "add it, or remove the image")
    frames = tuple(ListedFrame(IMAGES, number) for number in range(len(images)))
    return Stills(IMAGES, frames, lambda i: _read_still(images[i], depths[i]))


def depth_file(data: Path, image: Path) -> Path:
    """Where the depth of an image lies."""
    return data / DEPTHS / f"depth_sph_corr-{image.stem[len(_PREFIX) :]}.mat"


def read_grid(path: Path) -> Array:
    """Depth of a laser grid, (55, 305) float32 metres, 0 where unknown.

    Raises:
        InputError: when the file is damaged or holds another grid.
    """
    grid = read_matlab(path, "Position3DGrid")
    if grid.shape != GRID:
        problem = f"Position3DGrid is {grid.shape}, not {GRID}"
        raise InputError(path, problem, "give the file as it was published")
    return known_depth(grid[..., 3])


def _read_still(image_path: Path, depth_path: Path) -> Still:
    image = read_image(image_path)
    check_pixels(image, IMAGE_SIZE, image_path)
    return Still(image, read_grid(depth_path))
