"""From one map of features to depth: the Self Query Layer.

Wang et al., "SQLdepth: Generalizable Self-Supervised Fine-Structured Monocular Depth Estimation"
(AAAI 2024). Every pixel is compared with a number of queries that stand for parts of the image;
the comparisons give both bins of depth for the whole image and, in every pixel, their weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.numbers import at_least_float32


@dataclass(frozen=True, slots=True)
class SelfQueryConfig:
    """A Self Query Layer.

    Attributes:
        channels: channels C of the map.
        embedding: length E of tokens and queries; published with E = C.
        patch: side P in pixels of the map that make one token.
        queries: number Q of queries.
        bins: number of depths that are mixed (published as dim_out).
        feed_forward: width within the transformer; 512 in the Lite variant.
        heads: of the attention, a divisor of ``embedding``.
        layers: of the transformer.
        dropout: in the transformer, while training.
        positions: length of the table of positions: the largest number of tokens.
        norm: how the widths of the bins become positive with sum one: ``linear``, relu + 0.1 over
            the sum; ``softmax``; ``sigmoid`` over the sum.
        query_source: ``tokens``, the first Q tokens that come out of the transformer, as
            published: they are those of the image's top rows, often sky. ``learned``, Q vectors
            of their own that go through the transformer behind the image's tokens and see them
            all; any number of queries then fits any image.
        drop_remainder: leave rows and columns of the map that fill no whole patch out of the
            tokens (they get depth all the same), as published; off, such a map is refused.
        spacing: what the widths of the bins share out: ``linear``, the range of depth, as
            published; ``log``, that of its logarithm. A linear layer begins with half of
            ``max_depth`` everywhere, so far away that nothing seems to move and no image can teach
            it; a logarithmic one begins at the geometric mean of the bounds.
        min_depth: lower edge of the nearest bin, in scene units.
        max_depth: upper edge of the farthest bin.
    """

    channels: int = 32
    embedding: int = 32
    patch: int = 32
    queries: int = 64
    bins: int = 64
    feed_forward: int = 1024
    heads: int = 4
    layers: int = 4
    dropout: float = 0.1
    positions: int = 500
    norm: Literal["linear", "softmax", "sigmoid"] = "linear"
    query_source: Literal["tokens", "learned"] = "tokens"
    drop_remainder: bool = False
    spacing: Literal["linear", "log"] = "linear"
    min_depth: float = 0.001
    max_depth: float = 80.0


class SelfQueryDecoder(nn.Module):
    """A map to depth, bounded by ``min_depth`` and ``max_depth``.

    Attributes:
        config: how it was built.
    """

    def __init__(self, config: SelfQueryConfig, map_size: tuple[int, int] | None = None) -> None:
        """Build the layers.

        Args:
            config: what to build.
            map_size: (h, w) of the maps to come, if known: they are then checked now rather than
                when the first one comes.

        Raises:
            InputError: when the configuration cannot be met, or does not fit ``map_size``.
        """
        super().__init__()
        _check_config(config)
        if map_size is not None:
            check_map_size(config, *map_size)
        self.config = config
        E, Q = config.embedding, config.queries
        self.patches = nn.Conv2d(config.channels, E, config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.rand(config.positions, E))
        # Of the size that layers of the transformer give, so that they differ from the start.
        self.queries = nn.Parameter(torch.randn(Q, E)) if config.query_source == "learned" else None
        layer = nn.TransformerEncoderLayer(
            E, config.heads, config.feed_forward, config.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.pixels = nn.Conv2d(config.channels, E, 3, padding=1)
        self.widths = nn.Sequential(
            nn.Linear(Q * E, 16 * Q),
            nn.LeakyReLU(0.01),
            nn.Linear(16 * Q, 256),
            nn.LeakyReLU(0.01),
            nn.Linear(256, config.bins),
        )
        self.logits = nn.Conv2d(Q, config.bins, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Depth of a batch of maps.

        Args:
            features: (B, C, h, w).

        Returns:
            (B, 1, h, w) depth along z in float32 at least, in scene units.

        Raises:
            ValueError: when the shape is another one.
            InputError: when a map of this size makes too few or too many tokens, or has rows or
                columns left over.
        """
        if features.ndim != 4 or features.shape[1] != self.config.channels:
            wanted = f"(B, {self.config.channels}, h, w)"
            raise ValueError(f"map must be {wanted}, got {tuple(features.shape)}")
        h, w = features.shape[-2:]
        check_map_size(self.config, h, w)
        queries = self._queries(features)
        pixels = self.pixels(features).flatten(2)
        # The self-cost volume: one similarity per query and pixel, (B, Q, h w).
        volume = queries @ pixels
        centres = self._centres(volume, pixels)
        logits = at_least_float32(self.logits(volume.unflatten(2, (h, w))))
        # Not a matrix product: autocast would round depth to the eight bits of bfloat16.
        depth = (logits.softmax(dim=1) * centres[:, :, None, None]).sum(dim=1, keepdim=True)
        return depth.exp() if self.config.spacing == "log" else depth

    def _queries(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the queries (B, Q, E)."""
        tokens = self.patches(features).flatten(2).transpose(1, 2)
        tokens = tokens + self.positions[: tokens.shape[1]]
        if self.queries is None:
            return self.transformer(tokens)[:, : self.config.queries]
        own = self.queries.to(tokens.dtype).expand(len(tokens), -1, -1)
        return self.transformer(torch.cat([tokens, own], dim=1))[:, -self.config.queries :]

    def _centres(self, volume: Tensor, pixels: Tensor) -> Tensor:
        """Depths, or their logarithms, at the middle of the bins, (B, bins), rising."""
        summaries = volume.softmax(dim=2).to(pixels.dtype) @ pixels.transpose(1, 2)
        shares = _shares(at_least_float32(self.widths(summaries.flatten(1))), self.config.norm)
        near, far = self.config.min_depth, self.config.max_depth
        if self.config.spacing == "log":
            near, far = math.log(near), math.log(far)
        upper = near + (far - near) * shares.cumsum(dim=1)
        lower = F.pad(upper[:, :-1], (1, 0), value=near)
        return (lower + upper) / 2


def check_map_size(config: SelfQueryConfig, h: int, w: int) -> None:
    """Whether maps of h x w fit the layer.

    Raises:
        InputError: when there are rows or columns left over that are not to be dropped, more
            tokens than positions, fewer tokens than queries, or none at all.
    """
    P = config.patch
    if (h % P or w % P) and not config.drop_remainder:
        problem = f"{P} leaves {h % P} rows and {w % P} columns of a map of {h}x{w}"
        raise InputError("--patch", problem, "choose a divisor, or pass --drop-remainder")
    tokens = (h // P) * (w // P)
    made = f"a map of {h}x{w} makes {tokens} tokens of {P}x{P}"
    if tokens > config.positions:
        problem = f"{made}, the table of positions has {config.positions}"
        raise InputError("--patch", problem, "choose larger patches or smaller images")
    if tokens < 1:
        raise InputError("--patch", made, "choose smaller patches or larger images")
    if config.query_source == "tokens" and tokens < config.queries:
        remedy = "choose fewer queries, smaller patches, larger images, or --query-source learned"
        raise InputError("--queries", f"{made}, fewer than {config.queries} queries", remedy)


def _shares(x: Tensor, norm: str) -> Tensor:
    """(B, bins) of any sign to positive shares of sum one."""
    if norm == "softmax":
        return x.softmax(dim=1)
    # The 0.1 keeps a gradient where all are negative, and bins from closing.
    x = x.relu() + 0.1 if norm == "linear" else x.sigmoid()
    return x / x.sum(dim=1, keepdim=True)


def _check_config(config: SelfQueryConfig) -> None:
    numbers = {
        "--map-channels": config.channels,
        "--embedding": config.embedding,
        "--patch": config.patch,
        "--queries": config.queries,
        "--bins": config.bins,
        "--feed-forward": config.feed_forward,
        "--heads": config.heads,
        "--layers": config.layers,
        "--positions": config.positions,
    }
    for flag, number in numbers.items():
        if number < 1:
            raise InputError(flag, f"is {number}", "it must be at least 1")
    if config.embedding % config.heads:
        problem = f"{config.heads} heads cannot share an embedding of {config.embedding}"
        raise InputError("--heads", problem, "choose a divisor")
    if not 0 <= config.dropout < 1:
        raise InputError("--dropout", f"is {config.dropout:g}", "it must be 0 <= dropout < 1")
    if not 0 < config.min_depth < config.max_depth < float("inf"):
        problem = f"is {config.min_depth:g} with --max-depth {config.max_depth:g}"
        raise InputError("--min-depth", problem, "it must be 0 < min-depth < max-depth")
