"""The figures of the papers and their commands: `fsfm analyze figure --paper=PAPER --number=NUMBER`.

Diagrams of a method, such as Fig. 4 of the supplement, are not included. The figure numbers of the FSFM paper are
unknown, so its figures have names. For FS-VFM the figures on its project page are included.
"""

import dataclasses
from collections.abc import Mapping

from fsfm_jax.text import did_you_mean

MASKS = "no checkpoint; faces with parsing maps"


@dataclasses.dataclass(frozen=True)
class PaperFigure:
    """A figure of a paper.

    Attributes:
      what: the analysis that draws it.
      about: description of the figure.
      needs: checkpoints and data that it needs.
      settings: values of options that the command line does not set.
    """

    what: str
    about: str
    needs: str
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)


_MASKING = PaperFigure("masking", "masking strategies on faces", MASKS)
_ATTENTION = PaperFigure(
    "attention", "attention distance and KL divergence of each head and block",
    "a pretraining with each masking strategy (up to 8), unseen faces",
)  # fmt: skip
_MAPS = PaperFigure(
    "maps", "attention of the last block, mean of its heads, checkpoints side by side",
    "a pretraining with each masking strategy (up to 8), unseen faces", {"heads": 0},
)  # fmt: skip
_CAM = PaperFigure(
    "cam", "Grad-CAM of a detector, a row for each manipulation or attack", "a detector, labelled faces with methods",
    {"by": "method"},
)  # fmt: skip
_TSNE = PaperFigure("features", "t-SNE of features", "a detector or encoder, labelled faces")

FIGURES = {
    ("fsfm", "masking"): _MASKING,
    ("fsfm", "cam"): _CAM,
    ("fsfm", "tsne"): _TSNE,
    ("fsfm", "data"): PaperFigure(
        "ablation", "averages over the size of the pretraining data", "the table.csv of `ablate_fsfm:data`"
    ),
    ("fsfm-supp", "1"): _MASKING,
    ("fsfm-supp", "2"): _ATTENTION,
    ("fsfm-supp", "3"): _MAPS,
    ("fsfm-supp", "5"): PaperFigure(
        "ablation", "averages over the weights of the losses", "the table.csv of `ablate_fsfm:weights`"
    ),
    ("fsfm-supp", "6"): PaperFigure(
        "reconstruction", "reconstructions without normalised pixels, checkpoints side by side",
        "up to 6 pretrainings with pixel decoder; faces with parsing maps", {"strategies": ["random", "crfr_p"]},
    ),
    ("fsfm-supp", "7"): _CAM,
    ("fsfm-supp", "tab6"): PaperFigure(
        "ablation", "averages over mask ratio or model size, as a plot",
        "the table.csv of `ablate_fsfm:ratio` or `ablate_fsfm:size`",
    ),
    ("fs-vfm", "3"): _MASKING,
    ("fs-vfm", "4"): _ATTENTION,
    ("fs-vfm", "5"): _MAPS,
}  # fmt: skip


def find_figure(paper: str, number: str) -> PaperFigure:
    """Return a figure of a paper.

    Raises:
      ValueError: if there is no such paper or figure; the message lists the known ones.
    """
    papers = list(dict.fromkeys(name for name, _ in FIGURES))
    if paper not in papers:
        raise ValueError(f"--paper: expected one of {', '.join(papers)}; found {paper!r}{did_you_mean(paper, papers)}")
    numbers = [each for name, each in FIGURES if name == paper]
    if number not in numbers:
        raise ValueError(
            f"--number: expected a figure of {paper}, one of {', '.join(numbers)}; found {number!r}; see --list"
        )
    return FIGURES[paper, number]


def list_figures() -> str:
    """Return a table of all figures, one line each."""
    rows = [(paper, number, one.what, f"{one.about}. Needs {one.needs}.") for (paper, number), one in FIGURES.items()]
    rows = [("paper", "number", "analysis", "content and requirements"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )
