"""Settings: overrides, image specs, recipes, lint's config, encodings files; JSON and YAML that grow."""

from __future__ import annotations

import json

from hostile.case import QUANTIZE, Case

OVERRIDES, RECIPE = (*QUANTIZE, "--overrides", "o.yaml"), (*QUANTIZE[:4], "--recipe", "r.yaml", "-o", "out")
IMAGES, CONFIG = ("quantize", "net.onnx", "--data", "photos", "--images", "i.yaml", "-o", "out"), ("lint", "net.onnx", "--config", "l.yaml")
INFO = ("info", "m.encodings")
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 24))
ALIASES = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi"))
GROWING = {
    "merge keys that double": MERGES,
    "aliases of aliases": ALIASES,
    "an alias of itself": "a: &a [*a]",
    "10,000 levels": "[" * 10_000 + "]" * 10_000,
    "5,000 levels of lists": "- " * 5000 + "x",
    "an integer of a million digits": "x: " + "9" * 1_000_000,
    "17 MB": "#" * (17 << 20),
    "no UTF-8": "\udcff\udcfe",
    "a tab in the margin": "a:\n\t- b",
    "an unknown tag": "!!python/object/apply:os.system ['touch owned']",
    "a document after the first": "a: 1\n---\nb: 2",
    "text": "just words",
    "a list": "[1, 2]",
    "a number": "5",
}
GLOBS = {
    "float: 'false'": ('"*": {float: "false"}', "'float'"),
    "float: 0": ('"*": {float: 0}', "'float'"),
    "bits: '8'": ('"*": {bits: "8"}', "'bits'"),
    "bits: true": ('"*": {bits: true}', "'bits'"),
    "bits: 7": ('"*": {bits: 7}', "'bits'"),
    "bits: 1e308": ('"*": {bits: 1e308}', "'bits'"),
    "symmetric: 'no'": ('"*": {symmetric: "no"}', "'symmetric'"),
    "granularity: row": ('"*": {granularity: row}', "'granularity'"),
    "block_size: '64'": ('"*": {block_size: "64"}', "'block_size'"),
    "block_size: -1": ('"*": {block_size: -1}', "'block_size'"),
    "observer: 5": ('"*": {observer: 5}', "'observer'"),
    "observer: nonsense": ('"*": {observer: nonsense}', "nonsense"),
    "an unknown key": ('"*": {bitz: 8}', "keys among"),
    "an unknown scheme": ('"*": w3a3', "w3a3"),
    "a glob twice": ('"c": w8a16\n"c": w8a8', "stands twice"),
    "a number as glob": ("1: w8a16", "in quotes"),
    "true as glob": ("true: w8a16", "in quotes"),
    "nothing as glob": ("~: w8a16", "in quotes"),
    "a list as glob": ("? [a, b]\n: w8a16", ""),
    "a glob of a zero byte": ('"a\\0b": w8a16', "zero byte"),
    "a glob that matches nothing": ('"ghost*": w8a16', "ghost"),
    "a setting that is a list": ('"*": [w8a8]', "must be a scheme"),
    "a setting that is nothing": ('"*": ~', "must be a scheme"),
}
ENTRY = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "max": 1.0, "min": 0.0, "offset": 0, "scale": 0.1}
ENTRIES = {
    "a scale of true": {"scale": True},
    "a scale of text": {"scale": "0.1"},
    "a scale of 0": {"scale": 0},
    "a negative scale": {"scale": -0.1},
    "a scale of 3e38": {"scale": 3e38},
    "a scale of 1e-60": {"scale": 1e-60},
    "a scale of NaN": {"scale": float("nan")},
    "a scale of infinity": {"scale": float("inf")},
    "a scale of 1e999": {"scale": 1e308 * 10},
    "no scale": {"scale": None},
    "a list of scales in a list": {"scale": [[0.1]]},
    "an offset of true": {"offset": True},
    "an offset of 5": {"offset": 5},
    "an offset of -0.5": {"offset": -0.5},
    "an offset of 1e300": {"offset": 1e300},
    "0 bits": {"bitwidth": 0},
    "a billion bits": {"bitwidth": 10**9},
    "bits of text": {"bitwidth": "8"},
    "an unknown dtype": {"dtype": "complex"},
    "symmetric: 'maybe'": {"is_symmetric": "maybe"},
}


def encodings(**changes: object) -> str:
    document = {"version": "0.6.1", "activation_encodings": {"c": [ENTRY | changes]}, "param_encodings": {}}
    return json.dumps(document)


RECIPES = {
    "no steps": ("name: x", "steps"),
    "an unknown step": ("steps: [magic]", "magic"),
    "an unknown setting": ("steps: [{calibrate: {speed: 9}}]", "speed"),
    "a setting of wrong type": ('steps: [{round_weights: {method: 5}}]', "method"),
    "a step twice in one entry": ("steps: [{calibrate: {}, calibrate: {}}]", "stands twice"),
    "a step that is a number": ("steps: [5]", "5"),
    "a step inside a step": ("steps: [{if_better: {if_better: calibrate}}]", ""),
}
SPECS = {
    "an unknown key": ("sise: 8", "sise"),
    "a size of text": ('size: "8"', "size"),
    "a size of 0": ("size: 0", "size"),
    "a size of a million": ("size: 1000000", "size"),
    "a size of true": ("size: true", "size"),
    "a std of 0": ("std: 0", "std"),
    "a mean of text": ("mean: [a, b, c]", "mean"),
    "a mean of two": ("mean: [0.5, 0.5]", "mean"),
    "a scale of NaN": ("scale: .nan", "scale"),
    "a resize of -1": ("resize: -1", "resize"),
    "a resize below the size": ("resize: 4", "resize"),
    "a color of green": ("color: GREEN", "color"),
    "a layout of letters": ("layout: ABCD", "layout"),
    "the size twice": ("size: 8\nsize: 9", "stands twice"),
}
LINTS = {"an unknown key": ("surpress: []", "suppress"), "an unknown rule": ("suppress: [magic]", "magic"), "a rule that is a number": ("suppress: [5]", "")}


def cases() -> list[Case]:
    from hostile.data import photo

    found = [Case(f"overrides: {what}", {"o.yaml": text}, OVERRIDES) for what, text in GROWING.items()]
    found += [Case(f"overrides: {what}", {"o.yaml": text}, OVERRIDES, words=words) for what, (text, words) in GLOBS.items()]
    found += [Case(f"overrides as JSON: {what}", {"o.yaml": text}, OVERRIDES) for what, text in {"a key twice": '{"c": "w8a16", "c": "w8a8"}', "cut short": '{"c": '}.items()]
    found += [Case(f"recipe: {what}", {"r.yaml": text}, RECIPE, words=words) for what, (text, words) in RECIPES.items()]
    found += [Case(f"recipe: {what}", {"r.yaml": GROWING[what]}, RECIPE) for what in ("merge keys that double", "10,000 levels", "text")]
    found += [Case(f"image spec: {what}", {"i.yaml": text, "photos/a.png": photo}, IMAGES, words=words) for what, (text, words) in SPECS.items()]
    found += [Case(f"image spec: {what}", {"i.yaml": GROWING[what], "photos/a.png": photo}, IMAGES) for what in ("merge keys that double", "an alias of itself", "a list")]
    found += [Case(f"lint config: {what}", {"l.yaml": text}, CONFIG, words=words) for what, (text, words) in LINTS.items()]
    found += [Case(f"lint config: {what}", {"l.yaml": GROWING[what]}, CONFIG) for what in ("merge keys that double", "5,000 levels of lists")]
    found += [Case(f"encodings: {what}", {"m.encodings": encodings(**change)}, INFO, words="'c'" if "1e999" not in what else "") for what, change in ENTRIES.items()]
    texts = {"nothing": "", "a list": "[]", "text": "hello", "an unknown version": '{"version": "9"}', "no sections": '{"version": "1.0.0"}', "10,000 levels": "[" * 10_000 + "]" * 10_000, "a key twice": encodings().replace('"param_encodings"', '"version": "1.0.0", "param_encodings"'), "cut short": encodings()[:60], "a zero byte": "\0" * 50, "no UTF-8": "\udcff"}
    found += [Case(f"encodings: {what}", {"m.encodings": text}, INFO) for what, text in texts.items()]
    return found
