"""Make the two tables in this folder, from nothing but a key: `python data/tables/make_tables.py`.

Nobody lived in these flats and no such machine was built. What the numbers depend on is written here,
so that it is known how well they can be predicted.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fnn import Key

FOLDER = Path(__file__).resolve().parent
KEY = Key.of(2026)
N_FLATS, N_MACHINES = 2000, 3000
DISTRICTS = {
    "Harbour": 1.15,
    "Hill, upper": 1.45,
    "Hill, lower": 1.2,
    "Mill": 0.8,
    "Old Town": 1.3,
    "Station": 0.9,
}
HEATINGS = {"gas": 1.0, "district": 1.02, "heat pump": 1.08}
NOISE = 0.08
"""Standard deviation of the logarithm of a price, given all the rest: no model comes below it."""
SITES = {"North": 0.0, "South": 0.4, "Coast": 1.2, "Depot": -0.3}


def flats() -> list[list[str]]:
    """Return the rows of flats.csv: a price in thousands, by area, place, age and comfort."""
    draw = KEY.fold("flats").generator()
    names = "area_m2,rooms,floor,built,distance_km,district,heating,balcony,price"
    rows = [names.split(",")]
    for _ in range(N_FLATS):
        area = float(np.clip(np.exp(draw.normal(4.25, 0.35)), 22, 220))
        rooms = int(np.clip(round(area / 26 + draw.normal(0, 0.6)), 1, 8))
        floor = int(draw.integers(0, 9))
        built = int(draw.integers(1890, 2024))
        distance = float(draw.gamma(2.2, 2.0))
        district = str(draw.choice(list(DISTRICTS), p=[0.15, 0.08, 0.17, 0.25, 0.2, 0.15]))
        heating = str(draw.choice(list(HEATINGS), p=[0.5, 0.3, 0.2]))
        balcony = bool(draw.random() < 0.35 + 0.04 * floor)
        # New flats and very old ones are worth more than those of the 1960s.
        age = 0.25 * ((built - 1965) / 60) ** 2
        height = (0.02 if balcony else 0.005) * floor
        logarithm = np.log(3.1 * area**0.92 * DISTRICTS[district] * HEATINGS[heating])
        logarithm += age + height - 0.05 * distance + (0.03 if rooms > area / 24 else 0.0)
        price = float(np.exp(logarithm + draw.normal(0, NOISE)))
        year = "" if draw.random() < 0.03 else str(built)
        rows.append([f"{area:.1f}", str(rooms), str(floor), year, f"{distance:.2f}", district, heating,
                     "yes" if balcony else "no", f"{price:.1f}"])  # fmt: skip
    return rows


def machines() -> list[list[str]]:
    """Return the rows of machines.csv: whether one failed within a month, which few did."""
    draw = KEY.fold("machines").generator()
    names = "kind,site,hours,temperature_c,vibration_mm_s,load_percent,oil_days,failed"
    rows = [names.split(",")]
    for _ in range(N_MACHINES):
        kind = str(draw.choice(["press", "pump", "fan"], p=[0.3, 0.45, 0.25]))
        site = str(draw.choice(list(SITES), p=[0.3, 0.3, 0.2, 0.2]))
        hours = float(draw.gamma(2.0, 4000.0))
        load = float(100 * draw.beta(5, 2))
        temperature = float(38 + 0.32 * load + draw.normal(0, 5))
        vibration = float(np.exp(draw.normal(0.4, 0.45)) + 0.00006 * hours)
        oil = int(draw.integers(0, 400))
        # A pump that vibrates, a press that is hot, a fan without load, and old oil in all of them.
        score = -6.3 + SITES[site] + 0.00008 * hours
        score += 2.4 * max(0.0, vibration - 1.9) if kind == "pump" else 0.0
        score += 0.4 * max(0.0, temperature - 62) if kind == "press" else 0.0
        score += 0.11 * max(0.0, 68 - load) if kind == "fan" else 0.0
        score += 1.8 / (1 + np.exp(-(oil - 290) / 20))
        failed = draw.random() < 1 / (1 + np.exp(-score))
        rows.append([kind, site, f"{hours:.0f}", f"{temperature:.1f}", f"{vibration:.2f}",
                     f"{load:.0f}", str(oil), "yes" if failed else "no"])  # fmt: skip
    return rows


def write(folder: Path) -> None:
    """Write both tables, with quotes where RFC 4180 has them."""
    for name, rows in (("flats.csv", flats()), ("machines.csv", machines())):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    write(FOLDER)
