"""Small networks of many kinds, as one table, for tests that send each through the whole chain.

Every network has fewer than 200,000 parameters; its inputs are tiny. ``NETWORKS[name].build()`` gives the module,
``.example()`` arguments for it, ``.batches(n)`` calibration data by input name.
"""

from networks import architectures, convolutional, sequential, signals
from networks.case import Case, Floats, Tokens

IMAGE = Floats((3, 16, 16))

NETWORKS: dict[str, Case] = {
    "conv1d": Case(convolutional.conv1d, {"input": Floats((4, 64))}),
    "transposed": Case(convolutional.transposed, {"input": IMAGE}),
    "grouped": Case(convolutional.Grouped, {"x": IMAGE}),
    "dilated": Case(convolutional.dilated, {"input": IMAGE}),
    "resize": Case(convolutional.Resize, {"x": IMAGE}),
    "concat_split": Case(convolutional.ConcatSplit, {"x": IMAGE}),
    "prelu": Case(convolutional.prelu, {"input": IMAGE}),
    "silu": Case(convolutional.silu, {"input": IMAGE}),
    "separable": Case(convolutional.separable, {"input": IMAGE}),
    "norms": Case(convolutional.instance_and_group_norm, {"input": IMAGE}),
    "squeeze_excite": Case(convolutional.SqueezeExcite, {"x": IMAGE}),
    "two_by_two": Case(
        convolutional.TwoByTwo, {"image": IMAGE, "features": Floats((6,))}, keywords=("features",), outputs=2
    ),
    "lstm": Case(sequential.LstmClassifier, {"frames": Floats((12, 8))}),
    "attention": Case(sequential.AttentionClassifier, {"tokens": Floats((8, 32))}),
    "norm_mlp": Case(sequential.NormMlp, {"x": Floats((8, 32))}),
    "embedding": Case(sequential.TokenClassifier, {"ids": Tokens(12, 64)}),
}
"""By construct; the input names are those of ``forward``, as torch.onnx.export gives them to the graph."""

ARCHITECTURES: dict[str, Case] = {
    "yolo": Case(architectures.Yolo, {"image": Floats((3, 32, 32))}, outputs=3),
    "unet": Case(architectures.UNet, {"x": Floats((1, 32, 32))}),
    "dense_net": Case(architectures.dense_net, {"input": Floats((3, 32, 32))}),
    "mobilenet_v3": Case(architectures.mobilenet_v3, {"input": Floats((3, 32, 32))}),
    "vision_transformer": Case(architectures.VisionTransformer, {"image": Floats((3, 32, 32))}),
    "conv_next": Case(architectures.conv_next, {"input": Floats((3, 32, 32))}),
    "temporal_conv_net": Case(signals.TemporalConvNet, {"signal": Floats((6, 48))}, outputs=2),
    "gru_tagger": Case(signals.GruTagger, {"ids": Tokens(10, 100)}),
    "keyword_spotter": Case(signals.keyword_spotter, {"input": Floats((1, 40, 98))}),
    "super_resolution": Case(architectures.SuperResolution, {"image": Floats((3, 16, 16))}),
}
"""Whole architectures, written before the tool was tried on any of them; under 300,000 parameters each."""
