"""Configuration fields of a table of several runs or evaluations."""

from ml_collections import ConfigDict


def tabulate() -> ConfigDict:
    """Return the fields of a table that collects the results of several working directories."""
    c = ConfigDict()
    c.job = "tabulate"
    # Comma-separated working directories of evaluations, or of fine-tuning runs with data.test. Results of several
    # seeds on one data set become their mean and standard deviation.
    c.runs = ""
    c.layout = "dfd"  # table layout: "dfd", "diff", "fas" or "classes", as report.layout
    return c
