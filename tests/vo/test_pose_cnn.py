import pytest
import torch

from vo.pose_cnn import PoseCNN, PoseCNNConfig


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_parameter_count_of_the_published_network():
    assert sum(p.numel() for p in PoseCNN(PoseCNNConfig()).parameters()) == 1_586_774


def test_first_guesses_are_small_and_one_per_pair():
    net = PoseCNN(PoseCNNConfig()).eval()
    with torch.inference_mode():
        motion = net(*torch.rand(2, 3, 3, 64, 96))
    assert motion.axis_angle.shape == motion.translation.shape == (3, 3)
    for part in (motion.axis_angle, motion.translation):
        assert 0 < part.abs().max() < 0.05
    assert motion.matrix().shape == (3, 4, 4)


def test_seven_convolutions_halve_the_size_and_the_motion_is_their_mean():
    net = PoseCNN(PoseCNNConfig(rotation_scale=0.01, translation_scale=2.0)).eval()
    seen: list[torch.Tensor] = []
    net.motion.register_forward_hook(lambda _m, _i, output: seen.append(output))
    motion = net(*torch.rand(2, 1, 3, 192, 640))
    assert seen[0].shape == (1, 6, 2, 5)  # 192 x 640 over 128, rounded up
    mean = seen[0].mean(dim=(2, 3))
    assert torch.allclose(motion.axis_angle, 0.01 * mean[:, :3])
    assert torch.allclose(motion.translation, 2 * mean[:, 3:])


def test_every_convolution_is_followed_by_a_relu():
    net = PoseCNN(PoseCNNConfig()).eval()
    inputs: list[torch.Tensor] = []
    for layer in [*list(net.convolutions)[1:], net.motion]:
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    net(*torch.rand(2, 1, 3, 128, 128))
    assert len(inputs) == 7
    assert all((x >= 0).all() and (x == 0).any() for x in inputs)


def test_the_order_of_the_frames_matters():
    net = PoseCNN(PoseCNNConfig()).eval()
    first, second = torch.rand(2, 1, 3, 64, 64)
    there, back = net(first, second), net(second, first)
    assert not torch.allclose(there.translation, back.translation, rtol=1e-3)


def test_training_reaches_every_parameter():
    net = PoseCNN(PoseCNNConfig())
    motion = net(*torch.rand(2, 2, 3, 64, 64))
    (motion.matrix()[:, :3].square().sum() + motion.axis_angle.sum()).backward()
    without = [
        n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []


def test_motion_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        motion = PoseCNN(PoseCNNConfig())(*torch.rand(2, 2, 3, 64, 64))
    assert motion.translation.dtype == torch.float32


def test_wrong_shapes_are_named():
    net = PoseCNN(PoseCNNConfig())
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 64\) and \(1, 3, 64, 32\)"):
        net(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 32))
    with pytest.raises(ValueError, match=r"\(3, 64, 64\)"):
        net(torch.rand(3, 64, 64), torch.rand(3, 64, 64))
