"""Wrong options, fields and configuration files: one sentence and exit code 2, no traceback."""

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from fsfm_jax.config import options as command
from fsfm_jax.run import cluster

# ml_collections loads the file in a way that Python 3.12 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
DEMO, WORKDIR = "--config=configs/pretrain_demo.py", "--workdir=/nowhere"
MAKES_NOTHING = "def get_config():\n    return None\n"
BREAKS = "def get_config():\n    c = 1\n    return d\n"
WANTS = "def get_config(variant):\n    return variant\n"


def read(*arguments: str) -> flags.FlagValues:
    options, line = flags.FlagValues(), ["main", *arguments]
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=options, sys_argv=line)
    flags.DEFINE_string("workdir", None, "", flag_values=options)
    flags.DEFINE_string("stop_after", "", "", flag_values=options)
    flags.DEFINE_bool("cluster", False, "", flag_values=options)
    command.read_options(line, options)
    return options


def test_options_and_fields_are_set():
    found = read(DEMO, WORKDIR, "--config.batch.size=16", "--config.data.augment", "--stop_after=3")
    assert (found.config.batch.size, found.config.data.augment, found.stop_after) == (16, True, "3")


@pytest.mark.parametrize("line, sentence", [
        ("DEMO DIR --config.batch.sise=16", "--config.batch.sise: there is no such field; did you mean 'batch.size'?"),
        ("DEMO DIR --noconfig.data.augmen", "there is no such field; did you mean 'data.augment'?"),
        ("DEMO DIR --config.batch.size many", "--config.batch.size: expected a value of type int; found 'many'"),
        ("DEMO DIR --config.batch=3", "--config.batch: is a section; name one of its fields: batch.accumulation, "),
        ("--config.seed=1 DEMO DIR", "Found --config.seed=1 in argv before a value for --config was specified"),
        ("DEMO:nope DIR", "configs/pretrain_demo.py:nope: it has no variants; found 'nope'"),
        ("--config=configs/pretrain_vitb.py:fsfm40 DIR", "found 'fsfm40'; did you mean 'fsfm400'?"),
        ("--config configs/finetune_fas.py:vitb,X DIR", "variant: expected one of M, C, I, O, wmca, cefa, surf"),
        ("--config=configs/pretrain_vitbb.py DIR", "did you mean 'configs/pretrain_vitb.py'?"),
        ("--config=README.md DIR", "--config=README.md: expected a file that ends in .py"),
        ("--config={}/breaks.py DIR", "it cannot be run (NameError: name 'd' is not defined, line 3)"),
        ("--config={}/wants.py DIR", "wants.py: it has to be "),
        ("--config={}/wants.py:a DIR", "get_config has to return a ConfigDict; found str"),
        ("--config={}/nothing.py DIR", "get_config has to return a ConfigDict; found NoneType"),
        ("--config= DIR", "--config=FILE.py is missing"),
        ("DIR", "--config=FILE.py is missing"),
        ("DEMO", "--workdir=FOLDER is missing"),
        ("DEMO --workdir=", "--workdir=FOLDER is missing"),
        ("DEMO DIR --cluster=maybe", "--cluster: expected true or false; found 'maybe'"),
        ("DEMO DIR extra", "unexpected arguments ['extra']; options are spelt --name=value"),
    ])  # fmt: skip
def test_a_wrong_command_is_a_sentence(tmp_path, capsys, line, sentence):
    for name, text in (("breaks", BREAKS), ("nothing", MAKES_NOTHING), ("wants", WANTS)):
        (tmp_path / f"{name}.py").write_text(text)
    line = line.replace("DEMO", DEMO).replace("DIR", WORKDIR).replace("{}", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        read(*line.split())
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.startswith("error: ") and sentence in told
    assert "Traceback" not in told and told.count("\n") == 1


def test_no_cluster_is_a_sentence(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "7")
    for raised in (ValueError("coordinator_address should be defined."), KeyError("SLURM_LOCALID"), RuntimeError("x")):

        def fails(raised=raised):
            raise raised

        monkeypatch.setattr(jax.distributed, "initialize", fails)
        with pytest.raises(cluster.FieldError, match="--cluster: expected .*found SLURM_JOB_ID, SLURM_NTASKS .*unset"):
            cluster.join_cluster()


def test_the_number_of_processes_and_of_this_one_are_read_from_the_environment(monkeypatch):
    told = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **numbers: told.append(numbers))
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "10.0.0.1:8476")
    for count, number in (("2", "0"), ("two", "0")):
        monkeypatch.setenv("JAX_NUM_PROCESSES", count)
        monkeypatch.setenv("JAX_PROCESS_ID", number)
        if count == "2":
            cluster.join_cluster()
        else:
            with pytest.raises(cluster.FieldError, match="found JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES.*'two'"):
                cluster.join_cluster()
    assert told == [{"num_processes": 2, "process_id": 0}]


def test_a_platform_without_a_device_is_a_sentence(monkeypatch):
    def fails():
        raise RuntimeError("Unable to initialize backend 'tpu'")

    monkeypatch.setattr(jax, "local_devices", fails)
    with pytest.raises(cluster.FieldError, match="JAX_PLATFORMS: expected a platform with a device here; found"):
        cluster.first_device()
