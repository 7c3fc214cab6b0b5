"""One architecture of each family of torchvision and timm, random weights: loaded and planned; some on the emulator.

Needs torchvision (of the release that fits the installed torch) and timm; ``pip install --no-deps`` of both is enough.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery.outcome import Outcome, attempt, keep, known, tell, timed

TARGET = "sm8650"

TORCHVISION = """
alexnet convnext_tiny deeplabv3_mobilenet_v3_large densenet121 efficientnet_b0 efficientnet_v2_s fcn_resnet50
fasterrcnn_mobilenet_v3_large_320_fpn fcos_resnet50_fpn googlenet inception_v3 keypointrcnn_resnet50_fpn
lraspp_mobilenet_v3_large maskrcnn_resnet50_fpn maxvit_t mc3_18 mnasnet0_5 mobilenet_v2 mobilenet_v3_small
mvit_v1_b mvit_v2_s r2plus1d_18 r3d_18 raft_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d
retinanet_resnet50_fpn s3d shufflenet_v2_x0_5 squeezenet1_0 ssd300_vgg16 ssdlite320_mobilenet_v3_large
swin3d_t swin_t swin_v2_t vgg11 vit_b_32 wide_resnet50_2
"""

TIMM = """
beit_base_patch16_224 halonet26t lambda_resnet26t bat_resnext26ts eca_botnext26ts_256 test_byobnet
mobileone_s0 repvgg_a0 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 test_convnext cpubone_nano
crossvit_tiny_240 csatv2 cs3darknet_s cspresnet50 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121
dla34 dpn68 edgenext_small efficientformer_l1 efficientformerv2_s0 test_efficientnet tf_efficientnetv2_b0
mixnet_s efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8
focalnet_tiny_lrf gcvit_xxtiny ghostnet_050 ghostnetv2_100 hardcorenas_a hgnet_tiny hiera_tiny_224
sam2_hiera_tiny hrnet_w18_small iformer_s inception_next_atto inception_resnet_v2 inception_v4 lcnetv2_small
levit_128s lowformer_b0 test_mambaout test_maxvit coatnet_nano_rw_224 caformer_s18 poolformer_s12
gmlp_ti16_224 mixer_s32_224 resmlp_12_224 lcnet_050 mobilenetv3_small_050 mobilenetv4_conv_small mobilevit_xxs
mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nest_tiny nextvit_small test_nfnet pit_xs_224 pvt_v2_b0
rdnet_tiny regnetz_b16 repghostnet_050 repvit_m0_9 res2net50_26w_4s resnest14d test_resnet seresnet18
resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 tiny_vit_5m_224
tnt_s_patch16_224 tresnet_m twins_svt_small twins_pcpvt_small vgg11 visformer_tiny test_vit
vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim
legacy_xception xception41 xcit_nano_12_p8_224 nasnetalarge pnasnet5large mobilenetv5_300m_enc
gemma4_vit_167m_enc qwen3_vit_88m deepseek_vit_412m
"""
"""The smallest of each family, twice where a family has several kinds of blocks."""

DETECTORS = ("fasterrcnn", "keypointrcnn", "maskrcnn", "retinanet", "fcos", "ssd")
"""Their outputs have sizes that depend on the data: they are to be told so."""

VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t")

MEASURED = {
    "timm/swin_tiny_patch4_window7_224": {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    "timm/swinv2_tiny_window8_256": {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    "timm/hiera_tiny_224": {"embed_dim": 24, "stages": (1, 1, 1, 1)},
    "timm/ghostnet_050": None,
    "timm/mobilevitv2_050": None,
    "timm/nest_tiny": {},
    "timm/test_maxvit": {},
    "timm/gcvit_xxtiny": {},
    "timm/halonet26t": None,
    "timm/mvitv2_tiny": {},
}
"""Families that run on the emulator too, on pictures of SIDE, with what makes them small; None: takes any picture."""
SIDES = {"timm/halonet26t": 128}
SIDE = 64


def run(names: Sequence[str], folder: Path, measure: bool = False) -> None:
    """All networks (or ``names``) that FOLDER has no row of; ``measure``: those of MEASURED on the emulator instead."""
    everything = (
        list(MEASURED)
        if measure
        else [f"torchvision/{n}" for n in TORCHVISION.split()] + [f"timm/{n}" for n in TIMM.split()]
    )
    chosen = [name for name in everything if not names or any(part in name for part in names)]
    work = on_emulator if measure else planned
    file = folder / ("torch_measured.json" if measure else "torch.json")
    outcomes: list[Outcome] = known(file)
    done = {outcome.name for outcome in outcomes}
    for name in [name for name in chosen if name not in done]:
        outcomes.append(timed(attempt(name, lambda name=name: work(name))))  # type: ignore[misc]
        keep(outcomes, file)
    tell(outcomes, file)


def network(name: str, **small: Any) -> tuple[Any, tuple[Any, ...]]:
    """The module in eval mode with seeded random weights, and an example of its inputs."""
    import torch

    torch.manual_seed(0)
    _declare_missing_operators()
    library, _, short = name.partition("/")
    if library == "timm":
        import timm

        module = timm.create_model(short, pretrained=False, **small).eval()
        return module, (torch.randn(1, *module.default_cfg["input_size"]),)
    import torchvision

    module = torchvision.models.get_model(short, weights=None, **_without_backbone(short)).eval()
    if short in VIDEO:
        side = 224 if short.startswith(("mvit", "swin", "s3d")) else 112
        return module, (torch.randn(1, 3, 16, side, side),)
    if short.startswith("raft"):
        return module, (torch.randn(1, 3, 128, 160), torch.randn(1, 3, 128, 160))
    if short.startswith(DETECTORS):
        return module, ([torch.randn(3, 320, 320)],)
    side = 299 if short == "inception_v3" else 224
    return module, (torch.randn(1, 3, side, side),)


def _declare_missing_operators() -> None:
    """Torchvision's wheel on PyPI is built for CUDA: beside a CPU build of PyTorch its operators are missing.

    Neither it nor timm can be imported then. Tracing needs no more than their signatures, and only detectors call them.
    """
    import torch

    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", boxes)


def _without_backbone(short: str) -> dict[str, Any]:
    has_backbone = short.startswith((*DETECTORS, "deeplab", "fcn", "lraspp"))
    return {"weights_backbone": None} if has_backbone else {}


def planned(name: str) -> str:
    """Loaded and planned for TARGET at w8a8."""
    from hexaquant import make_plan
    from hexaquant.frontends import load
    from hexaquant.htp.for_target import prepare_for_target

    module, inputs = network(name)
    module = shortened(module, inputs, lambda: network(name)[0])
    graph = load(module, example_inputs=inputs)
    prepare_for_target(graph)
    plan = make_plan(graph, TARGET, "w8a8")
    return f"{len(graph.nodes)} operators, {len(plan.tensors)} tensors"


def shortened(module: Any, inputs: Sequence[Any], again: Callable[[], Any]) -> Any:
    """``module`` with two blocks left of each run of equal ones: more bring no new form and cost the exporter minutes.

    A new whole one (``again``) where it does not run that way.
    """
    import torch

    for row in module.modules():
        if isinstance(row, torch.nn.Sequential | torch.nn.ModuleList):
            kinds = [(type(b), *(tuple(p.shape) for p in b.parameters())) for b in row]
            for index in reversed(range(2, len(row))):
                if len(kinds[index]) > 1 and kinds[index] == kinds[index - 1] == kinds[index - 2]:
                    del row[index]
    try:
        with torch.no_grad():
            module(*inputs)
    except Exception:  # whatever a stranger's forward says without its block
        return again()
    return module


def small(name: str) -> tuple[Any, tuple[Any, ...]]:
    """A small network of the family of ``name`` (MEASURED), and a picture for it."""
    import torch

    settings = MEASURED[name]
    side = SIDES.get(name, SIDE)
    given: dict[str, Any] = {} if settings is None else settings | {"img_size": side}
    picture = (torch.randn(1, 3, side, side),)
    module = network(name, num_classes=10, **given)[0]
    return shortened(module, picture, lambda: network(name, num_classes=10, **given)[0]), picture


def on_emulator(name: str) -> str:
    """SQNR in dB of the emulator at w8a8 and w8a16 against PyTorch on 4 unseen images."""
    import torch

    import hexaquant as hq
    from hexaquant.core.metrics import sqnr_db

    module, inputs = small(name)
    _settle(module, inputs[0].shape)
    rng = np.random.default_rng(0)
    images = [rng.standard_normal(inputs[0].shape).astype(np.float32) for _ in range(12)]
    with torch.no_grad():
        wanted = np.stack([module(torch.from_numpy(x)).numpy() for x in images[8:]])
    words = []
    for scheme in ("w8a8", "w8a16"):
        with tempfile.TemporaryDirectory() as folder:
            model = hq.quantize(module, images[:8], example_inputs=inputs, scheme=scheme, recipe="plain")
            model.export(folder)
            hq.compile(folder, target=TARGET)
            key = model.reference.inputs[0].name  # type: ignore[union-attr]
            with hq.Runtime(next(Path(folder).glob("*.bin"))) as runtime:
                found = np.stack([next(iter(runtime.run({key: x}).values())) for x in images[8:]])
        words.append(f"{scheme} {sqnr_db(wanted, found.reshape(wanted.shape)):.1f} dB")
    return ", ".join(words)


def _settle(module: Any, shape: Sequence[int]) -> None:
    """Give BatchNorm the statistics of noise, so that signals keep their size through random weights."""
    import torch

    module.train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            layer.momentum = None
    with torch.no_grad():
        for seed in range(2):
            module(torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(seed)))
    module.eval()
