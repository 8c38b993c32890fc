"""Published weights of monodepth2, SQLdepth and SPIdepth: read into a model, and written back.

`files` opens what others have saved, without running anything in it; `architecture` tells from
names and shapes which networks they are; `names` says which tensor is which of ours; `importing`
and `exporting` put the three together.
"""

from __future__ import annotations

from typing import Literal

Layout = Literal["monodepth2", "sqldepth", "spidepth"]
"""Folders that the published systems save. SQLdepth and SPIdepth differ in the pose network."""

Source = Literal["monodepth2", "sqldepth", "spidepth", "spidepth-finetuned"]
"""What weights can be read from: such a folder, or the one file of a fine-tuned depth network."""
