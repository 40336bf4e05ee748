"""Stored figures of compiled steps that later ones may not exceed by more than 2 %."""

ROOM = 1.02


def measured(found: dict) -> dict[str, float]:
    """What the compile check found of a step, as one number by name: FLOPs, memory, and messages by kind and type."""
    figures = found["figures"]
    numbers = {"flops": figures["flops"], "product_flops": figures["product_flops"], "memory": found["needed_bytes"]}
    for one in figures["collectives"]:
        name = f"{one['kind']} {one['dtype']}"
        numbers |= {f"{name} count": one["count"], f"{name} bytes": one["bytes"]}
    return numbers


def grown(found: dict[str, float], stored: dict[str, float]) -> list[str]:
    """Names what is more than `ROOM` times its stored figure; what was not stored had been zero."""
    return [
        f"{name}: at most {ROOM} x {stored.get(name, 0):.6g} expected, {value:.6g} found"
        for name, value in sorted(found.items())
        if value > ROOM * stored.get(name, 0)
    ]
