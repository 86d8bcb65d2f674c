"""`dosimeter completion`: prints a completion script made from the parsers themselves.

It completes commands, subcommands and options, and leaves file names to the shell.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from typing import Any

BASH = """\
# dosimeter completion for {shell}; load with: eval "$(dosimeter completion {shell})"
_dosimeter() {{
  local words="" path="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) path="$path $word" ;; esac
  done
  case "$path" in
{cases}
    *) words="{top}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _dosimeter dosimeter
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("completion", help="print a completion script")
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dosimeter.monitor.cli.main import COMMANDS, build_parser

    there = [name for name in COMMANDS if importlib.util.find_spec(f"{__package__}.{name}")]
    print(script(build_parser(there), args.shell), end="")
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for one shell; zsh runs bash's through `bashcompinit`."""
    found = dict(_words(parser, ()))
    top = " ".join(found.pop(()))
    cases = "\n".join(
        f'    " {" ".join(path)}"*) words="{" ".join(words)}" ;;'
        for path, words in sorted(found.items(), key=lambda item: -len(item[0]))
    )
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return head + BASH.format(shell=shell, cases=cases, top=top)


def _words(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """What may follow each chain of commands: subcommands and long options."""
    words = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words += list(action.choices)
            for name, child in action.choices.items():
                yield from _words(child, (*path, name))
        else:
            words += [option for option in action.option_strings if option.startswith("--")]
    yield path, words
