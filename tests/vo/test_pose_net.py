import numpy as np
import pypose as pp
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.pose_net import PoseConfig, PoseNet, PoseOutput

TINY = PoseConfig(EncoderConfig("mobilenetv3_small_050", in_channels=6), hidden=32)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_motion(B: int = 3, size: float = 0.7) -> PoseOutput:
    return PoseOutput(
        size * torch.randn(B, 3, dtype=torch.float64), torch.randn(B, 3, dtype=torch.float64)
    )


# The motion as a matrix and as a Lie group element ----------------------------------------------


def test_matrix_is_rodrigues_and_translation():
    motion = random_motion()
    expected = np.tile(np.eye(4), (3, 1, 1))
    expected[:, :3, :3] = Rotation.from_rotvec(motion.axis_angle.numpy()).as_matrix()
    expected[:, :3, 3] = motion.translation.numpy()
    assert np.abs(motion.matrix().numpy() - expected).max() < 1e-12
    pose = motion.se3()
    assert isinstance(pose, pp.LieTensor)
    assert pose.shape == (3, 7)
    assert pose.dtype == torch.float64
    assert np.abs(pose.matrix().numpy() - expected).max() < 1e-12


def test_no_motion_is_the_identity_exactly():
    still = PoseOutput(torch.zeros(2, 3), torch.zeros(2, 3))
    assert torch.equal(still.matrix(), torch.eye(4).repeat(2, 1, 1))
    assert torch.equal(still.inverse().matrix(), torch.eye(4).repeat(2, 1, 1))


def test_inverse_undoes_the_motion():
    motion = random_motion()
    there, back = motion.matrix(), motion.inverse().matrix()
    assert torch.allclose(there @ back, torch.eye(4).double(), atol=1e-12)
    assert torch.allclose(back @ there, torch.eye(4).double(), atol=1e-12)
    assert torch.allclose(motion.inverse().inverse().matrix(), there, atol=1e-12)


def test_direction_of_a_drive_forward():
    """A point 10 ahead is 9 ahead after driving 1: T_second_first has t_z = -1."""
    motion = PoseOutput(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -1.0]]))
    point = torch.tensor([0.0, 0.0, 10.0, 1.0])
    assert (motion.matrix()[0] @ point).tolist() == [0, 0, 9, 1]


@pytest.mark.parametrize("size", [0.7, 1e-3, 1e-8, 0.0])
@pytest.mark.parametrize("way", ["matrix", "se3", "inverse"])
def test_gradients_equal_finite_differences(size, way):
    """At zero rotation too. PyPose's shortcuts fail here: they are off by 0.66 of the gradient."""
    points = torch.randn(5, 3, dtype=torch.float64)

    def outcome(axis_angle: Tensor, translation: Tensor) -> Tensor:
        motion = PoseOutput(axis_angle, translation)
        if way == "se3":
            return motion.se3().unsqueeze(1).Act(points)  # type: ignore[return-value]
        return motion.matrix() if way == "matrix" else motion.inverse().matrix()

    motion = random_motion(2, size)
    inputs = (motion.axis_angle.requires_grad_(), motion.translation.requires_grad_())
    assert torch.autograd.gradcheck(outcome, inputs)


def test_the_logarithm_of_se3_has_the_right_gradient():
    """What a loss on the pose takes: Log of the difference to a reference."""
    reference = random_motion(2).se3()

    def distance(axis_angle: Tensor, translation: Tensor) -> Tensor:
        pose = PoseOutput(axis_angle, translation).se3()
        return (reference.Inv() @ pose).Log().tensor()

    motion = random_motion(2, 0.4)
    inputs = (motion.axis_angle.requires_grad_(), motion.translation.requires_grad_())
    assert torch.autograd.gradcheck(distance, inputs)


# The network ------------------------------------------------------------------------------------


def test_parameter_counts_of_the_published_network():
    net = PoseNet(PoseConfig())
    assert sum(p.numel() for p in net.decoder.parameters()) == 1_314_572
    spidepth = PoseNet(PoseConfig(motions=1))
    assert sum(p.numel() for p in spidepth.parameters()) == 12_498_950


def test_first_guesses_are_small_and_one_per_pair():
    net = PoseNet(PoseConfig()).eval()
    with torch.inference_mode():
        motion = net(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
    assert motion.axis_angle.shape == motion.translation.shape == (2, 3)
    # With t of a few centimetres nothing is thrown out of view before learning has begun.
    for part in (motion.axis_angle, motion.translation):
        assert 0 < part.abs().max() < 0.05
    assert motion.matrix().shape == (2, 4, 4)
    assert motion.matrix().dtype == torch.float32


def test_the_order_of_the_frames_matters_and_the_second_motion_is_unused():
    net = PoseNet(TINY).eval()
    first, second = torch.rand(2, 1, 3, 64, 64)
    there, back = net(first, second), net(second, first)
    assert not torch.allclose(there.translation, back.translation, rtol=1e-3)
    with torch.no_grad():
        net.get_parameter("decoder.6.weight")[6:] = 1e3
    assert torch.equal(net(first, second).translation, there.translation)


def test_training_reaches_every_parameter():
    net = PoseNet(TINY)
    motion = net(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    (motion.matrix()[:, :3].square().sum() + motion.axis_angle.sum()).backward()
    without = [
        n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []


@pytest.mark.parametrize("backbone", ["convnext_atto", "efficientnet_b0", "mobilenetv3_small_100"])
def test_other_backbones(backbone):
    net = PoseNet(PoseConfig(EncoderConfig(backbone, in_channels=6))).eval()
    with torch.inference_mode():
        assert net(*torch.rand(2, 1, 3, 64, 96)).translation.shape == (1, 3)


def test_motion_is_float32_under_autocast():
    net = PoseNet(TINY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        motion = net(*torch.rand(2, 2, 3, 64, 64))
    assert motion.translation.dtype == torch.float32


def test_wrong_shapes_and_settings_are_named():
    net = PoseNet(TINY)
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 64\) and \(1, 3, 64, 32\)"):
        net(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 32))
    with pytest.raises(ValueError, match=r"\(3, 64, 64\)"):
        net(torch.rand(3, 64, 64), torch.rand(3, 64, 64))
    with pytest.raises(ValueError, match="6 channels, got in_channels 3"):
        PoseNet(PoseConfig(EncoderConfig("resnet18")))
    with pytest.raises(InputError, match="--pose: hidden 0"):
        PoseNet(PoseConfig(hidden=0))
