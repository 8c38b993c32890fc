import pytest
import torch
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.channel_pruning import prune_level
from vo.depth.disparity_decoder import DisparityDecoder

CHANNELS, STRIDES = (6, 8, 10), (2, 4, 8)
WIDTHS, LEVEL, KEPT = (4, 5, 12), 2, 7


def features(count: int = 12) -> list[Tensor]:
    """Channels that tell three things between them, as those of real images hang together."""
    generator = torch.Generator().manual_seed(1)
    maps = []
    for c, s in zip(CHANNELS, STRIDES, strict=True):
        told = torch.randn(count, 3, 64 // s, 96 // s, generator=generator)
        mixed = torch.einsum("bthw,ct->bchw", told, torch.randn(c, 3, generator=generator))
        maps.append(mixed + 0.1 * torch.randn(mixed.shape, generator=generator))
    return maps


def decoder(widths: tuple[int, ...] = WIDTHS) -> DisparityDecoder:
    torch.manual_seed(0)
    return DisparityDecoder(CHANNELS, STRIDES, widths, scales=2).eval()


def pruned(trained: DisparityDecoder, state: dict[str, Tensor], channels: int) -> DisparityDecoder:
    smaller = decoder((*WIDTHS[:LEVEL], channels))
    smaller.load_state_dict(state)
    return smaller


def test_channels_that_repeat_others_go_without_a_trace():
    """Twelve channels of which five are copies: seven say the same."""
    trained = decoder()
    with torch.no_grad():
        for layer in (trained.narrow[LEVEL], trained.fuse[LEVEL]):
            layer.weight[KEPT:] = layer.weight[: WIDTHS[LEVEL] - KEPT]
            layer.bias[KEPT:] = layer.bias[: WIDTHS[LEVEL] - KEPT]
    state, errors = prune_level(trained, features(), LEVEL, KEPT)
    assert max(errors) < 1e-5
    smaller = pruned(trained, state, KEPT)
    with torch.inference_mode():
        for before, after in zip(trained(features()), smaller(features()), strict=True):
            torch.testing.assert_close(after, before, rtol=0, atol=2e-3)


def test_a_channel_that_nobody_listens_to_is_the_first_to_go():
    trained = decoder()
    with torch.no_grad():
        trained.fuse[LEVEL].weight[:, 3] = 0
        trained.narrow[LEVEL - 1].weight[:, 9] = 0
    state, errors = prune_level(trained, features(), LEVEL, WIDTHS[LEVEL] - 1)
    kept = [c for c in range(WIDTHS[LEVEL]) if c != 3]
    torch.testing.assert_close(state[f"narrow.{LEVEL}.bias"], trained.narrow[LEVEL].bias[kept])
    assert max(errors) < 1e-5


def test_fitted_weights_are_better_than_those_that_were_there():
    trained = decoder()
    state, errors = prune_level(trained, features(), LEVEL, KEPT)
    assert all(0 < error < 0.5 for error in errors)
    assert state[f"fuse.{LEVEL}.weight"].shape == (KEPT, KEPT + CHANNELS[1], 3, 3)
    smaller, cut = pruned(trained, state, KEPT), decoder((*WIDTHS[:LEVEL], KEPT))
    first = list(range(KEPT))
    names = {f"narrow.{LEVEL}.weight", f"narrow.{LEVEL}.bias", f"fuse.{LEVEL}.bias"}
    plain = {k: v[first] if k in names else v for k, v in trained.state_dict().items()}
    inputs = [*first, *range(WIDTHS[LEVEL], WIDTHS[LEVEL] + CHANNELS[1])]
    plain[f"fuse.{LEVEL}.weight"] = plain[f"fuse.{LEVEL}.weight"][first][:, inputs]
    plain[f"narrow.{LEVEL - 1}.weight"] = plain[f"narrow.{LEVEL - 1}.weight"][:, first]
    cut.load_state_dict(plain)
    with torch.inference_mode():
        before = trained(features())[0]
        error = (smaller(features())[0] - before).square().mean()
        assert error < 0.5 * (cut(features())[0] - before).square().mean()


@pytest.mark.parametrize(
    ("level", "channels", "flag"),
    [(1, 3, "--level"), (3, 3, "--level"), (2, 12, "--channels"), (2, 0, "--channels")],
)
def test_what_cannot_be_pruned_is_refused(level, channels, flag):
    with pytest.raises(InputError) as refused:
        prune_level(decoder(), features(2), level, channels)
    assert refused.value.where == flag
