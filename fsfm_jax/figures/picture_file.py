"""Reading of picture files."""

import cv2
import numpy as np
from etils import epath


def read_picture(path: str) -> np.ndarray:
    """Read a PNG or JPEG file, also from an object store, as `[H, W, 3] uint8` RGB.

    Raises:
      ValueError: if the file is not a picture.
    """
    data = np.frombuffer(epath.Path(path).read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise ValueError(f"{path}: expected a PNG or JPEG; found {data.size} bytes of something else")
    return picture[..., ::-1]
