"""What every surface looks like: textures, and drawings on them that stay sharp at any distance.

A drawing (a window, a lane mark) is made of rectangles whose coverage of the pixel's footprint is
computed exactly, so that it fades as it should and never flickers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.street.road import HALF_WIDTH_M
from vo.datasets.street.textures import Texture, atlas


class Material(IntEnum):
    """Kinds of surfaces."""

    CARRIAGEWAY = 0
    PAVEMENT = 1
    SIDE_ROAD = 2
    LAND = 3
    FACADE = 4
    ROOF = 5
    WALL = 6
    FENCE = 7
    LEAVES = 8
    BARK = 9
    METAL = 10
    PAINT = 11
    GLASS = 12
    TYRE = 13
    LAMP = 14
    TAIL_LAMP = 15
    SIGN = 16
    SHADE = 17


# Texture of each material, and its colour where that is not the colour of the thing.
_FINISH: dict[Material, tuple[Texture, tuple[float, float, float] | None]] = {
    Material.CARRIAGEWAY: (Texture.ASPHALT, (1.0, 1.0, 1.0)),
    Material.PAVEMENT: (Texture.PAVING, (1.0, 1.0, 1.0)),
    Material.SIDE_ROAD: (Texture.ASPHALT, (0.95, 0.95, 0.95)),
    Material.LAND: (Texture.GRASS, (1.0, 1.0, 1.0)),
    Material.FACADE: (Texture.PLASTER, None),
    Material.ROOF: (Texture.TILES, None),
    Material.WALL: (Texture.PLASTER, None),
    Material.FENCE: (Texture.WOOD, None),
    Material.LEAVES: (Texture.LEAVES, None),
    Material.BARK: (Texture.BARK, (1.0, 1.0, 1.0)),
    Material.METAL: (Texture.PLAIN, (0.30, 0.31, 0.31)),
    Material.PAINT: (Texture.PLAIN, None),
    Material.GLASS: (Texture.PLAIN, (0.025, 0.03, 0.035)),
    Material.TYRE: (Texture.PLAIN, (0.025, 0.025, 0.027)),
    Material.LAMP: (Texture.PLAIN, (0.75, 0.75, 0.70)),
    Material.TAIL_LAMP: (Texture.PLAIN, (0.40, 0.02, 0.02)),
    Material.SIGN: (Texture.PLAIN, None),
    Material.SHADE: (Texture.ASPHALT, (0.12, 0.12, 0.12)),
}
_TEXTURE = np.array([_FINISH[material][0] for material in Material])
_OWN = np.array([_FINISH[material][1] is not None for material in Material])
_COLOUR = np.array([_FINISH[material][1] or (0, 0, 0) for material in Material], np.float32)


@dataclass(frozen=True, slots=True)
class Look:
    """How one thing looks: a row of the table of things.

    Attributes:
        colour: of its main surface, linear RGB.
        accent: of doors, shutters and awnings, linear RGB.
        roof: of the roof, linear RGB.
        pitch: distance between the windows of a facade, metres.
        floor: height of a storey, metres.
        window: (width, height) of a window, metres.
        style: a number in [0, 1) that settles the details.
        brick: whether the walls are of brick.
        shop: whether there is a shop on the ground floor.
        storeys: number of storeys.
        columns: number of windows in the front.
    """

    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    accent: tuple[float, float, float] = (0.3, 0.3, 0.3)
    roof: tuple[float, float, float] = (0.4, 0.2, 0.15)
    pitch: float = 3.0
    floor: float = 3.0
    window: tuple[float, float] = (1.2, 1.5)
    style: float = 0.0
    brick: bool = False
    shop: bool = False
    storeys: int = 3
    columns: int = 4

    def row(self) -> list[float]:
        """The numbers in the order of the ``COLUMN`` constants below."""
        return [
            *self.colour,
            *self.accent,
            *self.roof,
            self.pitch,
            self.floor,
            *self.window,
            self.style,
            float(self.brick),
            float(self.shop),
            float(self.storeys),
            float(self.columns),
        ]


COLOUR, ACCENT, ROOF = slice(0, 3), slice(3, 6), slice(6, 9)
PITCH, FLOOR, WINDOW_W, WINDOW_H, STYLE, BRICK, SHOP, STOREYS, COLUMNS = range(9, 18)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The surfaces that N rays have hit.

    Attributes:
        material: (N,) index.
        thing: (N,) row of the table of things.
        looks: (T, 18) that table.
        uv: (N, 2) surface coordinates, metres.
        du: (N, 2) change of uv over one sample step along the image's x axis.
        dv: (N, 2) the same along y.
    """

    material: Array
    thing: Array
    looks: Array
    uv: Array
    du: Array
    dv: Array

    @property
    def look(self) -> Array:
        """(N, 18) the row of each surface's thing."""
        return self.looks[self.thing]

    def take(self, at: Array) -> Surface:
        """The surfaces with the given indices."""
        chosen = (array[at] for array in (self.uv, self.du, self.dv))
        return Surface(self.material[at], self.thing[at], self.looks, *chosen)

    @property
    def footprint(self) -> tuple[Array, Array]:
        """Width of the sample's footprint along u and along v, metres, (N,) each."""
        width = np.maximum(np.abs(self.du) + np.abs(self.dv), 1e-4)
        return width[:, 0], width[:, 1]


def albedo(surface: Surface, turns: Array) -> Array:
    """Share of light that each surface reflects, (N, 3) float32, linear RGB.

    Args:
        surface: what was hit.
        turns: (T, 2) stretches of the junction turns, for the road's marks.
    """
    style, brick = (surface.looks[surface.thing, column] for column in (STYLE, BRICK))
    texture = _TEXTURE[surface.material]
    texture[(surface.material == Material.FACADE) & (brick > 0)] = Texture.BRICK
    # Things of one kind show different parts of the tile.
    colour = atlas().sample(texture, surface.uv + (style * 37)[:, None], surface.du, surface.dv)
    colours = np.where(_OWN[:, None, None], _COLOUR[:, None], surface.looks[None, :, COLOUR])
    colours[Material.ROOF] = surface.looks[:, ROOF]
    colour *= colours[surface.material, surface.thing]
    for material, draw in _DRAWINGS.items():
        at = np.flatnonzero(surface.material == material)
        if len(at):
            colour[at] = draw(colour[at], surface.take(at), turns)
    return colour


# --- coverage of a footprint by simple shapes -------------------------------------------------


def _bar(x: Array, half: Array | float, width: Array) -> Array:
    """Share of [x - width/2, x + width/2] that lies within [-half, half]."""
    inside = np.minimum(x + width / 2, half) - np.maximum(x - width / 2, -np.asarray(half))
    return _clip(inside / width)


def _clip(x: Array) -> Array:
    """Limit to [0, 1]; quicker than numpy's clip for what comes in small pieces."""
    return np.minimum(np.maximum(x, 0), 1)


def _dashes(x: Array, period: float, on: float, width: Array) -> Array:
    """Share of the footprint covered by bars of length ``on`` that repeat every ``period``."""

    def covered(a: Array) -> Array:
        whole = np.floor(a / period)
        return whole * on + np.minimum(a - whole * period, on)

    return (covered(x + width / 2) - covered(x - width / 2)) / width


def _hash(a: Array, b: Array, c: Array) -> Array:
    """A number in [0, 1) that looks random, for every cell (a, b) of thing c."""
    return np.modf(np.abs(np.sin(a * 12.9898 + b * 78.233 + c * 37.719) * 43758.5453))[0]


def _over(colour: Array, paint: Array | tuple[float, ...], cover: Array) -> Array:
    """``paint`` laid over ``colour`` where ``cover`` (N,) is 1."""
    return colour + (np.asarray(paint, np.float32) - colour) * cover[:, None].astype(np.float32)


# --- drawings ---------------------------------------------------------------------------------


def _draw_carriageway(colour: Array, surface: Surface, turns: Array) -> Array:
    s, d = surface.uv[:, 0], surface.uv[:, 1]
    ws, wd = surface.footprint
    middles = (-2.25, -0.75, 0.75, 2.25)
    tracks = sum((np.exp(-(((d - c) / 0.28) ** 2)) for c in middles), np.zeros_like(d))
    colour = colour * (1 - 0.16 * tracks)[:, None].astype(np.float32)
    gutter = _bar(np.abs(d) - HALF_WIDTH_M + 0.15, 0.15, wd)
    colour = colour * (1 - 0.3 * gutter)[:, None].astype(np.float32)
    cell = np.floor(s / 19)
    ds = s - 19 * (cell + _hash(cell, cell * 0, cell * 0 + 1))
    dd = d - 5 * (_hash(cell, cell * 0 + 3, cell * 0) - 0.5)
    radius = np.hypot(ds, dd)
    cover = np.clip((0.34 - radius) / np.maximum(ws, wd) + 0.5, 0, 1)
    colour = _over(colour, (0.05, 0.05, 0.055), cover * (0.6 + 0.4 * np.sin(radius * 60) ** 2))
    paint, worn = (
        _marks(s, d, ws, wd, turns),
        0.75 + 0.25 * _hash(np.floor(s * 3), np.floor(d * 8), s * 0),
    )
    return _over(colour, (0.62, 0.62, 0.60), paint * np.where(np.maximum(ws, wd) < 0.3, worn, 0.87))


def _marks(s: Array, d: Array, ws: Array, wd: Array, turns: Array) -> Array:
    """Centre line, edges of the parking strips, and crossings before and after each turn."""
    near_turn = np.zeros(len(s), bool)
    crossing = np.zeros(len(s))
    for begin, end in turns.tolist():
        near_turn |= (s > begin - 9) & (s < end + 9)
        for centre in (begin - 5.5, end + 5.5):
            crossing += _bar(s - centre, 1.5, ws)
    centre_line = _bar(d, 0.07, wd) * _dashes(s, 7.5, 3.5, ws)
    edges = (_bar(d - 2.95, 0.05, wd) + _bar(d + 2.95, 0.05, wd)) * _dashes(s, 2.0, 1.0, ws)
    zebra = crossing * _dashes(d + 0.25, 1.0, 0.5, wd) * _bar(d, HALF_WIDTH_M - 0.4, wd)
    return np.clip(np.where(near_turn, 0, centre_line + edges) + zebra, 0, 1)


def _draw_pavement(colour: Array, surface: Surface, turns: Array) -> Array:
    d = surface.uv[:, 1]
    _, wd = surface.footprint
    ws = surface.footprint[0]
    joint = _dashes(surface.uv[:, 0], 1.0, 0.03, ws)
    stone = _bar(np.abs(d) - HALF_WIDTH_M - 0.1, 0.13, wd)
    grey = np.float32(0.5) * (colour.mean(axis=1, keepdims=True) + 0.35)
    return _over(colour, grey * (1 - 0.5 * joint[:, None]), stone)


def _draw_facade(colour: Array, surface: Surface, turns: Array) -> Array:
    look, (u, v) = surface.look, surface.uv.T
    wu, wv = surface.footprint
    pitch, floor, style = look[:, PITCH], look[:, FLOOR], look[:, STYLE]
    i, j = np.floor(u / pitch), np.floor(v / floor)
    x = u - (i + 0.5) * pitch  # from the middle of the cell
    y = v - j * floor  # above the floor of the storey
    pane = _hash(i, j, style * 91)
    rise = _clip((y - 0.85) / look[:, WINDOW_H])  # from the sill upwards
    tint = np.array([0.9, 1.0, 1.1], np.float32)
    glass = (0.03 + 0.10 * rise + 0.30 * (pane > 0.6) * pane)[:, None] * tint
    colour = _over(colour, colour * 0.55, _bar(v - 0.3, 0.3, wv))  # plinth
    half = floor / 2
    ledge = _bar(np.abs(y - half) - half + 0.06, 0.06, wv) * (style > 0.4)
    colour = _over(colour, colour * 1.25 + 0.05, ledge * 0.8)
    upper = (j < look[:, STOREYS]) & ((j > 0) | (look[:, SHOP] == 0))
    at = np.flatnonzero(upper)
    colour[at] = _draw_window(colour[at], look[at], glass[at], (x[at], y[at]), (wu[at], wv[at]))
    at = np.flatnonzero(j == 0)
    if len(at):
        place = (i[at], x[at], y[at])
        colour[at] = _draw_ground_floor(colour[at], look[at], glass[at], place, (wu[at], wv[at]))
    return colour


def _draw_window(
    colour: Array, look: Array, glass: Array, place: tuple[Array, Array], width: tuple[Array, Array]
) -> Array:
    """The window in the middle of a cell, with its frame, sill and shutters."""
    (x, y), (wu, wv) = place, width
    pitch, style = look[:, PITCH], look[:, STYLE]
    cell = pitch * look[:, FLOOR]
    half_w, half_h = look[:, WINDOW_W] / 2, look[:, WINDOW_H] / 2
    aside, above = np.abs(x), y - 0.85 - half_h  # from the middle of the window
    far = _clip(wu / pitch - 0.5)  # one window a pixel: only their mean can be seen

    def shape(along_u: Array, along_v: Array, area: Array) -> Array:
        near = along_u * along_v
        return near + (area / cell - near) * far

    height = _bar(above, half_h, wv)
    shutters = shape(_bar(aside - half_w - 0.24, 0.2, wu), height, 1.6 * half_h)
    colour = _over(colour, look[:, ACCENT], shutters * (style > 0.55))
    sill = shape(_bar(x, half_w + 0.12, wu), _bar(above + half_h + 0.06, 0.06, wv), 0.24 * half_w)
    colour = _over(colour, (0.62, 0.60, 0.57), sill)
    frame = shape(_bar(x, half_w, wu), height, 4 * half_w * half_h)
    colour = _over(colour, np.where(style[:, None] > 0.75, look[:, ACCENT], 0.75), frame)
    # Two columns of panes, the lower ones taller.
    columns = _bar(aside - half_w / 2, half_w / 2 - 0.06, wu)
    low = _bar(above + 0.35 * half_h, 0.65 * half_h - 0.05, wv)
    high = _bar(above - 0.65 * half_h, 0.35 * half_h - 0.05, wv)
    panes = shape(columns, low + high, (2 * half_w - 0.24) * (2 * half_h - 0.2))
    return _over(colour, glass, panes)


def _draw_ground_floor(
    colour: Array, look: Array, glass: Array, place: tuple[Array, ...], width: tuple[Array, Array]
) -> Array:
    """The door of a house, or the windows and the awning of a shop."""
    (i, x, y), (wu, wv) = place, width
    shop = look[:, SHOP] > 0
    door_cell = np.floor(look[:, STYLE] * 7.3 * look[:, COLUMNS]) % np.maximum(look[:, COLUMNS], 1)
    is_door = np.mod(i, np.maximum(look[:, COLUMNS], 1)) == door_cell
    wall = is_door & ~shop
    colour = _over(
        colour,
        look[:, COLOUR] * 0.8,
        _bar(x, look[:, PITCH] / 2, wu) * _bar(y - 1.2, 1.4, wv) * wall,
    )
    colour = _over(
        colour, (0.66, 0.64, 0.60), _bar(x, 0.68, wu) * _bar(y - 1.15, 1.15, wv) * is_door
    )
    colour = _over(colour, look[:, ACCENT], _bar(x, 0.54, wu) * _bar(y - 1.05, 1.05, wv) * is_door)
    window = shop & ~is_door
    half = look[:, PITCH] / 2
    colour = _over(
        colour, look[:, ACCENT] * 0.6, _bar(x, half - 0.1, wu) * _bar(y - 1.35, 1.05, wv) * window
    )
    colour = _over(colour, glass, _bar(x, half - 0.2, wu) * _bar(y - 1.35, 0.95, wv) * window)
    awning = _bar(y - 2.65, 0.2, wv) * shop
    stripes = 0.6 + 0.8 * _dashes(x, 0.5, 0.25, wu)
    return _over(colour, look[:, ACCENT] * stripes[:, None] + 0.06, awning)


def _draw_sign(colour: Array, surface: Surface, turns: Array) -> Array:
    """A round or square plate of 0.7 m with a rim in its own colour and a white field."""
    u, v = surface.uv[:, 0] - 0.35, surface.uv[:, 1] - 0.35
    width = np.maximum(*surface.footprint)
    square = surface.look[:, STYLE] > 0.5
    radius = np.where(square, np.maximum(np.abs(u), np.abs(v)), np.hypot(u, v))
    field = np.clip((0.24 - radius) / width + 0.5, 0, 1)
    bar = _bar(v, 0.06, width) * _bar(u, 0.16, width)
    return _over(_over(colour, (0.8, 0.8, 0.8), field), (0.05, 0.05, 0.06), bar)


def _draw_fence(colour: Array, surface: Surface, turns: Array) -> Array:
    wu, wv = surface.footprint
    gap = _dashes(surface.uv[:, 0], 0.16, 0.035, wu)
    rail = _bar(surface.uv[:, 1] - 0.9, 0.05, wv) + _bar(surface.uv[:, 1] - 0.25, 0.05, wv)
    return colour * (1 - 0.75 * gap * (1 - np.clip(rail, 0, 1)))[:, None]


_DRAWINGS = {
    Material.CARRIAGEWAY: _draw_carriageway,
    Material.PAVEMENT: _draw_pavement,
    Material.FACADE: _draw_facade,
    Material.SIGN: _draw_sign,
    Material.FENCE: _draw_fence,
}
