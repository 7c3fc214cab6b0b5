"""verify: three backends on the same samples; what the target computed once is not computed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hexaquant.analysis.compare import Comparison
from hexaquant.analysis.metrics import top_k
from hexaquant.analysis.verify import verify
from hexaquant.api.compile import compile_folder
from hexaquant.api.verify import verify_folder
from hexaquant.core.errors import InputError
from hexaquant.core.events import Event, Events
from hexaquant.folder.artifacts import REFERENCE, binary_name, export_model
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import batches, conv_net, net, quantized

SM8650, SM8550 = 57, 43


@dataclass(frozen=True)
class Deployed:
    """A compiled network and four samples of which the first two runs see three."""

    model: QuantizedModel
    folder: Path
    data: Dataset

    def verify(self, samples: int | None, cache: Path | None, soc: int = SM8650, **options: object) -> Comparison:
        binary = self.folder / binary_name(self.model.plan.target)
        reference = self.folder / REFERENCE
        return verify(
            self.model, reference, binary, self.data, limit=samples, soc=soc, cache=cache, workers=1, **options
        )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder, graph = tmp_path_factory.mktemp("verify"), conv_net()
    model = quantized(graph, data=batches(8))
    export_model(model, folder, reference=graph)
    compile_folder(folder)
    return Deployed(model, folder, open_data([random(1, 3, 8, 8, seed=s) for s in range(100, 104)], graph))


def test_three_backends_agree(deployed: Deployed) -> None:
    result = deployed.verify(None, None)
    (output,) = result.outputs()
    assert result.samples == 4
    assert output["fp32_vs_sim_sqnr_db"] > 25 and output["fp32_vs_target_sqnr_db"] > 25
    assert output["sim_vs_target_max_lsb"] <= 1.01


def test_a_binary_compiled_for_a_batch_gives_the_same_figures(deployed: Deployed, tmp_path: Path) -> None:
    """Four samples on a binary for three: the second run is filled up and what fills it does not count."""
    alone = deployed.verify(None, None)
    export_model(deployed.model, tmp_path, reference=conv_net())
    compile_folder(tmp_path, batch=3)
    report = verify_folder(tmp_path, [x for x, _ in deployed.data.labelled(1)], metric=None, workers=1)
    assert report["samples"] == 4 and report["outputs"] == alone.outputs()


def test_a_second_run_starts_no_worker(deployed: Deployed, tmp_path: Path) -> None:
    first = deployed.verify(3, tmp_path)
    assert len(list(tmp_path.rglob("*.outputs"))) == 3
    # A worker would refuse the foreign SoC: with it the run succeeds only if none is started.
    assert deployed.verify(3, tmp_path, SM8550).outputs() == first.outputs()
    with pytest.raises(InputError, match="SoC"):
        deployed.verify(4, tmp_path, SM8550)


def test_an_interrupted_run_goes_on_where_it_was(deployed: Deployed, tmp_path: Path) -> None:
    deployed.verify(2, tmp_path)
    result = deployed.verify(4, tmp_path)
    assert result.samples == 4 and len(list(tmp_path.rglob("*.outputs"))) == 4
    assert result.outputs() == deployed.verify(None, None).outputs()


def test_the_cache_is_by_content_not_by_position(deployed: Deployed, tmp_path: Path) -> None:
    deployed.verify(4, tmp_path)
    graph = deployed.model.source_graph
    turned = Deployed(
        deployed.model, deployed.folder, open_data([random(1, 3, 8, 8, seed=s) for s in (103, 101)], graph)
    )
    assert turned.verify(2, tmp_path, SM8550).outputs()[0]["sim_vs_target_max_lsb"] <= 1.01


def test_the_metric_sees_every_backend(deployed: Deployed) -> None:
    seen = []
    labelled = [(random(1, 3, 8, 8, seed=s), np.array([s])) for s in (100, 101)]
    data = open_data(labelled, deployed.model.source_graph)
    run = Deployed(deployed.model, deployed.folder, data)
    result = run.verify(2, None, metric=lambda outputs, label: seen.append((outputs["y"].shape, int(label))) or 1.0)
    assert seen == [((4, 6, 6), 100)] * 3 + [((4, 6, 6), 101)] * 3
    assert result.scores() == {"fp32": 1.0, "sim": 1.0, "target": 1.0}


def test_a_label_of_several_values_reaches_the_metric_whole(deployed: Deployed) -> None:
    seen: list[np.ndarray] = []
    labels = np.arange(8.0).reshape(2, 2, 2)
    labelled = [(random(1, 3, 8, 8, seed=s), labels[i : i + 1]) for i, s in enumerate((100, 101))]
    run = Deployed(deployed.model, deployed.folder, open_data(labelled, deployed.model.source_graph))
    run.verify(2, None, metric=lambda outputs, label: seen.append(label) or 1.0)
    np.testing.assert_array_equal(seen[::3], labels)
    with pytest.raises(InputError, match=r"a label has shape \[2, 2\], but counting right classes takes"):
        run.verify(2, None, metric=top_k(1))


def test_every_sample_of_a_fixed_batch_counts(tmp_path: Path) -> None:
    text = "(float[2,3,4,4] x) => (float[2,4] y) { p = GlobalAveragePool (x)\n f = Flatten (p)\n y = Gemm (f, w) }"
    graph = net(text, w=random(3, 4))
    data = {"x": random(4, 3, 4, 4, seed=5), "labels": np.arange(4)}
    model = quantized(graph, data=batches(2, (2, 3, 4, 4)))
    export_model(model, tmp_path, reference=graph)
    compile_folder(tmp_path)
    run, seen, events = Deployed(model, tmp_path, open_data(data, graph)), [], []
    options = {"metric": lambda outputs, label: seen.append((outputs["y"].shape, int(label))) or 1.0}
    result = run.verify(3, None, events=Events(events.append), **options)
    assert result.samples == 3 and seen[::3] == [((4,), label) for label in range(3)]
    assert [event.done for event in events if event.task == "verify" and event.kind == "progress"] == [1, 2]
    assert result.outputs()[0]["sim_vs_target_max_lsb"] <= 1.01


def test_progress_is_told(deployed: Deployed) -> None:
    events: list[Event] = []
    deployed.verify(3, None, events=Events(events.append))
    assert [e.done for e in events if e.task == "verify" and e.kind == "progress"] == [1, 2, 3]
    assert events[0].total == 3


def test_empty_data_is_an_error(deployed: Deployed) -> None:
    empty = Deployed(deployed.model, deployed.folder, open_data([], deployed.model.source_graph))
    with pytest.raises(InputError, match="is empty; give at least one sample"):
        empty.verify(None, None)
