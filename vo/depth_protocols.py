"""How papers compare depth with the truth, one description for each table.

The published code behind these tables differs in ways that its papers do not tell; what is written
here was read in that code. Each is a starting point: `dataclasses.replace` makes the variant that
a method used, for example ``resize="depth"`` for SQLdepth and SPIdepth on KITTI, or
``scaling="none"`` for what was trained in metres.
"""

from __future__ import annotations

from vo.depth_scores import Box, DepthProtocol
from vo.protocol import DepthProtocolName

KITTI_EIGEN = DepthProtocol("kitti-eigen", crop="garg", truth="velodyne-x")
"""697 images (Eigen et al., NeurIPS 2014) against raw laser scans, in the crop of Garg et al. (ECCV
2016) up to 80 m, as in monodepth2 (Godard et al., ICCV 2019)."""

KITTI_EIGEN_BENCHMARK = DepthProtocol("kitti-eigen-benchmark", only_within=False, truth="improved")
"""The 652 of these images that have an annotated depth map (Uhrig et al., 3DV 2017): every pixel of
it counts, without crop; predictions end at 80 m."""

CITYSCAPES = DepthProtocol(
    "cityscapes",
    crop="cityscapes",
    image_box=Box(2048, 1024, top=0, bottom=768, left=0, right=2048),
    truth_box=Box(2048, 1024, top=0, bottom=768, left=0, right=2048),
)
"""1525 test images as in manydepth (Watson et al., CVPR 2021): the bottom quarter, where the car is
seen, is cut off both image and truth, and of the rest rows 256 to 767 and columns 192 to 1855
count."""

NYU = DepthProtocol("nyu", crop="nyu", max_depth=10.0, resize="depth")
"""654 test images of NYU Depth v2: the network sees the whole image, rows 45 to 470 and columns 41
to 600 count, up to 10 m (SC-Depth, SQLdepth). SC-Depth's nearest depth is 0.1 m."""

NYU_CROP_FIRST = DepthProtocol(
    "nyu-crop-first",
    max_depth=10.0,
    only_within=False,
    image_box=Box(640, 480, top=44, bottom=471, left=40, right=601),
    truth_box=Box(640, 480, top=44, bottom=471, left=40, right=601),
)
"""The same images as in P2Net (Yu et al., ECCV 2020) and its descendants: image and truth are cut
to rows 44 to 470 and columns 40 to 600 before the network sees them, and all of that counts. Its
numbers cannot be compared with those of ``nyu``."""

MAKE3D = DepthProtocol(
    "make3d",
    max_depth=70.0,
    nearest=True,
    image_box=Box(1704, 2272, top=710, bottom=1562, left=0, right=1704),
    truth_box=Box(305, 55, top=17, bottom=38, left=0, right=305),
)
"""134 test images of Make3D (Saxena et al., PAMI 2009), trained on KITTI: the central part of the
image, twice as wide as high, true depths below 70 m (C1). log10 is the mean of |log10 g - log10 p|,
as in the literature; monodepth2 reports the root of the mean square, which ``log10_rms`` gives."""

STREET = DepthProtocol("street")
"""The rendered street, and any sequence that brings a dense true depth: every pixel up to 80 m."""

PROTOCOLS: dict[DepthProtocolName, DepthProtocol] = {
    "kitti-eigen": KITTI_EIGEN,
    "kitti-eigen-benchmark": KITTI_EIGEN_BENCHMARK,
    "cityscapes": CITYSCAPES,
    "nyu": NYU,
    "nyu-crop-first": NYU_CROP_FIRST,
    "make3d": MAKE3D,
    "street": STREET,
}
