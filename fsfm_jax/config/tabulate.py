"""Every field of a table of several runs or evaluations."""

from ml_collections import ConfigDict


def tabulate() -> ConfigDict:
    """Results of several working directories as one table, every field."""
    c = ConfigDict()
    c.job = "tabulate"
    # Workdirs with commas, of evaluations or of fine-tuning with data.test; those of one data set with several seeds
    # become mean and deviation.
    c.runs = ""
    c.layout = "dfd"  # or "diff", "fas", "classes", as report.layout
    return c
