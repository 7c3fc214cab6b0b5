"""A page for each command of ``hexaquant``, from the typer application itself."""

from __future__ import annotations

from typing import Any

from docs_site.text import code, plain, table

EXAMPLES = "Examples:\n\n\b\n"


def commands() -> dict[str, Any]:
    """Name -> command, in the order of ``hexaquant --help``."""
    from typer.main import get_command

    from hexaquant.cli.app import app

    return dict(get_command(app).commands)  # type: ignore[attr-defined]


def command_page(name: str, command: Any) -> str:
    """The Markdown page of one command: what it does, usage, arguments, options, examples."""
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-")]
    usage = " ".join(_name(p) for p in arguments)
    parts = [
        f"# hexaquant {name}",
        _prose(command.help or ""),
        f"```text\nhexaquant {name} [OPTIONS] {usage}".rstrip() + "\n```",
    ]
    if arguments:
        rows = [[code(_name(p)), _description(p)] for p in arguments]
        parts += ["## Arguments", table(["argument", "meaning"], rows)]
    rows = [[_spellings(p), _description(p)] for p in options]
    rows.append(["`-h`, `--help`", "Print this as text and exit."])
    parts += ["## Options", table(["option", "meaning"], rows)]
    examples, rest = _epilog(command.epilog or "")
    if examples:
        parts += ["## Examples", f"```text\n{examples}\n```"]
    return "\n\n".join([*parts, _prose(rest)]).rstrip() + "\n"


def _name(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _spellings(parameter: Any) -> str:
    """Long and short forms, and the kind of value."""
    forms = ", ".join(code(form) for form in parameter.opts)
    if parameter.is_flag:
        return forms
    kind = parameter.metavar or _kind(parameter.type_descriptor.annotation)
    return f"{forms} {kind}"


def _kind(annotation: Any) -> str:
    text = (
        getattr(annotation, "__name__", str(annotation))
        if not getattr(annotation, "__args__", None)
        else str(annotation)
    )
    for word, shown in (("Path", "PATH"), ("int", "NUMBER"), ("float", "NUMBER"), ("bool", "")):
        if word in text:
            return shown
    return "TEXT"


def _description(parameter: Any) -> str:
    """The help, with the default, "required" or "may be repeated"."""
    text = plain(parameter.help or "")
    if parameter.required:
        return f"{text} **Required.**"
    shown = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    if getattr(parameter, "is_flag", False) or shown in (None, False, ()) or parameter.show_default is False:
        return text
    return f"{text} Default: {code(str(shown))}."


def _epilog(epilog: str) -> tuple[str, str]:
    """(the examples, what stands after them)."""
    if not epilog.startswith(EXAMPLES):
        return "", epilog
    examples, _, rest = epilog.removeprefix(EXAMPLES).partition("\n\n")
    return "\n".join(line.removeprefix("  ") for line in examples.splitlines()), rest


def _prose(text: str) -> str:
    return "\n\n".join(plain(part) for part in text.split("\n\n"))
