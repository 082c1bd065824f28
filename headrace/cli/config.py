"""`headrace config`: the profiles in ~/.config/headrace/config.toml, which only its owner reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.exits import Exit, errors_ended, fail
from headrace.cli.options import OutputOption

if TYPE_CHECKING:
    from headrace.client.address import Address

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A profile's name.")]


def show(output: OutputOption = "table") -> None:
    """Show the profiles. Keys and passwords are not shown."""
    from headrace.cli.output import draw, emit_lines, write, write_lines

    file, profiles = _read()
    rows = [
        {"profile": name, "url": str(it), "api_key": "stored" if it.api_key else None}
        for name, it in profiles.items()
    ]
    if output == "json":
        write(json.dumps({"file": str(file), "profiles": rows}, ensure_ascii=False, indent=2))
    elif output == "jsonl":
        emit_lines(rows)
    elif output == "id":
        write_lines(profiles)
    else:
        from headrace.cli import tables

        draw(tables.table(("PROFILE", "URL", "API KEY"), ([*row.values()] for row in rows)))


def set_profile(
    name: NameArgument = "default",
    url: Annotated[str | None, typer.Option(help="Where the API is, or Redis.")] = None,
    api_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="A file with the API key; -: stdin, not shown."),
    ] = None,
) -> None:
    """Make or change a profile. Only you can read the file. Comments in it are lost."""
    from headrace.client.address import Address, find_address

    file, profiles = _read()
    before = profiles.get(name)
    key = before.api_key if before and url in (None, before.url) else None
    if api_key_file == "-":
        key = typer.prompt("API key", hide_input=True).strip()
    elif api_key_file is not None:
        try:
            key = Path(api_key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            fail(Exit.USAGE, f"{api_key_file} cannot be read: {error}")
    url = url or (before.url if before else None)
    if url is None:
        fail(Exit.USAGE, f"there is no profile {name} yet: say where it is, by --url")
    with errors_ended():
        address = find_address(url, key, environ={})
    _write(file, {**profiles, name: Address(address.url, address.api_key)})


def rm(name: NameArgument) -> None:
    """Remove a profile."""
    file, profiles = _read()
    if name not in profiles:
        fail(Exit.NOT_FOUND, f"there is no profile {name}", "`headrace config show` lists them")
    _write(file, {it: profiles[it] for it in profiles if it != name})


def _read() -> tuple[Path, dict[str, Address]]:
    import tomllib

    from headrace.client.address import config_file, read_profile

    file = config_file()
    if not file.exists():
        return file, {}
    with errors_ended():
        read_profile(None, file)  # whoever else can read it, and what is no TOML, is refused
        names = tomllib.loads(file.read_text(encoding="utf-8"))
        return file, {name: read_profile(name, file) for name in names}


def _write(file: Path, profiles: dict[str, Address]) -> None:
    import os
    import tempfile

    lines: list[str] = []
    for name, address in profiles.items():
        lines += [f"[{_quoted(name)}]", f"url = {_quoted(address.url)}"]
        if address.api_key is not None:
            lines.append(f"api_key = {_quoted(address.api_key)}")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent)  # it is made with the mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write("\n".join([*lines, ""]))
    Path(draft).replace(file)


def _quoted(text: str) -> str:
    """A text as TOML has it: as in JSON."""
    return json.dumps(text, ensure_ascii=False)
