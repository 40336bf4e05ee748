"""Pictures read back from where they were written."""

import cv2
import numpy as np
from etils import epath


def read_picture(path: str) -> np.ndarray:
    """`[H, W, 3] uint8` RGB of a PNG or JPEG file, also in an object store.

    Raises:
      ValueError: no picture.
    """
    data = np.frombuffer(epath.Path(path).read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise ValueError(f"{path}: expected a picture; found {data.size} bytes that are none")
    return picture[..., ::-1]
