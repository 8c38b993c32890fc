"""Training: trajectories in, trajectories validated, checkpoints out.

`objective` is what is minimised, `supervision` a start from true depth and poses, `trainer` the
loop, `validation` the odometry on whole drives that chooses the best weights.
"""
