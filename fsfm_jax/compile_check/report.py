"""What a check found, as text for people and as JSON for programs."""

import dataclasses
from importlib import metadata

from fsfm_jax.compile_check.check import Outcome
from fsfm_jax.compile_check.chips import GIB
from fsfm_jax.compile_check.search import by_proportion

PACKAGES = ("jax", "jaxlib", "libtpu", "flax")


def to_json(outcome: Outcome) -> dict:
    """Everything that was found; numbers are of one device and one call unless their names say otherwise."""
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
    """Of what decides about a compiled program; a package that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # libtpu, where only simulated devices are asked for
            continue
    return found


def describe(outcome: Outcome) -> str:
    """Lines for people."""
    step, on, found = outcome.step, outcome.on, outcome.figures
    kind = "simulated devices" if on.chip is None else f"chips, {len(on.devices)} devices, {on.hosts} hosts"
    lines = [
        f"{step.name} on {on.name} ({on.chips} {kind}): {step.images} images a step, {outcome.micro_batch:g} at once "
        f"on a device in {step.parts} part(s); compiled in {outcome.seconds:.0f} s",
        _memory(outcome),
    ]
    if found is not None:
        images = outcome.images
        lines += [
            f"  FLOPs per image: {_giga(step.model_flops)} of the model, {_giga(found.flops / images)} compiled "
            f"({outcome.flops_ratio:.4f}), {_giga(found.product_flops / images)} of them in matrix products",
            f"  traffic per step: {found.hbm_bytes / 1e9:.2f} GB of operands and results in HBM; "
            f"{found.bytes_accessed / 1e9:.2f} GB in all memories by the compiler's count",
            *_messages(outcome),
        ]
    for name, line in outcome.rooflines.items():
        parts = ", ".join(f"{what} {seconds * 1e3:.2f} ms" for what, seconds in line.seconds.items())
        lines.append(
            f"  by {name}: at most {line.images_per_second:.0f} images/s a chip, MFU {line.mfu:.3f}, limited by "
            f"{line.limit} ({parts} a step)"
        )
    if on.chip is not None:
        chip = on.chip
        lines.append(
            f"  with {chip.flops / 1e12:g} TFLOP/s, {chip.hbm_bandwidth / 1e9:g} GB/s of HBM and {chip.ici / 1e9:g} "
            f"GB/s of links a chip, {chip.clock / 1e9:.2f} GHz"
        )
    return "\n".join([*lines, *(f"  DEFECT: {defect}" for defect in outcome.defects())])


def remedy(outcome: Outcome, choices: tuple[int, ...]) -> str:
    """What would make room for a step that does not fit, in numbers; `choices` are the images a device may take."""
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
    # Micro-batches are cut from the step's images by a copy of them.
    if choices and 2 * step.batch_bytes > available / 4:
        ways.append(
            f"the images of a step take {_gib(step.batch_bytes)} of a device, twice with micro-batches: a smaller "
            "batch.size, or more chips"
        )
    if step.remat not in (None, "full"):
        ways.append(f"model.remat is {step.remat}: a stronger one keeps less (full: no activations of a block)")
    if step.fsdp is False and state - shared > 0:
        ways.append(
            f"partition.fsdp=True leaves {_gib(shared)} of the {_gib(state)} of state on a device"
        )
    if step.fsdp is None:
        ways.append("a smaller evaluation.batch")
    return "; ".join(ways or ["a smaller model, or chips with more memory"])


def _memory(outcome: Outcome) -> str:
    if outcome.available is None:
        return f"  memory: {_gib(outcome.needed)} on a device; simulated devices have no bound"
    if outcome.figures is None:
        if outcome.needed is None:
            return f"  DOES NOT FIT into the {_gib(outcome.available)} of a device"
        over = _gib(outcome.needed - outcome.available)
        return f"  DOES NOT FIT: needs {_gib(outcome.needed)}, {over} more than a device's {_gib(outcome.available)}"
    memory, free = outcome.figures.memory, _gib(outcome.available - outcome.needed)
    return (
        f"  fits: {_gib(outcome.needed)} of the {_gib(outcome.available)} of a device, {free} free; arguments "
        f"{_gib(memory.arguments)}, outputs {_gib(memory.outputs)} ({_gib(memory.aliased)} of both are the same), "
        f"temporaries {_gib(memory.temporaries)}, code {_gib(memory.code)}"
    )


def _messages(outcome: Outcome) -> list[str]:
    found = outcome.figures
    lines = [
        f"  {one.kind} of {one.dtype}: {one.count} a step, {one.bytes / 1e6:.1f} MB among {one.group} devices"
        for one in found.collectives
    ] or ["  no messages between devices"]
    if outcome.step.trained and len(outcome.on.devices) > 1:
        kinds = ", ".join(f"{count} of {dtype}" for dtype, count in sorted(found.gradient_reductions.items())) or "none"
        lines.append(f"  gradients: reductions {kinds}; each number {found.gradient_copies:.3g} times a step")
        if outcome.step.fsdp:
            lines.append(f"  parameters gathered whole: {found.gathered_parameters} times a step, as FSDP does")
    return lines


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


def _giga(flops: float) -> str:
    return f"{flops / 1e9:.2f} GFLOP"
