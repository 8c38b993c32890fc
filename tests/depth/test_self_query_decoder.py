import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.self_query_decoder import SelfQueryConfig, SelfQueryDecoder, check_map_size

# A map of 16 x 24 makes 4 x 6 = 24 tokens.
TINY = SelfQueryConfig(
    channels=8, embedding=16, patch=4, queries=10, bins=12, feed_forward=32, layers=2
)
LEARNED = dataclasses.replace(TINY, query_source="learned")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(config: SelfQueryConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in SelfQueryDecoder(config).parameters())


def features(h: int = 16, w: int = 24, B: int = 2) -> Tensor:
    return torch.randn(B, 8, h, w)


def tokens_in(net: SelfQueryDecoder, x: Tensor) -> Tensor:
    """What the transformer is given for a map."""
    seen: list[Tensor] = []
    handle = net.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("embedding", "patch", "bins", "queries", "feed_forward", "parameters"),
    [
        (32, 32, 64, 64, 1024, 3_738_816),  # SPIdepth at 320 x 1024
        (32, 32, 128, 128, 1024, 10_322_240),
        (32, 20, 128, 128, 1024, 9_683_264),  # SQLdepth's ResNet-50 at 320 x 1024, full and Lite
        (32, 20, 128, 128, 512, 9_550_144),
        (32, 16, 64, 64, 1024, 2_952_384),  # and at 192 x 640
        (32, 16, 64, 64, 512, 2_819_264),
        (64, 16, 256, 120, 1024, 17_049_856),
    ],
)
def test_parameter_counts_of_the_published_layers(
    embedding, patch, bins, queries, feed_forward, parameters
):
    config = SelfQueryConfig(embedding, embedding, patch, queries, bins, feed_forward)
    assert count(config) == parameters
    learned = dataclasses.replace(config, query_source="learned")
    assert count(learned) == parameters + queries * embedding


@pytest.mark.parametrize("config", [TINY, LEARNED])
@pytest.mark.parametrize("norm", ["linear", "softmax", "sigmoid"])
def test_depth_is_bounded_and_as_large_as_the_map(config, norm):
    net = SelfQueryDecoder(dataclasses.replace(config, norm=norm)).eval()
    depth = net(100 * features())
    assert depth.shape == (2, 1, 16, 24)
    assert depth.dtype == torch.float32
    assert 0.001 <= depth.min() < depth.max() <= 80


@pytest.mark.parametrize("norm", ["linear", "softmax", "sigmoid"])
def test_depth_is_the_mean_of_the_bins_middles(norm):
    """With biases alone, widths and weights are known: depth follows by hand."""
    net = SelfQueryDecoder(dataclasses.replace(TINY, norm=norm, min_depth=2.0, max_depth=10.0))
    raw, logits = torch.linspace(-1, 1, 12), torch.linspace(0, 3, 12)
    with torch.no_grad():
        for name, bias in (("widths.4", raw), ("logits", logits)):
            net.get_parameter(f"{name}.weight").zero_()
            net.get_parameter(f"{name}.bias").copy_(bias)
    positive = {"linear": raw.clamp(min=0) + 0.1, "softmax": raw.exp(), "sigmoid": raw.sigmoid()}
    shares = positive[norm] / positive[norm].sum()
    edges = [2.0]
    for share in shares.tolist():
        edges.append(edges[-1] + 8 * share)
    assert edges[-1] == pytest.approx(10)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    weights = logits.softmax(dim=0).tolist()
    expected = sum(m * p for m, p in zip(middles, weights, strict=True))
    depth = net.eval()(features())
    assert torch.allclose(depth, torch.full_like(depth, expected), rtol=1e-5)


def test_queries_are_the_first_tokens_that_come_out():
    net = SelfQueryDecoder(TINY).eval()
    x = features()
    change: dict[str, int] = {}

    def disturb(_module: object, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, change["token"]] += 1
        return output

    before = net(x)
    net.transformer.register_forward_hook(disturb)
    change["token"] = 10
    assert torch.equal(net(x), before)  # the eleventh of ten queries
    change["token"] = 9
    assert not torch.allclose(net(x), before, rtol=1e-4)


def test_learned_queries_stand_behind_the_tokens_and_see_the_whole_image():
    net = SelfQueryDecoder(LEARNED).eval()
    x = features()
    inside = tokens_in(net, x)
    assert inside.shape == (2, 24 + 10, 16)
    assert net.queries is not None
    assert torch.equal(inside[0, 24:], net.queries)
    queries = net.transformer(inside)[:, 24:]
    # Not one query ten times over, and not the same for every image.
    assert (queries[0, :, None] - queries[0, None]).norm(dim=-1)[~torch.eye(10).bool()].min() > 0.5
    assert (queries[0] - queries[1]).norm(dim=-1).min() > 1e-3
    bottom = x.clone()
    bottom[:, :, -4:] += 1
    changed = net.transformer(tokens_in(net, bottom))[:, 24:]
    assert (changed - queries).norm(dim=-1).min() > 1e-3


def test_learned_queries_may_outnumber_the_tokens():
    net = SelfQueryDecoder(LEARNED, map_size=(8, 8)).eval()
    assert net(features(8, 8)).shape == (2, 1, 8, 8)


def test_a_remainder_is_dropped_only_where_that_is_asked_for():
    with pytest.raises(InputError) as caught:
        SelfQueryDecoder(TINY)(features(18, 25))
    assert str(caught.value) == (
        "--patch: 4 leaves 2 rows and 1 columns of a map of 18x25; "
        "choose a divisor, or pass --drop-remainder"
    )
    net = SelfQueryDecoder(dataclasses.replace(TINY, drop_remainder=True)).eval()
    x = features(18, 25)
    assert net(x).shape == (2, 1, 18, 25)
    assert torch.equal(tokens_in(net, x), tokens_in(net, x[:, :, :16, :24]))


def test_an_image_does_not_depend_on_its_batch():
    net = SelfQueryDecoder(TINY).eval()
    x = features(B=3)
    alone = torch.cat([net(image[None]) for image in x])
    assert torch.allclose(net(x), alone, rtol=1e-5)


@pytest.mark.parametrize("config", [TINY, LEARNED])
def test_training_reaches_every_parameter(config):
    net = SelfQueryDecoder(config)
    net(features()).log().mean().backward()
    without = [
        n
        for n, p in net.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("config", [TINY, LEARNED])
def test_depth_has_no_staircase_under_autocast(config):
    net = SelfQueryDecoder(config).eval()
    x = features(64, 96, B=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth = net(x)
    assert depth.dtype == torch.float32
    # Rounded to bfloat16, depths between 32 and 64 are one of 128 values.
    assert len(depth.unique()) > 3000
    assert torch.allclose(depth, net(x), rtol=0.05)


@pytest.mark.parametrize(
    ("h", "w", "message"),
    [
        (
            *(8, 12),
            "--queries: a map of 8x12 makes 6 tokens of 4x4, fewer than 10 queries; choose fewer "
            "queries, smaller patches, larger images, or --query-source learned",
        ),
        (
            *(100, 84),
            "--patch: a map of 100x84 makes 525 tokens of 4x4, the table of positions has 500; "
            "choose larger patches or smaller images",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused_when_built_and_when_run(h, w, message):
    with pytest.raises(InputError) as caught:
        SelfQueryDecoder(TINY, map_size=(h, w))
    assert str(caught.value) == message
    with pytest.raises(InputError) as caught:
        SelfQueryDecoder(TINY)(features(h, w))
    assert str(caught.value) == message


def test_a_map_without_a_single_token_is_refused():
    config = dataclasses.replace(LEARNED, drop_remainder=True)
    with pytest.raises(InputError, match="--patch: a map of 3x24 makes 0 tokens of 4x4"):
        check_map_size(config, 3, 24)


def test_500_tokens_and_as_many_tokens_as_queries_still_fit():
    check_map_size(TINY, 100, 80)
    check_map_size(TINY, 8, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "--heads: 3 heads cannot share an embedding of 16"),
        ({"queries": 0}, "--queries: is 0; it must be at least 1"),
        ({"patch": -1}, "--patch: is -1"),
        ({"dropout": 1.0}, "--dropout: is 1"),
        ({"min_depth": 0.0}, "--min-depth: is 0 with --max-depth 80"),
        ({"min_depth": 90.0}, "--min-depth: is 90 with --max-depth 80"),
        ({"max_depth": float("nan")}, "--min-depth: is 0.001 with --max-depth nan"),
    ],
)
def test_senseless_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        SelfQueryDecoder(dataclasses.replace(TINY, **change))


@pytest.mark.parametrize("shape", [(2, 9, 16, 24), (8, 16, 24)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"map must be \(B, 8, h, w\), got") as caught:
        SelfQueryDecoder(TINY)(torch.zeros(shape))
    assert str(shape) in str(caught.value)
