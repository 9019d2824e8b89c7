"""What the model card says of a run's energy, as Markdown and for the Hub. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vqazoo.amounts import epochs

if TYPE_CHECKING:
    from vqazoo.card.facts import Facts

ENERGY, CARBON = "energy_kwh", "emissions_g"  # of a line of the log, since the one before
METER = "codecarbon"
# How codecarbon names what it reads, by its beginning, and what that is.
METERED = {
    "CPU(Intel Rapl)": "processor measured by its own counters (RAPL)",
    "CPU(Windows Emi)": "processor measured by its own counters (EMI)",
    "CPU(Intel Power Gadget)": "processor measured by its own counters (Power Gadget)",
    "CPU(": "processor estimated from its load and its thermal design power",
    "AppleSiliconChip": "chip measured by PowerMetrics",
    "Raspberry": "board measured by its own counters",
    "GPU": "GPU measured by its driver",
    "RAM": "memory estimated from its size",
}


def energy_lines(facts: Facts) -> list[str]:
    """Energy and carbon as items of a list; that nothing was measured, where it was not."""
    metered = [line for line in facts.log if ENERGY in line]
    if not metered:
        return ["- Energy and carbon were not measured."]
    told = facts.environment.get("energy", {})
    some = "" if len(metered) == len(facts.log) else f"{len(metered)} of "
    said = [
        f"- Energy: {_total(facts, ENERGY):.3g} kWh of the whole machine in {some}"
        f"{epochs(len(facts.log))}, with encoding and validation. An estimate by "
        f"{told.get('meter', METER)}: {_parts(told)}."
    ]
    if all(CARBON in line for line in metered) and told.get("place"):
        said.append(
            f"- Carbon: {_total(facts, CARBON):.3g} g of CO2 equivalents, an estimate from the "
            f"average electricity of {told['place']}."
        )
    else:
        said.append("- Carbon was not estimated, because where the machine stands was not said.")
    return said


def co2_eq_emissions(facts: Facts) -> dict[str, Any]:
    """The Hub's field of that name; empty unless every epoch was metered."""
    told = facts.environment.get("energy", {})
    if not facts.log or not told.get("place") or any(CARBON not in line for line in facts.log):
        return {}
    pretrained = any(facts.reference(tower) is not None for tower in ("image", "text"))
    return {
        "emissions": float(f"{_total(facts, CARBON):.4g}"),
        "source": f"{told.get('meter', METER)}, an estimate: {_parts(told)}",
        "training_type": "fine-tuning" if pretrained else "pre-training",
        "geographical_location": told["place"],
        **({"hardware_used": hardware} if (hardware := facts.environment.get("hardware")) else {}),
    }


def is_generated(emissions: Any) -> bool:
    """Whether a card's `co2_eq_emissions` was written by `co2_eq_emissions`, not by a person."""
    return isinstance(emissions, Mapping) and str(emissions.get("source")).startswith(f"{METER} ")


def _total(facts: Facts, figure: str) -> float:
    return sum(float(line.get(figure, 0.0)) for line in facts.log)


def _parts(told: Mapping[str, Any]) -> str:
    """What was read, and how, in words."""
    words = []
    for part in told.get("parts", []):
        kind = next((words for start, words in METERED.items() if str(part).startswith(start)), "")
        words.append(kind or str(part))
    return ", ".join(dict.fromkeys(words)) or "how was not recorded"
