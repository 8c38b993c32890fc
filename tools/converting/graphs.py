"""``vo-convert onnx`` and ``vo-convert torch-export``: networks that run without this package."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from vo.atomic import new_folder
from vo.checkpoint import Checkpoint, load_checkpoint
from vo.datasets.errors import InputError
from vo.export import MAX_BATCH, Graph, Part, difference, graphs_of, recorded
from vo.model import demand_size
from vo.published.files import demand_free_folder
from vo.settings import to_plain
from vo.tools.strict_json import strict

if TYPE_CHECKING:
    from torch import Tensor

Format = Literal["onnx", "pt2"]
OPSET = 20  # the one that PyTorch's exporter translates to; a higher one is converted from it
TOLERANCE = 1e-3
_MOST_BYTES = 1_500_000_000  # in one file: protobuf ends at 2 GiB
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A graph in a file.

    Attributes:
        graph: what was written.
        file: its name in the folder.
        size: in bytes, with a file of weights beside it.
        difference: the largest between the file's results and PyTorch's, see `vo.export`.
    """

    graph: Graph
    file: str
    size: int
    difference: float


def write_graphs(
    ckpt: str, out: Path, size: tuple[int, int] | None, parts: Collection[Part], format: Format
) -> list[Written]:
    """Write the graphs of a checkpoint into a new folder, each of them checked, or nothing at all.

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        out: folder, new or empty.
        size: (width, height) of the images; the checkpoint's when None.
        parts: which graphs.
        format: ``onnx``, run by ONNX Runtime, or ``pt2``, run by PyTorch alone.

    Raises:
        InputError: when packages are missing, the checkpoint or the size does not do, a graph
            cannot be recorded, or its file gives other results than PyTorch.
    """
    if format == "onnx":
        _demand_packages()
    if not parts:
        raise InputError("--parts", "names none", "leave it out to write all of them")
    demand_free_folder(out)
    checkpoint = load_checkpoint(ckpt)
    size = size or (checkpoint.model.config.width, checkpoint.model.config.height)
    demand_size(size)
    metadata = _metadata(checkpoint, size)
    graphs = graphs_of(checkpoint.model, size, metadata["unit"], parts)
    with new_folder(out) as folder, _quiet():
        return [_written(graph, folder, format, metadata, ckpt) for graph in graphs]


def _written(
    graph: Graph, folder: Path, format: Format, metadata: dict[str, str], ckpt: str
) -> Written:
    """One graph: written, read again, and compared with PyTorch."""
    path = folder / f"{graph.name}.{format}"
    write, read = (_write_onnx, _read_onnx) if format == "onnx" else (_write_pt2, _read_pt2)
    wanted = [graph(*inputs) for inputs in graph.examples]
    try:
        write(graph, path, metadata)
        run = read(path)
        found = [run(*inputs) for inputs in graph.examples]
    except (RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        problem = f"its {graph.name} cannot be written as {format} ({reason})"
        raise InputError(ckpt, problem, "run it with this package") from error
    differences = [
        difference(ours, theirs)
        for results in zip(found, wanted, strict=True)
        for ours, theirs in zip(*results, strict=True)
    ]
    largest = max(differences, key=lambda number: (number != number, number))  # NaN above all
    if not largest <= TOLERANCE:
        problem = f"its {graph.name} as {format} differs from PyTorch by {largest:.1e}"
        remedy = "nothing was written; try the versions in constraints.txt, or another format"
        raise InputError(ckpt, problem, remedy)
    bytes_written = sum(file.stat().st_size for file in folder.glob(f"{path.name}*"))
    return Written(graph, path.name, bytes_written, largest)


def _write_onnx(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    program = torch.onnx.export(
        graph.module,
        graph.examples[0],
        dynamo=True,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes={
            name: {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} for name in graph.inputs
        },
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None  # None is what the older exporter gives
    model: Any = program.model
    model.producer_name = "scale-aligned-vo"
    model.metadata_props.update(metadata)
    for node in model.graph.all_nodes():  # stack traces with the paths of this machine
        node.metadata_props.clear()
    described = ((model.graph.inputs, graph.inputs), (model.graph.outputs, graph.outputs))
    for values, words in described:
        for value in values:
            value.doc_string = words[value.name]
    weights = sum(value.numel() * value.element_size() for value in _tensors(graph))
    program.save(path, external_data=weights > _MOST_BYTES)


def _read_onnx(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, NotImplemented

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, NotImplemented) as error:  # its own, with no other base
        raise RuntimeError(str(error)) from error
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = (value.numpy() for value in inputs)
        results = session.run(None, dict(zip(names, arrays, strict=True)))
        return tuple(torch.from_numpy(result) for result in results)

    return run


def _write_pt2(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    words = {**metadata, "inputs": dict(graph.inputs), "outputs": dict(graph.outputs)}
    content = json.dumps(words, ensure_ascii=False)
    torch.export.save(recorded(graph), path, extra_files={"metadata.json": content})


def _read_pt2(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    module = torch.export.load(path).module()

    @torch.no_grad()
    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        results = module(*inputs)
        return (results,) if isinstance(results, torch.Tensor) else tuple(results)

    return run


def _metadata(checkpoint: Checkpoint, size: tuple[int, int]) -> dict[str, str]:
    """What one should know of the networks, as text by name."""
    card, config = to_plain(checkpoint.card), to_plain(checkpoint.model.config)
    return {
        "name": checkpoint.card.name,
        "checkpoint_sha256": checkpoint.sha256,
        "unit": "metres" if checkpoint.card.metric else "free scene units",
        "width": str(size[0]),
        "height": str(size[1]),
        "licence": checkpoint.card.licence,
        "commit": checkpoint.card.commit,
        "card": json.dumps(strict(card), ensure_ascii=False, allow_nan=False),
        "config": json.dumps(strict(config), ensure_ascii=False, allow_nan=False),
    }


def _tensors(graph: Graph) -> Iterator[Tensor]:
    yield from graph.module.parameters()
    yield from graph.module.buffers()


def _demand_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}, not installed"
        raise InputError("vo-convert onnx", problem, "run: pip install 'scale-aligned-vo[export]'")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own inside."""
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
