"""The results of a check, as text and as JSON."""

import dataclasses
from importlib import metadata

from fsfm_jax.compile_check.check import Outcome
from fsfm_jax.compile_check.chips import GIB
from fsfm_jax.compile_check.search import by_proportion

PACKAGES = ("jax", "jaxlib", "libtpu", "flax")


def to_json(outcome: Outcome) -> dict:
    """Return all results; numbers are per device and call unless their names say otherwise."""
    step, found, on = outcome.step, outcome.figures, outcome.on
    return {
        "config": step.name,
        "topology": on.name,
        "chips": on.chips,
        "devices": len(on.devices),
        "hosts": on.hosts,
        "images_per_step": step.images,
        "images_at_once": outcome.micro_batch,
        "micro_batches": step.parts,
        "remat": step.remat,
        "fsdp": step.fsdp,
        "fits": outcome.fits,
        "needed_bytes": outcome.needed,
        "available_bytes": outcome.available,
        "state_bytes": step.state_bytes[1 if step.fsdp else 0],
        "batch_bytes": step.batch_bytes,
        "compile_seconds": round(outcome.seconds, 1),
        "model_flops_per_image": step.model_flops,
        "compiled_over_model_flops": outcome.flops_ratio,
        "rebuilt_arrays": outcome.rebuilt,
        "figures": None if found is None else dataclasses.asdict(found),
        "rooflines": {name: dataclasses.asdict(line) for name, line in outcome.rooflines.items()},
        "chip": None if on.chip is None else dataclasses.asdict(on.chip),
        "defects": outcome.defects(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of packages that affect a compiled program; omit packages that are not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # libtpu is not needed for simulated devices
            continue
    return found


def describe(outcome: Outcome) -> str:
    """Describe the outcome in a few lines of text."""
    step, on, found = outcome.step, outcome.on, outcome.figures
    kind = "simulated devices" if on.chip is None else f"chips, {len(on.devices)} devices, {on.hosts} hosts"
    lines = [
        f"{step.name} on {on.name} ({on.chips} {kind}): {step.images} images per step, micro-batches of "
        f"{outcome.micro_batch:g} images per device, {step.parts} per step; compiled in {outcome.seconds:.0f} s",
        _memory(outcome),
    ]
    if found is not None:
        images = outcome.images
        lines += [
            f"  FLOPs per image: {_giga(step.model_flops)} of the model, {_giga(found.flops / images)} compiled "
            f"({outcome.flops_ratio:.4f}), {_giga(found.product_flops / images)} of them in matrix products",
            f"  traffic per step: {found.hbm_bytes / 1e9:.2f} GB of operands and results in HBM; "
            f"{found.bytes_accessed / 1e9:.2f} GB in all memories (compiler's count)",
            *_messages(outcome),
        ]
    for name, line in outcome.rooflines.items():
        parts = ", ".join(f"{what} {seconds * 1e3:.2f} ms" for what, seconds in line.seconds.items())
        lines.append(
            f"  bound by {name}: at most {line.images_per_second:.0f} images/s per chip, MFU {line.mfu:.3f}; "
            f"bottleneck: {line.limit} ({parts} per step)"
        )
    if on.chip is not None:
        chip = on.chip
        lines.append(
            f"  per chip: {chip.flops / 1e12:g} TFLOP/s, {chip.hbm_bandwidth / 1e9:g} GB/s of HBM, "
            f"{chip.ici / 1e9:g} GB/s of links, {chip.clock / 1e9:.2f} GHz"
        )
    return "\n".join([*lines, *(f"  DEFECT: {defect}" for defect in outcome.defects())])


def remedy(outcome: Outcome, choices: tuple[int, ...]) -> str:
    """Suggest changes, with numbers, for a step that does not fit; `choices` are the possible micro-batch sizes."""
    step, available = outcome.step, outcome.available
    state, shared = step.state_bytes
    held, ways = step.held_bytes, []
    if outcome.needed is not None and choices:
        best = by_proportion(choices, outcome.micro_batch, outcome.needed, held, available)
        if best is not None:
            ways.append(
                f"batch.per_device={best} with {round(outcome.images / best)} micro-batches should need "
                f"{_gib(held + best * (outcome.needed - held) / outcome.micro_batch)}"
            )
    # Splitting a step's images into micro-batches copies them.
    if choices and 2 * step.batch_bytes > available / 4:
        ways.append(
            f"reduce batch.size or use more chips (the images of a step take {_gib(step.batch_bytes)} on a device, "
            "twice that with micro-batches)"
        )
    if step.remat not in (None, "full"):
        ways.append(f"use a stronger model.remat than {step.remat} (full stores no activations of a block)")
    if step.fsdp is False and state - shared > 0:
        ways.append(f"partition.fsdp=True reduces the state on a device from {_gib(state)} to {_gib(shared)}")
    if step.fsdp is None:
        ways.append("reduce evaluation.batch")
    return "; ".join(ways or ["use a smaller model, or chips with more memory"])


def _memory(outcome: Outcome) -> str:
    if outcome.available is None:
        return f"  memory: {_gib(outcome.needed)} per device; simulated devices have no limit"
    if outcome.figures is None:
        if outcome.needed is None:
            return f"  DOES NOT FIT into the {_gib(outcome.available)} of a device"
        over = _gib(outcome.needed - outcome.available)
        return f"  DOES NOT FIT: needs {_gib(outcome.needed)}, {over} more than a device's {_gib(outcome.available)}"
    memory, free = outcome.figures.memory, _gib(outcome.available - outcome.needed)
    return (
        f"  fits: {_gib(outcome.needed)} of the {_gib(outcome.available)} of a device, {free} free; arguments "
        f"{_gib(memory.arguments)}, outputs {_gib(memory.outputs)} ({_gib(memory.aliased)} aliased), "
        f"temporaries {_gib(memory.temporaries)}, code {_gib(memory.code)}"
    )


def _messages(outcome: Outcome) -> list[str]:
    found = outcome.figures
    lines = [
        f"  {one.kind} of {one.dtype}: {one.count} per step, {one.bytes / 1e6:.1f} MB among {one.group} devices"
        for one in found.collectives
    ] or ["  no messages between devices"]
    if outcome.step.trained and len(outcome.on.devices) > 1:
        kinds = ", ".join(f"{count} of {dtype}" for dtype, count in sorted(found.gradient_reductions.items())) or "none"
        lines.append(f"  gradients: reductions {kinds}; each gradient {found.gradient_copies:.3g} times per step")
        if outcome.step.fsdp:
            lines.append(f"  parameters gathered (FSDP): {found.gathered_parameters} times per step")
    return lines


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


def _giga(flops: float) -> str:
    return f"{flops / 1e9:.2f} GFLOP"
