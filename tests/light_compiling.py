"""How the tests compile: a suite is mostly compile time, so XLA is to make little of its programs.

Without its newer emitters of fused loops, which go through many passes of MLIR, a program is compiled in half the time;
and LLVM gets it in one piece, since there is no core to spare for several. jaxlib 0.12 has the newer emitters alone.
"""

from importlib.metadata import version

HAS_OLDER_EMITTERS = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12)
XLA_FLAGS = "--xla_cpu_parallel_codegen_split_count=1"
if HAS_OLDER_EMITTERS:
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"
# For a process of its own that is to compile as the tests do.
ENVIRONMENT = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2", "XLA_FLAGS": XLA_FLAGS,
}  # fmt: skip
# For a program that is to be compiled as users run it.
AS_FOR_USERS = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    **({"xla_cpu_use_fusion_emitters": True} if HAS_OLDER_EMITTERS else {}),
}
