"""A decoder of transformers as a network of fixed shapes: tokens and a cache in, logits and new cache entries out.

The module itself is traced, whatever its architecture. Its attention goes through transformers' AttentionInterface to
:func:`static_attention`, which joins the cache (an input) with the new keys and values (outputs); its rotary embedding
is replaced by one that reads cosine and sine from inputs, or from a table by position. Layout of the tensors, as
Genie's documentation and the open sources of AI Hub Models (``_shared/llm``) have it, with AR new tokens, a context of
CL tokens, KV heads of width HD::

    input_ids            (1, AR) int32
    attention_mask       (1, 1, AR, CL)     0 where a token is seen, ``mask`` (negative) where it is not
    position_ids_cos/sin (1, 1, AR, R / 2)  for one rotary embedding of width R, or
    position_ids         (1, AR) int32      for everything else that depends on the position
    past_key_<i>_in      (KV, 1, HD, CL - AR), past_value_<i>_in (KV, 1, CL - AR, HD)
    logits               (1, AR, vocabulary)
    past_key_<i>_out     (KV, 1, HD, AR), past_value_<i>_out (KV, 1, AR, HD)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hexaquant.core.errors import InputError

ATTENTION = "hexaquant_static"
"""Name of :func:`static_attention` in transformers' AttentionInterface."""
Positions = Literal["rotary", "index"]


@dataclass(frozen=True)
class Shapes:
    """Sizes of one graph: ``tokens`` new tokens (AR), ``context`` (CL) tokens in all."""

    tokens: int
    context: int

    @property
    def past(self) -> int:
        """Columns of the cache that goes in."""
        return self.context - self.tokens


@dataclass(frozen=True)
class Layer:
    """Attention of one layer: heads of the cache, widths of a key and a value, sliding window (None: sees all)."""

    heads: int
    key_width: int
    value_width: int
    window: int | None


@dataclass
class Step:
    """One call of the decoder: masks (``windows``: by sliding window) and the cache that goes in; what comes out."""

    mask: Tensor
    windows: dict[int, Tensor]
    past: list[tuple[Tensor, Tensor]]
    new: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass
class Probe:
    """Stands for a Step in a call that only finds out about the layers."""

    layers: dict[int, Layer] = field(default_factory=dict)


def static_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    hexaquant_step: Step | Probe | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of ``query`` (1, heads, AR, HD) over the cache and ``key``, ``value`` (1, KV, AR, HD).

    Returns (1, AR, heads, HD). Query heads that share a key head are stacked along the rows, so that each key head is
    read once.
    """
    if hexaquant_step is None:
        raise InputError(f"{type(module).__name__} does not pass arguments on to its attention")
    if kwargs.get("s_aux") is not None:
        raise InputError(f"{type(module).__name__} has attention sinks, which no graph of Genie's form holds")
    step, layer = hexaquant_step, int(module.layer_idx)  # type: ignore[arg-type]
    _, heads, tokens, width = query.shape
    groups = key.shape[1]
    value_width = value.shape[3]
    if isinstance(step, Probe):
        step.layers[layer] = Layer(groups, width, value_width, sliding_window)
        return query.transpose(1, 2)[..., :1].expand(-1, -1, -1, value_width), None
    new_key = key.permute(1, 0, 3, 2)
    new_value = value.permute(1, 0, 2, 3)
    step.new[layer] = (new_key, new_value)
    all_keys = torch.cat([step.past[layer][0], new_key], 3)
    all_values = torch.cat([step.past[layer][1], new_value], 2)
    scaled = query * (width**-0.5 if scaling is None else scaling)
    scores = scaled.reshape(groups, 1, heads // groups * tokens, width) @ all_keys
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.reshape(groups, heads // groups, tokens, -1)
    mask = step.mask if sliding_window is None else step.windows.get(sliding_window, step.mask)
    weights = torch.softmax(scores + mask, -1).reshape(groups, 1, heads // groups * tokens, -1)
    found = (weights @ all_values).reshape(1, heads, tokens, value_width)
    return found.transpose(1, 2), None


class RotaryInputs(nn.Module):
    """Stands for a rotary embedding: cosine and sine come from the current call's inputs."""

    def __init__(self, decoder: StaticDecoder) -> None:
        super().__init__()
        self._decoder = [decoder]  # in a list: the decoder is no submodule of this one

    def forward(self, x: Tensor, position_ids: Tensor | None = None, layer_type: str | None = None) -> Any:
        return self._decoder[0].cosine_and_sine(layer_type)


class RotaryTable(nn.Module):
    """The cosine and sine of each position, precomputed: ``cos_<kind>``, ``sin_<kind>`` (CL, R)."""

    def __init__(self, original: nn.Module, kinds: list[str | None], context: int) -> None:
        super().__init__()
        for kind in kinds:
            cos, sin = rotary_values(original, kind, context)
            self.register_buffer(f"cos_{kind}", cos)
            self.register_buffer(f"sin_{kind}", sin)

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> tuple[Tensor, Tensor]:
        return getattr(self, f"cos_{layer_type}")[position_ids], getattr(self, f"sin_{layer_type}")[position_ids]


def rotary_values(rotary: nn.Module, kind: str | None, context: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (``context``, R) that ``rotary`` gives for the positions 0, 1, ... of layers of ``kind``."""
    positions = torch.arange(context)[None]
    arguments = () if kind is None else (kind,)
    with torch.no_grad():
        cos, sin = rotary(torch.zeros(1, 1, 1), positions, *arguments)
    return cos[0].float(), sin[0].float()


class StaticDecoder(nn.Module):
    """``model`` (a causal language model of transformers) with the inputs and outputs above, for ``shapes``.

    It has its own modules but the weights of ``model``, which stays as it is. ``mask``: the value of a token that is
    not seen. Raises InputError for architectures whose attention cannot be reached.
    """

    def __init__(self, model: Any, shapes: Shapes, positions: Positions, mask: float) -> None:
        super().__init__()
        self.shapes = shapes
        self.positions = positions
        self.model = twin_of(model)
        self.layers = probe_layers(self.model)
        self._current: tuple[Tensor, Tensor] | None = None
        _replace_rotary(self)
        self.windows = windows_of(self.layers, shapes.context)
        for window in self.windows:
            self.register_buffer(f"window_{window}", window_table(window, shapes, mask))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """``rest``: cosine and sine, or positions; then key and value of each layer. Returns logits, keys, values."""
        count = 2 if self.positions == "rotary" else 1
        where = rest[:count]
        cache = rest[count:]
        position_ids = torch.zeros_like(input_ids)
        if self.positions == "rotary":
            self._current = tuple(_both_halves(half) for half in where)  # type: ignore[assignment]
        else:
            position_ids = where[0]
        past = [(cache[2 * i], cache[2 * i + 1]) for i in range(len(cache) // 2)]
        step = Step(attention_mask, self._window_masks(attention_mask, position_ids), past)
        logits = self.model(
            input_ids=input_ids, position_ids=position_ids, use_cache=False, hexaquant_step=step, return_dict=True
        ).logits
        self._current = None
        return (logits, *(tensor for i in range(len(past)) for tensor in step.new[i]))

    def cosine_and_sine(self, layer_type: str | None) -> tuple[Tensor, Tensor]:
        """Those of the current call, (1, AR, R)."""
        assert self._current is not None
        return self._current

    def _window_masks(self, mask: Tensor, position_ids: Tensor) -> dict[int, Tensor]:
        """The mask of layers with a sliding window: what the mask hides and what has left the window."""
        found: dict[int, Tensor] = {}
        for window in self.windows:
            left = getattr(self, f"window_{window}")[position_ids][:, None]  # (1, 1, AR, past)
            new = mask[..., self.shapes.past :]
            found[window] = torch.cat([torch.minimum(mask[..., : self.shapes.past], left), new], -1)
        return found


def _both_halves(half: Tensor) -> Tensor:
    """(1, AR, R) from (1, 1, AR, R / 2)."""
    flat = half.reshape(1, half.shape[2], half.shape[3])
    return torch.cat([flat, flat], -1)


def probe_layers(twin: Any) -> tuple[Layer, ...]:
    """What the attention of each layer gets, from a call with one token. Raises InputError where some has none."""
    probe = Probe()
    name = type(twin).__name__
    token = torch.zeros(1, 1, dtype=torch.long)
    try:
        with torch.no_grad():
            twin(input_ids=token, position_ids=token, use_cache=False, hexaquant_step=probe)
    except (TypeError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is no decoder that can be traced: {str(error).splitlines()[0]}") from error
    count = int(twin.config.num_hidden_layers)
    if set(probe.layers) != set(range(count)):
        raise InputError(
            f"{len(probe.layers)} of the {count} layers of {name} call transformers' attention interface: the others "
            "(recurrent, convolutional) keep a state that Genie's cache of keys and values does not hold"
        )
    return tuple(probe.layers[index] for index in range(count))


def windows_of(layers: tuple[Layer, ...], context: int) -> list[int]:
    """Sliding windows that are shorter than ``context``."""
    return sorted({layer.window for layer in layers if layer.window is not None and layer.window < context})


def window_table(window: int, shapes: Shapes, mask: float) -> Tensor:
    """(CL, past): ``mask`` where a cache column (of a token) lies too far back for the token at a position (row)."""
    if shapes.tokens > window:
        raise InputError(f"prompt chunks of {shapes.tokens} tokens are longer than the sliding window of {window}: "
                         f"give --prompt {window} or less")  # fmt: skip
    row = torch.arange(shapes.context)[:, None]
    column = torch.arange(shapes.past)[None]
    return torch.where(column > row - window, 0.0, mask)


def twin_of(model: Any) -> Any:
    """A copy of the modules of ``model`` that shares its parameters and buffers and uses our attention."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, static_attention)
    shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, memo=shared)
    for module in twin.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = ATTENTION
    return twin.eval()


def rotary_modules(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, attribute, module) of the rotary embeddings in ``model``."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child).__name__.endswith("RotaryEmbedding"):
                yield parent, name, child


def layer_kinds(rotary: nn.Module) -> list[str | None]:
    """Kinds of layers that ``rotary`` distinguishes (Gemma 3: a frequency base for each); [None] where it does not."""
    kinds = getattr(rotary, "layer_types", None)
    return list(kinds) if kinds else [None]


def _replace_rotary(decoder: StaticDecoder) -> None:
    for parent, name, rotary in list(rotary_modules(decoder.model)):
        if decoder.positions == "rotary":
            setattr(parent, name, RotaryInputs(decoder))
        else:
            setattr(parent, name, RotaryTable(rotary, layer_kinds(rotary), decoder.shapes.context))
