"""What a process that is to be harmed has loaded before it is forked: a second instead of ten."""

import importlib
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages, at import
    for _name in (
        "torch.utils.tensorboard",
        "vo.checkpoint",
        "vo.datasets.street",
        "vo.evaluation",
        "vo.odometry",
        "vo.tools.data",
        "vo.tools.evaluate",
        "vo.tools.report",
        "vo.tools.reporting.compare",
        "vo.tools.run",
        "vo.tools.running.record",
        "vo.tools.running.result",
        "vo.tools.train",
        "vo.tools.training.log",
        "vo.training.trainer",
    ):
        importlib.import_module(_name)
