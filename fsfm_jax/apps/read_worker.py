"""The process in which untrusted files are read: paths in, crops out, with limits on memory and core files.

It holds the detector and the parser. Each file is decoded in a process of its own, which ends with the file.

Started by `readers.Worker` as `python -m fsfm_jax.apps.read_worker BYTES`. The first line of its standard input holds
`Settings` in JSON, each further line the arguments of `FaceReader.read` but the last. It answers as `wire` says, and
ends with its input.
"""

import functools
import json
import os
import resource
import sys

from fsfm_jax.apps.reading import FaceReader, Settings
from fsfm_jax.apps.wire import write_message, write_progress, write_reading
from fsfm_jax.prepare.media.apart import Apart

READY, REFUSED = "ready", "refused"


def main() -> None:
    limit = int(sys.argv[1])
    # Libraries print where they like; the answers have a door of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    line = sys.stdin.buffer.readline()
    if not line:
        return
    settings = Settings(**json.loads(line))
    try:
        reader = FaceReader(settings, Apart())
    except (ValueError, OSError, RuntimeError) as error:
        write_message(answers, {REFUSED: str(error)}, [])
        return
    write_message(answers, {READY: True}, [])
    for line in sys.stdin.buffer:
        write_reading(answers, reader.read(*json.loads(line), functools.partial(write_progress, answers)))


if __name__ == "__main__":
    main()
