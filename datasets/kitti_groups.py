"""Groups of KITTI raw's drives that published trainings and evaluations are made of."""

from __future__ import annotations


def _drives(**numbers: str) -> tuple[str, ...]:
    """Names of drives by their date, ``d09_26="1 2"``."""
    return tuple(
        f"2011_{date[1:]}_drive_{int(number):04d}_sync"
        for date, words in numbers.items()
        for number in words.split()
    )


ROADS = _drives(
    d09_26="1 2 5 9 11 13 14 15 17 18 19 20 22 23 27 28 29 32 35 36 39 46 48 51 52 56 57 59 60 61 "
    "64 70 79 84 86 87 91 93 95 96 101 104 106 113 117",
    d09_28="1 2",
    d09_29="4 26 71",
    d09_30="16 18 20 27 28 33 34",
    d10_03="27 34 42 47",
)
"""The 61 drives of KITTI's categories City, Residential and Road."""

EIGEN_TEST = _drives(
    d09_26="2 9 13 20 23 27 29 36 46 48 52 56 59 64 84 86 93 96 101 106 117",
    d09_28="2",
    d09_29="71",
    d09_30="16 18 27",
    d10_03="27 47",
)
"""The 28 drives that the test images of Eigen et al. (NeurIPS 2014) were taken from."""

EIGEN_TRAINING = tuple(drive for drive in ROADS if drive not in EIGEN_TEST)
"""The other 33, which Zhou et al. (CVPR 2017) and monodepth2 train on."""

DEPTH_VAL = _drives(
    d09_26="2 5 13 20 23 36 79 95 113",
    d09_28="37",
    d09_29="26",
    d09_30="16",
    d10_03="47",
)
"""The 13 drives in ``val`` of KITTI's annotated depth (Uhrig et al., 3DV 2017)."""

DEPTH_VAL_UNSEEN = tuple(drive for drive in DEPTH_VAL if drive not in EIGEN_TRAINING)
"""The 8 of them that no training on `EIGEN_TRAINING` has seen."""

CLEAN = tuple(drive for drive in DEPTH_VAL if drive in EIGEN_TEST)
"""The 7 Eigen test drives that are also in no list made of KITTI's annotated ``train``, such as the
one published with SPIdepth under the name eigen_zhou."""
