"""Join the other hosts of a pod or cluster, and find a device to compute on."""

import logging
import os

import jax

from fsfm_jax.config.fields import FieldError

LOG = logging.getLogger("fsfm_jax")
# What a cluster, or a shell that a cluster once started, has in its environment.
_VARIABLES = ("SLURM_", "OMPI_", "PMIX_", "JAX_COORDINATOR_", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "TPU_WORKER_")
_VARIABLES += ("MEGASCALE_", "JOB_COMPLETION_INDEX", "JOBSET_NAME")
_NUMBERS = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}


def join_cluster() -> None:
    """Join the other processes named in the cluster's environment; return when all have joined.

    Raises:
      FieldError: there is no cluster, or what its variables say cannot be.
    """
    found = sorted(name for name in os.environ if name.startswith(_VARIABLES))
    told = f"found {', '.join(found)}" if found else "found none of its variables"
    # JAX ends the process from C++ where the others do not answer; nothing can be said after that.
    if found:
        LOG.info("--cluster: %s; joining the other processes, which have to come within 5 minutes", told)
    try:
        # JAX itself reads only the address of these three.
        numbers = {field: int(os.environ[name]) for field, name in _NUMBERS.items() if name in os.environ}
        jax.distributed.initialize(**numbers)
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise FieldError(
            f"--cluster: expected the environment of a cluster (TPU pod, GKE, SLURM, Open MPI, or "
            f"JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID); {told} ({error}). On a single machine "
            "leave --cluster out; in a shell that a cluster left behind, unset its variables"
        ) from error


def first_device() -> jax.Device:
    """Return the first device of this process.

    Raises:
      FieldError: JAX finds no device of the chosen platform.
    """
    try:
        return jax.local_devices()[0]
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise FieldError(
            f"JAX_PLATFORMS: expected a platform with a device here; found {wanted!r} ({error}). Unset it, or install "
            "what its devices need"
        ) from error
