"""How a command starts and ends: flags and help are read alike, and it ends with an exit code and at most one line.

Ctrl-C, `kill`, a closed pipe (`| head`) and a full disk are ordinary ends. What else there is to say, such as how far
the command came, is in the notes of the exception.
"""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn, TextIO

from absl import app, flags

from fsfm_jax import __version__
from fsfm_jax.config.fields import did_you_mean
from fsfm_jax.config.options import refuse
from fsfm_jax.config.recipes import CONFIG_FLAGS, name_files
from fsfm_jax.text import plain

INTERRUPTED, BROKEN_PIPE, TERMINATED = (128 + number for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM))

LONGEST = 86_400  # seconds that a file may take
KEPT = "results so far: "  # a note about a file that is not finished


class Terminated(BaseException):
    """The process was asked to end; not an Exception, so that nothing takes it for a broken file."""


def start(module: ModuleType, arguments: Sequence[str], name: str = "", examples: Sequence[str] = ()) -> NoReturn:
    """Read the flags of a command and runs it; a wrong one ends in a sentence and exit code 2.

    Args:
      module: has `main(arguments)`, and `define_flags()` unless importing it defines them; `read_options` reads them in
        its own way, `RECIPE_OPTIONS` names those that take a recipe, if they are not `--config` alone. Its docstring
        says what the command does.
      arguments: of the command line, without the program.
      name: name of the program; by default the way Python runs the module.
      examples: lines for its help.
    """
    spelt = module.__spec__.name if module.__spec__ else module.__name__
    name = name or f"python -m {spelt.removesuffix('.__main__')}"
    if hasattr(module, "define_flags"):
        module.define_flags()
    if {"--help", "-help", "-h", "--helpfull", "--helpshort"} & {*arguments}:
        run(lambda: say(help_text(module, name, examples)))
    if "--version" in arguments:
        run(lambda: say(f"fsfm_jax {__version__}"))
    try:
        read = getattr(module, "read_options", flags.FLAGS)
        recipes = getattr(module, "RECIPE_OPTIONS", CONFIG_FLAGS)
        left = read([name, *_name_files(arguments, recipes)])
        module.main(left)
    except flags.UnrecognizedFlagError as error:
        meant = did_you_mean(error.flagname, list(flags.FLAGS))
        refuse(f"--{error.flagname}: there is no such option{meant}; see {name} --help")
    except (flags.Error, app.UsageError) as error:
        refuse(f"{error}; see {name} --help")
    except KeyboardInterrupt:
        run(_interrupt)
    sys.exit(0)


def help_text(module: ModuleType, name: str, examples: Sequence[str] = ()) -> str:
    """Return the help of a command: what it does, examples, and every option with its default."""
    lines = [(module.__doc__ or "").strip(), ""]
    if examples:
        lines += ["examples:", *(f"  {example}" for example in examples), ""]
    lines.append(f"options of {name}:")
    for flag in sorted(flags.FLAGS.get_key_flags_for_module(module), key=lambda flag: flag.name):
        default = "" if flag.default in (None, "", False, []) else f" (default: {flag.default_as_str})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)


def _name_files(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    try:
        return name_files(arguments, options)
    except FileNotFoundError as error:
        raise app.UsageError(str(error)) from error


def _interrupt() -> int:
    raise KeyboardInterrupt


def run(job: Callable[[], int | None]) -> NoReturn:
    """Run `job` and exit with the code that it returns, None for 0, or with that of what ended it.

    ValueError, OSError, RuntimeError and ModuleNotFoundError are printed as a sentence, with exit code 1. Other
    exceptions are faults of the program and pass.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        code = job() or 0
        say("", end="")  # what is buffered is written here, where a failure has a sentence
    except KeyboardInterrupt as error:
        code = _tell("interrupted", error, INTERRUPTED)
    except Terminated as error:
        code = _tell("terminated", error, TERMINATED)
    except BrokenPipeError as error:
        code = _tell("", error, BROKEN_PIPE)
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        code = _tell(f"error: {sentence(error)}", error, 1)
    sys.exit(code)


def one_line_interrupts() -> None:
    """Make Ctrl-C one line also while a program is imported, before `run` watches; the exit code is that of SIGINT."""
    usual = sys.excepthook

    def told(kind, error, traceback) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            usual(kind, error, traceback)

    sys.excepthook = told


def terminate(*_) -> NoReturn:
    """Handle SIGTERM so that files are closed and temporary ones removed."""
    raise Terminated


def say(line: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a line at once, to the standard output if no stream is given.

    Raises:
      BrokenPipeError: the reader has closed the pipe, as `head` does.
      OSError: it cannot be written; the error names the stream.
    """
    out: TextIO = sys.stdout if stream is None else stream
    try:
        print(line, file=out, end=end, flush=True)
    except OSError as error:
        # What Python still holds for the stream must not be tried again at the exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise with_name(error, "standard output" if out is sys.stdout else "standard error") from error


def check_seconds(seconds: float) -> None:
    """Refuse a time limit that no clock can wait for; ValueError."""
    if not 1 <= seconds <= LONGEST:  # NaN too
        raise ValueError(f"--seconds: expected 1 to {LONGEST} seconds, found {seconds:g}")


def with_name(error: OSError, filename: str) -> OSError:
    """Return the same error with the name of the file: a write that fails, as on a full disk, does not tell it."""
    return type(error)(error.errno, error.strerror, filename)


def sentence(error: Exception) -> str:
    """Return the message of an exception; an OSError names the file first: "found.json: No space left on device"."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _tell(text: str, error: BaseException, code: int) -> int:
    notes = getattr(error, "__notes__", ())
    kept = ", ".join(note.removeprefix(KEPT) for note in notes if note.startswith(KEPT))
    others = [note for note in notes if not note.startswith(KEPT)]
    said = [part for part in (text, *others, KEPT + kept if kept else "") if part]
    if said:
        with contextlib.suppress(OSError):
            say(plain("; ".join(said)), sys.stderr)
    return code
