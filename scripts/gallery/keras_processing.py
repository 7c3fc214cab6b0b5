"""One small network for every preprocessing, normalization, attention, reshaping, merging ... layer of Keras."""

from __future__ import annotations

from typing import Any

from gallery.keras_layers import BOX, IMAGE, LINE, STEPS, VECTOR, WORDS, Network, each

PHOTO = (12, 12, 3)


def processing_networks() -> dict[str, Network]:
    """Everything that is no core, convolution, pooling or recurrent layer, by name."""
    parts = (_preprocessing, _augmentation, _normalization, _regularization, _attention, _reshaping, _merging)
    return {name: network for part in (*parts, _activations, _compositions) for name, network in part().items()}


def _preprocessing() -> dict[str, Network]:
    import numpy as np
    from keras import layers as kl

    pixels = each(
        PHOTO,
        "pixels",
        Rescaling=kl.Rescaling(1 / 127.5, offset=-1),
        Resizing=kl.Resizing(8, 8),
        Resizing_up=kl.Resizing(24, 20),
        Resizing_nearest=kl.Resizing(24, 24, interpolation="nearest"),
        Resizing_bicubic=kl.Resizing(24, 24, interpolation="bicubic"),
        Resizing_cropped=kl.Resizing(8, 6, crop_to_aspect_ratio=True),
        Resizing_padded=kl.Resizing(8, 6, pad_to_aspect_ratio=True),
        CenterCrop=kl.CenterCrop(8, 7),
        Solarization=kl.Solarization(threshold_factor=0.5),
        AutoContrast=kl.AutoContrast(),
        ContrastLimitedAdaptiveHistogramEqualization=lambda x: kl.ContrastLimitedAdaptiveHistogramEqualization()(x),
        Pipeline=kl.Pipeline([kl.Rescaling(1 / 255), kl.CenterCrop(8, 8)]),
    )
    audio = each(
        (2000, 1),
        STFTSpectrogram=kl.STFTSpectrogram(mode="magnitude", frame_length=64, frame_step=32, fft_length=64),
        STFTSpectrogram_log=kl.STFTSpectrogram(frame_length=64, frame_step=32, fft_length=64),
    )
    audio |= each((2000,), MelSpectrogram=kl.MelSpectrogram(fft_length=128, sequence_stride=64, num_mel_bins=20))
    ids = each(
        (6,),
        "ids",
        CategoryEncoding=kl.CategoryEncoding(WORDS, output_mode="multi_hot"),
        IntegerLookup=lambda x: kl.Embedding(8, 4)(kl.IntegerLookup(vocabulary=[3, 5, 7, 9])(x)),
        Hashing=lambda x: kl.Embedding(8, 4)(kl.Hashing(8)(x)),
    )
    normal = kl.Normalization(mean=np.arange(12.0), variance=np.arange(1.0, 13.0))
    return (
        pixels
        | audio
        | ids
        | {
            "Normalization": Network(normal, (VECTOR,)),
            "Discretization": Network(
                lambda x: kl.Embedding(4, 4)(kl.Discretization(bin_boundaries=[-0.5, 0.1, 1.0])(x)), (VECTOR,)
            ),
            "HashedCrossing": Network(
                lambda a, b: kl.Embedding(8, 4)(kl.HashedCrossing(8)((a, b))), ((1,), (1,)), "ids"
            ),
            "StringLookup": Network(
                lambda x: kl.Embedding(8, 4)(kl.StringLookup(vocabulary=["a", "b"])(x)), ((4,),), "strings"
            ),
            "TextVectorization": Network(
                lambda x: kl.Embedding(8, 4)(kl.TextVectorization(vocabulary=["a", "b"])(x)), ((1,),), "strings"
            ),
        }
    )


def _augmentation() -> dict[str, Network]:
    """Random layers change nothing in inference (RandomCrop cuts the middle)."""
    from keras import layers as kl

    names = """
        RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomElasticTransform RandomErasing
        RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
        RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom AugMix RandAugment
        MixUp CutMix
    """
    settings: dict[str, Any] = {
        "RandomBrightness": {"factor": 0.2},
        "RandomColorDegeneration": {"factor": 0.5},
        "RandomContrast": {"factor": 0.2},
        "RandomGrayscale": {},
        "RandomHue": {"factor": 0.2},
        "RandomInvert": {"factor": 0.2},
        "RandomPosterization": {"factor": 4},
        "RandomRotation": {"factor": 0.2},
        "RandomSaturation": {"factor": 0.2},
        "RandomSharpness": {"factor": 0.2},
        "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
        "RandomZoom": {"height_factor": 0.2},
    }
    found = {"RandomCrop": Network(lambda x: kl.RandomCrop(8, 8)(x) / 255, (PHOTO,), "pixels")}
    for name in names.split():
        layer = getattr(kl, name)(**settings.get(name, {}))
        found[name] = Network(lambda x, layer=layer: layer(x) / 255, (PHOTO,), "pixels")
    return found


def _normalization() -> dict[str, Network]:
    from keras import layers as kl

    return each(
        IMAGE,
        BatchNormalization=kl.BatchNormalization(),
        BatchNormalization_axis1=kl.BatchNormalization(axis=1),
        BatchNormalization_plain=kl.BatchNormalization(scale=False, center=False),
        LayerNormalization=kl.LayerNormalization(),
        LayerNormalization_axes=kl.LayerNormalization(axis=[1, 2, 3]),
        GroupNormalization=kl.GroupNormalization(2),
        GroupNormalization_instance=kl.GroupNormalization(-1),
        UnitNormalization=kl.UnitNormalization(),
        RMSNormalization=kl.RMSNormalization(),
        SpectralNormalization=kl.SpectralNormalization(kl.Conv2D(4, 3)),
    )


def _regularization() -> dict[str, Network]:
    from keras import layers as kl

    found: dict[str, Network] = {}
    for rank, shape in ((1, LINE), (2, IMAGE), (3, BOX)):
        dropout = getattr(kl, f"SpatialDropout{rank}D")(0.3)
        found[f"SpatialDropout{rank}D"] = Network(lambda x, dropout=dropout: dropout(x) * 2.0, (shape,))
    rest = {
        "Dropout": kl.Dropout(0.3),
        "GaussianDropout": kl.GaussianDropout(0.3),
        "AlphaDropout": kl.AlphaDropout(0.3),
        "GaussianNoise": kl.GaussianNoise(0.3),
        "ActivityRegularization": kl.ActivityRegularization(0.1),
    }
    return found | {n: Network(lambda x, layer=layer: layer(x) * 2.0, (VECTOR,)) for n, layer in rest.items()}


def _attention() -> dict[str, Network]:
    from keras import layers as kl

    one = each(
        STEPS,
        MultiHeadAttention=lambda x: kl.MultiHeadAttention(2, 3)(x, x),
        MultiHeadAttention_causal=lambda x: kl.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
        MultiHeadAttention_scores=lambda x: list(kl.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)),
        GroupQueryAttention=lambda x: kl.GroupQueryAttention(3, 4, 2)(x, x),
        Attention=lambda x: kl.Attention()([x, x]),
        Attention_concat=lambda x: kl.Attention(score_mode="concat", use_scale=True)([x, x]),
        AdditiveAttention=lambda x: kl.AdditiveAttention()([x, x]),
    )
    return one | {
        "MultiHeadAttention 2-D": Network(lambda x: kl.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x), (IMAGE,)),
        "MultiHeadAttention cross": Network(lambda q, v: kl.MultiHeadAttention(2, 3)(q, v), (STEPS, LINE)),
    }


def _reshaping() -> dict[str, Network]:
    from keras import layers as kl

    found = each(
        IMAGE,
        Reshape=kl.Reshape((24, 24)),
        Flatten=lambda x: kl.Dense(4)(kl.Flatten()(x)),
        Permute=kl.Permute((3, 1, 2)),
        Cropping2D=kl.Cropping2D(((1, 2), (0, 3))),
        UpSampling2D=kl.UpSampling2D(2),
        UpSampling2D_bilinear=kl.UpSampling2D((2, 3), interpolation="bilinear"),
        ZeroPadding2D=kl.ZeroPadding2D(((1, 0), (2, 3))),
    )
    lines = each(LINE, Cropping1D=kl.Cropping1D(2), UpSampling1D=kl.UpSampling1D(3), ZeroPadding1D=kl.ZeroPadding1D(2))
    boxes = each(BOX, Cropping3D=kl.Cropping3D(1), UpSampling3D=kl.UpSampling3D(2), ZeroPadding3D=kl.ZeroPadding3D(1))
    return found | lines | boxes | {"RepeatVector": Network(kl.RepeatVector(3), (VECTOR,))}


def _merging() -> dict[str, Network]:
    from keras import layers as kl

    found: dict[str, Network] = {}
    for name in ["Concatenate", "Average", "Maximum", "Minimum", "Add", "Subtract", "Multiply"]:
        merge = getattr(kl, name)()
        found[name] = Network(lambda *x, merge=merge: merge(list(x)), (IMAGE, IMAGE))
    return found | {
        "Dot": Network(lambda a, b: kl.Dot(axes=(2, 2))([a, b]), (STEPS, (4, 6))),
        "Dot_normalized": Network(lambda a, b: kl.Dot(axes=1, normalize=True)([a, b]), (VECTOR, VECTOR)),
        "Add three": Network(lambda *x: kl.Add()(list(x)), (VECTOR, VECTOR, VECTOR)),
    }


def _activations() -> dict[str, Network]:
    from keras import layers as kl

    names = """
        relu leaky_relu relu6 softmax celu elu selu softplus softsign squareplus soft_shrink sparse_plus silu gelu glu
        tanh tanh_shrink sigmoid sparse_sigmoid exponential hard_sigmoid hard_silu hard_tanh hard_shrink linear mish
        log_softmax log_sigmoid sparsemax
    """
    functions = {f"activation {n}": Network(kl.Activation(n), (VECTOR,)) for n in names.split() if n != "linear"}
    return functions | each(
        IMAGE,
        ReLU=kl.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2),
        ReLU_6=kl.ReLU(6.0),
        Softmax=kl.Softmax(),
        LeakyReLU=kl.LeakyReLU(),
        PReLU=kl.PReLU(shared_axes=[1, 2]),
        PReLU_all=kl.PReLU(),
        ELU=kl.ELU(),
    )


def _compositions() -> dict[str, Network]:
    """Layers of different layouts side by side."""
    import keras
    from keras import layers as kl

    def residual(x: Any) -> Any:
        y = kl.BatchNormalization()(kl.Conv2D(4, 3, padding="same", use_bias=False)(x))
        y = kl.ReLU(6.0)(kl.BatchNormalization()(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(y)))
        gate = kl.Conv2D(4, 1, activation="sigmoid")(kl.GlobalAveragePooling2D(keepdims=True)(y))
        return kl.Dense(5)(kl.GlobalAveragePooling2D()(kl.Add()([x, kl.Multiply()([y, gate])])))

    def shuffle(x: Any) -> Any:
        y = kl.Reshape((12, 12, 2, 2, 4))(kl.Conv2D(16, 3, padding="same")(x))
        return kl.Conv2D(3, 3)(kl.Reshape((24, 24, 4))(kl.Permute((1, 3, 2, 4, 5))(y)))

    def encoder(x: Any) -> Any:
        x = kl.Reshape((36, 8))(kl.Conv2D(8, 2, strides=2)(x))
        x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x))
        return kl.Dense(3)(kl.GlobalAveragePooling1D()(x + kl.Dense(8)(kl.Dense(16, activation="gelu")(x))))

    def unet(x: Any) -> Any:
        down = kl.Conv2D(6, 3, padding="same", activation="relu")(x)
        deep = kl.Conv2D(8, 3, padding="same", activation="relu")(kl.MaxPooling2D()(down))
        up = kl.UpSampling2D(interpolation="bilinear")(deep)
        return kl.Conv2D(2, 1, activation="softmax")(kl.Concatenate()([up, down]))

    def nested(x: Any) -> Any:
        inner = keras.Sequential([kl.Conv2D(4, 3, padding="same", name="inside"), kl.ReLU()], name="block")
        return kl.Dense(3)(kl.Flatten()(inner(inner(x))))

    def crnn(x: Any) -> Any:
        x = kl.Conv2D(6, 3, padding="same", activation="relu")(x)
        x = kl.Reshape((12, 72))(kl.Permute((2, 1, 3))(x))
        return kl.Dense(5, activation="softmax")(kl.Bidirectional(kl.LSTM(6, return_sequences=True))(x))

    builders = {"residual": residual, "pixel shuffle": shuffle, "encoder": encoder, "unet": unet}
    builders |= {"nested": nested, "crnn": crnn}
    return {f"composed {name}": Network(build, (IMAGE,)) for name, build in builders.items()}
