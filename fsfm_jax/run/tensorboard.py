"""Event files for TensorBoard, in the folder `tensorboard` of a working directory.

They are written in the thread of the run: the library's own thread would die of a full disk unheard, and then block.
TensorBoard itself is not needed to write them.
"""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from fsfm_jax.run.disk import explain_errors
from fsfm_jax.run.workdir import is_remote, make_folder, whole
from fsfm_jax.run.writer import RunInfo

FOLDER, PREFIX = "tensorboard", "events.out.tfevents."
VERSION = "brain.Event:2"  # of the format: readers drop what a START says is lost
SECONDS_BETWEEN_FLUSHES = 30.0


class TensorBoard:
    """Writes scalars of every step and pictures.

    Each process that resumes a run begins a file of its own, and says in it from which step on what earlier files have
    is lost. A picture has a file of its own, which takes the place of the one before it under the same name. In an
    object store files are whole: they are sent at each flush.
    """

    def __init__(self, run: RunInfo):
        """Open the folder.

        Raises:
          ValueError: the package tensorboardX is not there.
          NotSaved: nothing can be written there.
        """
        try:
            import tensorboardX  # slow, and only for who asks for it
            from tensorboardX import summary
            from tensorboardX.proto import event_pb2, summary_pb2
        except ImportError as error:
            raise ValueError(
                f"writers: tensorboard needs the package tensorboardX ({error}); install it, or leave that word out"
            ) from error
        self._records, self._summary, self._image = tensorboardX.RecordWriter, summary_pb2.Summary, summary.image
        self._event, self._session = event_pb2.Event, event_pb2.SessionLog
        self._run, self._place = run, os.path.join(run.workdir, FOLDER)
        self._folder = tempfile.mkdtemp() if is_remote(run.workdir) else self._place
        make_folder(self._place)
        self._path, self._file, self._flushed = "", None, time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add values by name; all of a call are one event."""
        kept = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        with explain_errors(self._place, "an event"):
            if self._file is None:
                self._path = self._new_path()
                self._file = self._open(self._path)
                start = self._session(status=self._session.START)
                self._add(self._file, self._run.first_step + 1, session_log=start)
            self._add(self._file, step, summary=self._summary(value=kept))
        if time.monotonic() - self._flushed >= SECONDS_BETWEEN_FLUSHES:
            self._flush_local()

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write a picture `[H, W, 3] uint8` under `name`, in the place of an earlier one of that name."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image {name}: expected [H, W, 3] uint8; found {list(image.shape)} {image.dtype}")
        suffix = f".{name.replace('/', '_')}.picture"
        path, earlier = self._new_path(suffix), [other for other in self._names() if other.endswith(suffix)]
        with explain_errors(self._place, "a picture"):
            file = self._open(path)
            self._add(file, step, summary=self._image(name, image, dataformats="HWC"))
            file.flush()
            file.close()
            self._send(path)
            for other in earlier:
                epath.Path(self._place, other).unlink()

    def flush(self) -> None:
        """Return when everything written is where it can be read, also in an object store."""
        if self._file is not None:
            self._flush_local()
            self._send(self._path)

    def close(self) -> None:
        """Flush and close the files."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._folder != self._place:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _flush_local(self) -> None:
        with explain_errors(self._place, "events"):
            self._file.flush()
        self._flushed = time.monotonic()

    def _new_path(self, suffix: str = "") -> str:
        """Return a name behind all that are there: readers take the files in the order of their names."""
        numbers = [int(number) for name in self._names() if (number := name.removeprefix(PREFIX)[:10]).isdigit()]
        number = max([int(time.time()), *(number + 1 for number in numbers)])
        return os.path.join(self._folder, f"{PREFIX}{number:010d}.{platform.node()}{suffix}")

    def _names(self) -> list[str]:
        folder = epath.Path(self._place)
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def _open(self, path: str) -> Any:
        file = self._records(path)
        self._add(file, 0, file_version=VERSION)
        return file

    def _add(self, file: Any, step: int, **content: Any) -> None:
        file.write(self._event(wall_time=time.time(), step=step, **content).SerializeToString())

    def _send(self, path: str) -> None:
        """Bring a file of the temporary folder to the object store."""
        if self._folder != self._place:
            with whole(os.path.join(self._place, os.path.basename(path))) as target, open(path, "rb") as source:
                shutil.copyfileobj(source, target)
