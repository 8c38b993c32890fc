"""Scale-aligned visual odometry: trajectory and depth of a monocular video in one common scale."""

__version__ = "0.1.0"
