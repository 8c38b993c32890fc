"""Measurements of ``python -m vo.tools.benchmark``: each against an honest baseline."""
