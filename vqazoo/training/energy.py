"""Energy of a run and its carbon, by the package codecarbon: the logger `codecarbon`.

Without a network and without files: what is measured goes into the lines of the log. Where the
machine stands is asked of codecarbon's own setting (CODECARBON_COUNTRY_ISO_CODE, or its config
file); without it no carbon is told. The package (extra `energy`) is imported when it is named.
"""

from __future__ import annotations

import logging
from typing import Any

from vqazoo.card.energy import CARBON, ENERGY
from vqazoo.errors import TrainingError

LOGGER = "codecarbon"  # as training.loggers names it
SECONDS = 15.0  # between two readings: the counters of processors start anew within an hour
GRAMS = 1000.0  # in a kilogram, which codecarbon tells


class _Readings:
    """What codecarbon calls an output: keeps the newest totals."""

    def __init__(self) -> None:
        self.newest: Any = None

    def out(self, total: Any, delta: Any) -> None:
        self.newest = total

    def live_out(self, total: Any, delta: Any) -> None:
        """Between two lines of the log nothing is told."""

    def task_out(self, data: Any, experiment_name: str) -> None:
        """There are no tasks."""

    def exit(self) -> None:
        """Nothing is open."""


class EnergyMeter:
    """Reads what this machine takes, from when it is made until it is closed.

    Attributes:
        facts: of the meter, for environment.json: `meter` and its version; `parts`, what of the
            machine is read and how; `place`, the country and region whose electricity it is, empty
            where nobody said.
    """

    def __init__(self) -> None:
        """Begin. Raises TrainingError if the package is not installed."""
        log = logging.getLogger("codecarbon")
        log.setLevel(logging.CRITICAL)  # before it reads its own level
        try:
            import codecarbon
        except ImportError as error:
            raise TrainingError(
                f"The logger '{LOGGER}' needs a package that is not installed ({error}): run  "
                f"pip install 'vqazoo[energy]'."
            ) from error
        self._readings = _Readings()
        # All that could ask the network, write a file or lock others out is off, whatever the
        # user's config of codecarbon says.
        self._tracker = codecarbon.OfflineEmissionsTracker(
            measure_power_secs=SECONDS,
            api_call_interval=-1,
            output_methods=[],
            output_handlers=[self._readings],
            emissions_endpoint=None,
            electricitymaps_api_token="",
            allow_multiple_runs=True,
            tracking_mode="machine",
            log_level="critical",
        )
        self._told = (0.0, 0.0)
        self._tracker.start()
        self._tracker.flush()
        self.facts: dict[str, Any] = {}
        if (newest := self._readings.newest) is not None:
            places = (newest.region, newest.country_name)
            self.facts = {
                "meter": f"codecarbon {newest.codecarbon_version}",
                "parts": list(getattr(self._tracker, "_conf", {}).get("hardware", [])),
                "place": ", ".join(place for place in places if place and newest.country_name),
            }

    def figures(self) -> dict[str, float]:
        """Kilowatt-hours and grams of CO2 equivalents since the last call; empty if unknown."""
        self._tracker.flush()
        newest = self._readings.newest
        if newest is None:
            return {}
        energy, carbon = newest.energy_consumed, newest.emissions * GRAMS
        told, self._told = self._told, (energy, carbon)
        figures = {ENERGY: energy - told[0]}
        return {**figures, CARBON: carbon - told[1]} if self.facts["place"] else figures

    def close(self) -> None:
        """Stop reading."""
        self._tracker.stop()
