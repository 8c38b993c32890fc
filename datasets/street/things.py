"""Houses, trees, cars and what else stands beside a road, each around its own origin, z up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.street.materials import Look, Material
from vo.datasets.street.mesh import UP, Builder, Mesh, blob, join

_WALLS = (
    (0.72, 0.66, 0.52), (0.80, 0.76, 0.68), (0.62, 0.48, 0.36), (0.70, 0.60, 0.44),
    (0.55, 0.60, 0.58), (0.78, 0.70, 0.62), (0.66, 0.42, 0.34), (0.86, 0.84, 0.80),
    (0.50, 0.46, 0.42), (0.74, 0.72, 0.58),
)  # fmt: skip
_BRICKS = ((0.52, 0.24, 0.17), (0.45, 0.28, 0.20), (0.60, 0.46, 0.34), (0.36, 0.22, 0.18))
_ROOFS = ((0.50, 0.20, 0.13), (0.42, 0.22, 0.15), (0.24, 0.23, 0.24), (0.34, 0.20, 0.16))
_ACCENTS = (
    (0.10, 0.22, 0.14), (0.30, 0.10, 0.08), (0.12, 0.18, 0.30), (0.35, 0.30, 0.24),
    (0.22, 0.14, 0.09), (0.40, 0.34, 0.10),
)  # fmt: skip
_PAINTS = (
    (0.55, 0.56, 0.58), (0.05, 0.05, 0.06), (0.75, 0.75, 0.74), (0.35, 0.04, 0.04),
    (0.05, 0.10, 0.28), (0.22, 0.23, 0.25), (0.10, 0.20, 0.14), (0.45, 0.40, 0.32),
    (0.60, 0.35, 0.05),
)  # fmt: skip


def _pick(rng: np.random.Generator, choices: tuple[tuple[float, float, float], ...]) -> tuple:
    """One of the colours, slightly altered."""
    colour = np.array(choices[rng.integers(len(choices))]) * rng.uniform(0.85, 1.15)
    return tuple(float(c) for c in np.clip(colour, 0.02, 0.95))


def draw_house(rng: np.random.Generator, urban: bool) -> tuple[Look, float, float]:
    """A house front: its look, the width of the front and the depth of the house, metres."""
    pitch = rng.uniform(2.3, 3.4)
    columns = int(rng.integers(3, 8) if urban else rng.integers(3, 5))
    rows = int(rng.integers(3, 5))
    brick = rng.random() < 0.3
    look = Look(
        colour=_pick(rng, _BRICKS if brick else _WALLS),
        accent=_pick(rng, _ACCENTS),
        roof=_pick(rng, _ROOFS),
        pitch=pitch,
        floor=rng.uniform(2.8, 3.5),
        window=(pitch * rng.uniform(0.36, 0.5), rng.uniform(1.3, 1.8)),
        style=rng.random(),
        brick=brick,
        shop=bool(urban and rng.random() < 0.35),
        storeys=int(rng.integers(3, 6) if urban else rng.integers(1, 3)),
        columns=columns,
    )
    return look, columns * pitch, rows * pitch


def house(rng: np.random.Generator, look: Look, width: float, depth: float) -> Mesh:
    """A house whose front looks along -y; x runs along it, the origin is under its middle."""
    b = Builder()
    h, below = look.storeys * look.floor, 1.5
    x, y = width / 2, depth / 2
    ring = np.array([[-x, -y, 0.0], [x, -y, 0.0], [x, y, 0.0], [-x, y, 0.0]])
    gable = look.storeys <= 2 or rng.random() < 0.5
    u = 0.0
    for i in range(4):
        p, q = ring[i], ring[(i + 1) % 4]
        b.polygon(
            [p - below * UP, q - below * UP, q + h * UP, p + h * UP], Material.FACADE, (u, -below)
        )
        u += float(np.linalg.norm(q - p))
    if gable:
        _gable_roof(b, x, y, h, rise=depth * rng.uniform(0.28, 0.42))
    else:
        b.box(np.array([0, 0, h]), np.array([width + 0.5, depth + 0.5, 0.35]), 0.0, Material.WALL)
        b.box(np.array([x * 0.4, y * 0.2, h]), np.array([2.5, 2.5, 2.4]), 0.0, Material.WALL)
    b.box(
        np.array([-x * 0.5, y * 0.3, h]),
        np.array([0.7, 0.6, depth * 0.38 + 0.9]),
        0.0,
        Material.WALL,
    )
    if look.storeys > 2 and rng.random() < 0.4:
        _balconies(b, look, width, y)
    b.tube(
        [x - 0.15, -y - 0.08, 0.0], [x - 0.15, -y - 0.08, h], (0.06, 0.06), Material.METAL, sides=6
    )
    b.box(np.array([0, -y - 0.25, 0.0]), np.array([1.6, 0.6, 0.16]), 0.0, Material.WALL)
    return b.build()


def _gable_roof(b: Builder, x: float, y: float, h: float, rise: float) -> None:
    over = 0.45  # how far the eaves stand out
    slope = rise / y
    low = h - over * slope
    ends = [np.array([sx * (x + 0.25), 0.0, h + rise]) for sx in (-1, 1)]
    for sy in (-1, 1):
        eaves = [np.array([sx * (x + 0.25), sy * (y + over), low]) for sx in (-1, 1)]
        b.polygon([eaves[0], eaves[1], ends[1], ends[0]], Material.ROOF)
    for sx in (-1, 1):
        b.polygon(
            [[sx * x, -y, h], [sx * x, y, h], [sx * x, 0, h + rise]], Material.FACADE, (0.0, h)
        )


def _balconies(b: Builder, look: Look, width: float, y: float) -> None:
    for storey in range(1, look.storeys):
        for column in range(0, look.columns, 2):
            cx = -width / 2 + (column + 0.5) * look.pitch
            floor = np.array([cx, -y - 0.55, storey * look.floor - 0.1])
            b.box(floor, np.array([look.pitch * 0.85, 1.1, 0.15]), 0.0, Material.WALL)
            b.box(
                floor - [0, 0.5, 0], np.array([look.pitch * 0.85, 0.06, 1.1]), 0.0, Material.METAL
            )


def draw_tree_look(rng: np.random.Generator) -> Look:
    """Colour of the leaves of a tree."""
    green = _pick(
        rng, ((0.20, 0.30, 0.08), (0.16, 0.26, 0.07), (0.26, 0.32, 0.10), (0.30, 0.28, 0.08))
    )
    return Look(colour=green, style=rng.random())


def tree(rng: np.random.Generator, height: float, fine: bool = True) -> Mesh:
    """A broad-leaved tree: a trunk, a few clumps of leaves, and sprays all around them."""
    b = Builder()
    trunk = height * rng.uniform(0.26, 0.36)
    b.tube([0, 0, -0.8], [0, 0, trunk * 1.7], (height * 0.028, height * 0.014), Material.BARK)
    crown = height - trunk
    parts = [b.build()]
    rings, sprays = (7, 34) if fine else (5, 12)
    for _ in range(int(rng.integers(4, 7))):
        at = rng.normal(size=3) * [0.17, 0.17, 0.14] * crown + [0, 0, trunk + crown * 0.52]
        radii = crown * rng.uniform([0.2, 0.2, 0.18], [0.32, 0.32, 0.28])
        clump = blob(rng, radii, 0.14, rings, Material.LEAVES)
        parts += [clump.moved(np.eye(3), at), _sprays(rng, at, radii, sprays, crown * 0.055)]
    return join(parts)


def _sprays(rng: np.random.Generator, centre: Array, radii: Array, count: int, size: float) -> Mesh:
    """Small triangles of leaves around a clump; each shines like the clump behind it."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    at = centre + direction * radii * rng.uniform(0.95, 1.22, (count, 1))
    corners = at[:, None] + rng.normal(size=(count, 3, 3)) * size
    uv = np.stack([corners[..., 0] + corners[..., 1], corners[..., 2]], axis=-1)
    normals = np.broadcast_to(direction[:, None], (count, 3, 3))
    f32 = np.float32
    return Mesh(
        corners.astype(f32), uv.astype(f32), normals.astype(f32),
        np.full(count, Material.LEAVES, np.uint8), np.zeros(count, np.int32),
    )  # fmt: skip


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """A hedge along x, centred at the origin."""
    count = max(int(length / 0.9), 1)
    parts = []
    for x in np.linspace(-length / 2, length / 2, count):
        clump = blob(
            rng, np.array([0.75, 0.45, 0.62]) * rng.uniform(0.9, 1.1), 0.10, 5, Material.LEAVES
        )
        parts.append(clump.moved(np.eye(3), np.array([x, 0, 0.45])))
    return join(parts)


def fence(rng: np.random.Generator, length: float) -> Mesh:
    """A wooden fence or a low wall along x, centred at the origin."""
    b = Builder()
    if rng.random() < 0.5:
        b.box(np.array([0, 0, -0.6]), np.array([length, 0.06, 1.75]), 0.0, Material.FENCE)
        for x in np.linspace(-length / 2, length / 2, max(int(length / 2.5), 2)):
            b.box(np.array([x, 0, -0.6]), np.array([0.12, 0.12, 1.95]), 0.0, Material.FENCE)
    else:
        b.box(np.array([0, 0, -0.6]), np.array([length, 0.28, 1.45]), 0.0, Material.WALL)
        b.box(np.array([0, 0, 0.85]), np.array([length + 0.1, 0.38, 0.09]), 0.0, Material.WALL)
    return b.build()


def draw_fence_look(rng: np.random.Generator) -> Look:
    """Colour of a fence or a low wall."""
    return Look(
        colour=_pick(rng, ((0.55, 0.42, 0.30), (0.75, 0.72, 0.66), (0.36, 0.30, 0.24))),
        style=rng.random(),
    )


def lamp_post() -> Mesh:
    """A street lamp whose arm reaches along +x."""
    b = Builder()
    b.tube([0, 0, -0.3], [0, 0, 6.6], (0.10, 0.055), Material.METAL)
    b.tube([0, 0, 6.5], [1.7, 0, 6.9], (0.045, 0.04), Material.METAL, sides=6)
    b.box(np.array([1.9, 0, 6.82]), np.array([0.7, 0.26, 0.14]), 0.0, Material.LAMP)
    return b.build()


def sign_post(rng: np.random.Generator) -> Mesh:
    """A traffic sign that faces -x."""
    b = Builder()
    b.tube([0, 0, -0.3], [0, 0, 2.9], (0.035, 0.035), Material.METAL, sides=6)
    z = 2.15
    plate = [[-0.05, 0.35, z], [-0.05, -0.35, z], [-0.05, -0.35, z + 0.7], [-0.05, 0.35, z + 0.7]]
    b.polygon(plate, Material.SIGN)
    return b.build()


def draw_sign_look(rng: np.random.Generator) -> Look:
    """Rim of a sign: red or blue, round or square."""
    return Look(
        colour=((0.55, 0.05, 0.05), (0.05, 0.15, 0.50))[rng.integers(2)], style=rng.random()
    )


def bin_or_box(rng: np.random.Generator) -> Mesh:
    """A rubbish bin, a cable box or a bollard."""
    b = Builder()
    size = ([0.6, 0.7, 1.1], [1.1, 0.4, 1.2], [0.2, 0.2, 0.9])[rng.integers(3)]
    b.box(np.array([0, 0, -0.2]), np.array(size) + np.array([0, 0, 0.2]), 0.0, Material.WALL)
    return b.build()


def draw_car_look(rng: np.random.Generator) -> Look:
    """Paint of a car."""
    return Look(colour=_pick(rng, _PAINTS), style=rng.random())


def plain_look(rng: np.random.Generator) -> Look:
    """Colour of street furniture."""
    return replace(
        Look(style=rng.random()), colour=_pick(rng, ((0.25, 0.28, 0.26), (0.45, 0.45, 0.42)))
    )


# Side view of the body (x forward, z up) and of the glass house above it, for each kind of car.
_BODIES = {
    "hatchback": (
        [
            (-1.9, 0.28),
            (-2.0, 0.6),
            (-1.92, 0.98),
            (0.95, 0.96),
            (1.85, 0.8),
            (2.02, 0.52),
            (1.95, 0.28),
        ],
        [(-1.88, 0.97), (-1.5, 1.44), (0.1, 1.47), (1.0, 0.96)],
    ),
    "saloon": (
        [
            (-2.2, 0.28),
            (-2.28, 0.6),
            (-2.2, 0.94),
            (0.9, 0.94),
            (2.0, 0.78),
            (2.2, 0.5),
            (2.12, 0.28),
        ],
        [(-1.55, 0.94), (-1.0, 1.40), (0.1, 1.42), (0.95, 0.94)],
    ),
    "van": (
        [
            (-2.3, 0.3),
            (-2.36, 0.7),
            (-2.34, 1.15),
            (1.55, 1.12),
            (2.2, 0.95),
            (2.3, 0.55),
            (2.25, 0.3),
        ],
        [(-2.32, 1.14), (-2.25, 1.95), (0.9, 1.95), (1.6, 1.12)],
    ),
}


def car(rng: np.random.Generator) -> Mesh:
    """A parked or moving car that looks along +x, its wheels on z = 0."""
    body, cabin = _BODIES[rng.choice(list(_BODIES), p=[0.45, 0.35, 0.2])]
    half = 0.88 if cabin[1][1] < 1.6 else 0.95
    b = Builder()
    _extrude(b, body, [half * 0.97] * len(body), Material.PAINT)
    _extrude(b, cabin, [half * 0.94, half * 0.74, half * 0.74, half * 0.94], Material.PAINT)
    _windows(b, np.array(cabin), half)
    rear, front = body[1][0], body[-2][0]
    for x in (rear + 0.72, front - 0.78):
        for side in (-1, 1):
            hub = np.array([x, side * half * 0.99, 0.31])
            inward = np.array([0, -side * 0.22, 0])
            b.tube(hub + inward, hub, (0.31, 0.31), Material.TYRE, sides=12)
            b.tube(hub, hub - 0.05 * inward, (0.19, 0.17), Material.METAL, sides=10)
    for side in (-1, 1):
        y = side * half * 0.72
        b.box(np.array([front - 0.04, y, 0.58]), np.array([0.12, 0.34, 0.15]), 0.0, Material.LAMP)
        b.box(
            np.array([rear + 0.04, y, 0.68]), np.array([0.12, 0.30, 0.18]), 0.0, Material.TAIL_LAMP
        )
        b.box(
            np.array([0.75, side * (half + 0.08), 0.95]),
            np.array([0.14, 0.2, 0.13]),
            0.0,
            Material.PAINT,
        )
    for x in (rear, front):
        b.box(np.array([x, 0, 0.42]), np.array([0.03, 0.5, 0.11]), 0.0, Material.LAMP)
    ground = np.array([[rear, -half], [front, -half], [front, half], [rear, half]]) * 0.97
    b.polygon(np.concatenate([ground, np.full((4, 1), 0.035)], axis=1), Material.SHADE)
    return b.build()


def _extrude(
    b: Builder, outline: list[tuple[float, float]], half: list[float], material: int
) -> None:
    """A body with the side view ``outline`` that is 2 ``half`` wide at each of its points."""
    left = [np.array([x, w, z]) for (x, z), w in zip(outline, half, strict=True)]
    right = [p * [1, -1, 1] for p in left]
    for i in range(len(outline)):
        j = (i + 1) % len(outline)
        b.polygon([left[i], right[i], right[j], left[j]], material)
    b.polygon(left, material)
    b.polygon(right, material)


def _windows(b: Builder, cabin: Array, half: float) -> None:
    """Glass a centimetre outside the cabin: windscreen, rear window, two panes a side."""
    (x0, z0), (x1, z1), (x2, z2), (x3, z3) = cabin
    low, high = half * 0.94, half * 0.74

    def at(a: float, c: float, side: int) -> Array:
        """Point of the cabin's side: ``a`` from rear to front, ``c`` from sill to roof."""
        x = (1 - a) * ((1 - c) * x0 + c * x1) + a * ((1 - c) * x3 + c * x2)
        z = (1 - a) * ((1 - c) * z0 + c * z1) + a * ((1 - c) * z3 + c * z2)
        return np.array([x, side * ((1 - c) * low + c * high + 0.012), z])

    for side in (-1, 1):
        for a0, a1 in ((0.08, 0.47), (0.53, 0.92)):
            b.polygon(
                [at(a0, 0.1, side), at(a1, 0.1, side), at(a1, 0.88, side), at(a0, 0.88, side)],
                Material.GLASS,
            )
    for a, shift in ((0.0, -0.012), (1.0, 0.012)):
        pane = [
            at(a, c, side) * [1, 0.9, 1] + [shift, 0, 0.008]
            for c, side in ((0.1, -1), (0.1, 1), (0.9, 1), (0.9, -1))
        ]
        b.polygon(pane, Material.GLASS)
