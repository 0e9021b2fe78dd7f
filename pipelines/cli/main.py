"""The ``sharpline`` command: a table of commands, each in a module of its own that is imported when it is called.

Help lines stand in the table, so that ``sharpline --help`` imports no command, no pydantic and no Ray. Other
packages add commands of their own (see ``pipelines.cli.plugins``).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from pipelines.cli.plugins import find_plugins
from pipelines.errors import SharplineError

COMMANDS: Final = {
    "run": ("pipelines.cli.run", "Run a spec: reuse what is cached, build the rest."),
    "plan": ("pipelines.cli.plan", "Show what a run would do and why, without doing it."),
    "validate": ("pipelines.cli.validate", "Check a spec and show all that is wrong with it."),
    "report": ("pipelines.cli.report", "Write the report of a run as one HTML page."),
    "runs": ("pipelines.cli.runs", "List the runs of a store."),
    "inspect": ("pipelines.cli.inspect", "Look at what a stage has made: pictures, parameters, totals."),
    "get": ("pipelines.cli.get", "Copy what a stage has made into a folder, with checksums."),
    "verify": ("pipelines.cli.verify", "Compare every committed byte with its digest."),
    "repair": ("pipelines.cli.repair", "Restore what is missing or damaged, and nothing else."),
    "accept": ("pipelines.cli.accept", "Keep a trained result although its code has changed."),
    "stages": ("pipelines.cli.stages", "List what a spec can use, or explain one stage."),
    "schema": ("pipelines.cli.schema", "Print the JSON Schema of specs, for editors."),
    "migrate": ("pipelines.cli.migrate", "Rewrite a spec of an older version for this Sharpline."),
}
"""Name -> module with a function `command`, and the line that ``--help`` shows."""


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and help line, and imports one when it is called.

    Plug-ins are looked for when commands are listed, and when a name is not one of ours.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        self._add_plugins()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            self._add_plugins()
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest

    def _add_plugins(self) -> None:
        for name, plugin in find_plugins(COMMANDS).items():
            self.commands[name] = TyperCommand(name, help=plugin.help)


def load_command(name: str) -> Any:
    """The real command behind `name`, ours or a plug-in's. Raises UsageError for a plug-in that is broken."""
    if name in COMMANDS:
        return _as_command(name, importlib.import_module(COMMANDS[name][0]))
    plugin = find_plugins(COMMANDS)[name]
    module = plugin.load()
    if not hasattr(module, "command") and not isinstance(getattr(module, "app", None), typer.Typer):
        raise plugin.unusable(f"{plugin.module} has neither a function `command` nor a typer.Typer called `app`")
    return _as_command(name, module)


def _as_command(name: str, module: Any) -> Any:
    """A module's function `command`, or its whole group `app`, as a command called `name`."""
    own = typer.Typer(name=name, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if hasattr(module, "command"):
        own.command(name)(module.command)
        return typer.main.get_command(own)
    group = typer.main.get_group(module.app)
    group.name = name
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Defects of ours keep their traceback."""
    try:
        result = _app()(args=list(sys.argv[1:] if argv is None else argv), prog_name="sharpline", standalone_mode=False)
    except SharplineError as error:
        print(f"sharpline: {error}" if "\n" not in str(error) else error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sharpline: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        # Usage errors of the command line itself; typer vendors its own click, so the class has no public home.
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        error.show()
        return int(error.exit_code)
    return result if isinstance(result, int) else 0


def _app() -> typer.Typer:
    app = typer.Typer(
        name="sharpline",
        cls=LazyGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Declarative data and training pipelines for super-resolution, on Ray.",
    )
    app.callback()(_options)
    for name, (_, line) in COMMANDS.items():
        app.command(name, help=line)(_options)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"sharpline {importlib.metadata.version('sharpline')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The options of ``sharpline`` itself; commands stand in for it until they are imported."""


if __name__ == "__main__":
    sys.exit(main())
