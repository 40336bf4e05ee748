"""A detector recognises the videos it was trained on, by data set and id."""

import numpy as np
import pytest

from fsfm_jax.detection.video_overlap import check_unseen, remember


class Clips:
    """Videos of a data set, two frames each."""

    def __init__(self, dataset: str, *videos: str):
        self.dataset, self.name, self.videos = dataset, f"{dataset}:test", np.repeat(videos, 2)


def test_a_shared_video_is_refused_with_the_count():
    seen = remember([Clips("ffpp", "001", "002"), Clips("other", "007")])
    with pytest.raises(ValueError, match="ffpp:test: 1 of its 2 videos were used to train runs/d. Training videos"):
        check_unseen(Clips("ffpp", "002", "003"), seen, "runs/d")


@pytest.mark.parametrize("judge", [Clips("ffpp", "003"), Clips("elsewhere", "001", "002"), Clips("ffp", "p\n001")])
def test_other_videos_and_the_same_ids_of_other_data_sets_pass(judge):
    check_unseen(judge, remember([Clips("ffpp", "001", "002")]), "runs/d")
    # Eight bytes a video, in base64.
    assert len(remember([Clips("ffpp", *map(str, range(300)))])) == 300 * 8 * 4 / 3
