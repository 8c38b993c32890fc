"""Where the refinement starts. Commands list the choices before PyTorch is loaded."""

from __future__ import annotations

from typing import Literal

FirstGuess = Literal["network", "motion"]
"""At what the pose network says of the pair, or at the motion before, which saves the network, and
with it all raw poses."""
