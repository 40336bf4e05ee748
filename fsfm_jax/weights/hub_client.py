"""The Hugging Face Hub through huggingface_hub: which hosts may be contacted, and which receive the token.

The library is imported only when an address is opened or a repository is named. Files are fetched without a token
first. If the Hub answers that there is no such public repository, the request is repeated with the token of the
library's own login (`hf auth login`, or HF_TOKEN in the environment). The token is sent to the Hub's host alone.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fsfm_jax.text import plain

INSTALL = "pip install 'fsfm-jax[hub]'"
# The Hub's own host, and the hosts to which it redirects for large files.
HUB, STORES = "huggingface.co", (".huggingface.co", ".hf.co")
ASSETS = "fsfm_jax"
# Response headers from which the library makes file names.
_NAMES = ("etag", "x-linked-etag", "x-repo-commit")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Hub:
    """The Hub, or the server that `HF_ENDPOINT` names.

    Attributes:
      home: its address, without a slash at the end.
      library: the module huggingface_hub; constants, errors: its modules of these names.
    """

    def __init__(self, what: str):
        """Import the library for `what`, with which errors begin.

        Raises:
          ModuleNotFoundError: it is not installed; the message names the extra.
        """
        try:
            import huggingface_hub
            from huggingface_hub import constants, errors
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{what}: {error}; {INSTALL}") from error
        self.library: Any = huggingface_hub
        self.errors, self.constants = errors, constants
        self.home: str = constants.ENDPOINT

    def download(self, repository: str, file: str, revision: str) -> str:
        """Return the path of a file in the library's cache; the file of a commit is downloaded once.

        Raises:
          ValueError: the Hub redirects to another host, or names a file of this machine.
          OSError: there is no such file, the download is incomplete, or there is no connection.
        """
        with self._told(f"{repository}/{file}@{revision}: cannot be fetched from {self.home}"), self.watched(False):
            ask = {"repo_id": repository, "filename": file, "revision": revision, "endpoint": self.home}
            try:
                return self.library.hf_hub_download(token=False, **ask)
            except self.errors.RepositoryNotFoundError:
                token = self.library.get_token()
                if not token:
                    raise
                return self.library.hf_hub_download(token=token, **ask)

    def folder(self, digest: str) -> str:
        """Create and return a local folder for the files that a digest pins."""
        return str(self.library.cached_assets_path(ASSETS, "weights", digest))

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[Any]:
        """Yield the library's `HfApi` with the token of its login, for uploads; errors begin with `what`.

        Raises:
          ValueError: nobody is logged in, or the Hub refuses the upload. OSError: the Hub cannot be reached.
        """
        token = self.library.get_token()
        if not token:
            raise ValueError(f"{what}: nobody is logged in; run `hf auth login` with a token that may write")
        with self._told(f"{what}: {self.home} refuses"), self.watched(True):
            yield self.library.HfApi(endpoint=self.home, token=token)

    @contextlib.contextmanager
    def watched(self, sends: bool) -> Iterator[None]:
        """Refuse requests to hosts other than the Hub and its stores, and file names that lead out of the cache.

        Args:
          sends: whether files are uploaded: then the Hub names the store, which may be at any host.
        """
        wanted, hooks = urlsplit(self.home), self.library.get_session().event_hooks

        def check(request: Any) -> None:
            asked = urlsplit(str(request.url))
            own = asked.netloc == wanted.netloc
            store = wanted.netloc == HUB and (asked.hostname or "").endswith(STORES)
            if asked.scheme != wanted.scheme or not (own or store or sends):
                raise ValueError(
                    f"{self.home} sends to {asked.scheme}://{asked.netloc} for the file, which is not a host of its "
                    "own; if you trust that host, download the file in another way and name it"
                )
            if not own and "authorization" in request.headers:
                raise ValueError(f"{self.home} sends to {asked.netloc}, which would see the token; nothing was sent")

        def check_names(answer: Any) -> None:
            for name in _NAMES if answer.request.method == "HEAD" else ():
                said = answer.headers.get(name, "").removeprefix("W/").strip('"')
                if said and not _NAME.fullmatch(said):
                    raise ValueError(f"{self.home} answers with {name} {plain(said)!r}: expected letters and digits")

        hooks["request"].append(check)
        hooks["response"].append(check_names)
        # Xet, the library's other protocol, contacts hosts that are not checked here. The environment is read when the
        # library is imported, which may have been long ago.
        quiet = {"HF_HUB_DISABLE_XET": True, "HF_HUB_DISABLE_TELEMETRY": True}
        before = {name: getattr(self.constants, name) for name in quiet}
        try:
            vars(self.constants).update(quiet)
            yield
        finally:
            vars(self.constants).update(before)
            hooks["request"].remove(check)
            hooks["response"].remove(check_names)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Convert errors of the library into one sentence."""
        try:
            yield
        except (self.errors.HTTPError, OSError, RuntimeError) as error:
            causes = [error, *([error.__cause__] if isinstance(error, RuntimeError) and error.__cause__ else [])]
            said = [str(one).strip().split("\n")[0][:300] or type(one).__name__ for one in causes]
            raise OSError(f"{what}: {plain(' '.join(said))}") from error
