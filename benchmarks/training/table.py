"""The tables of docs/speed.md: from benchmarks/results/training-beside.json how many times our CPU seconds the others
take, step beside step; from training.json tokens a second, and the product rate that the machine had in that process.
"""

import json
from pathlib import Path

RESULTS = Path("benchmarks/results/training.json")
BESIDE = Path("benchmarks/results/training-beside.json")


def main() -> None:
    print("| kind | features | trainer | times our CPU seconds |\n|---|---|---|---|")
    for row in json.loads(BESIDE.read_text(encoding="utf-8"))["rows"]:
        for trainer, times in row["times_ours"].items():
            print(f"| {row['kind']} | {row['features']:,} | {trainer} | {times:.2f} |")
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    for figure in ("tokens_per_cpu_second", "tokens_per_second"):
        print(f"\n{figure}\n\n| kind | features | rows | trainer | threads | figure | ours is | share | rate, 10⁹/s |")
        print("|---|---|---|---|---|---|---|---|---|")
        for row in sorted(rows, key=lambda r: (r["kind"], r["features"], r["rows"], -r.get(figure, 0))):
            ours = best(rows, row, figure)
            if figure in row and ours:
                share = f"{row['share_of_rate']:.2f}" if "share_of_rate" in row else ""
                print(
                    f"| {row['kind']} | {row['features']:,} | {row['rows']:,} | {row['trainer']} | {row['threads']} "
                    f"| {row[figure]:,.0f} | {ours / row[figure]:.1f} x | {share} | {rates(row)} |"
                )


def rates(row: dict) -> str:
    return ", ".join(f"{run['product_rate'] / 1e9:.0f}" for run in row["runs"] if run.get("product_rate"))


def best(rows: list[dict], beside: dict, figure: str) -> float | None:
    """Our own best with any number of threads, at the same kind, features and rows."""
    same = ("kind", "features", "rows")
    ours = [row for row in rows if row["trainer"] == "ours" and all(row[name] == beside[name] for name in same)]
    return max((row[figure] for row in ours if figure in row), default=None)


if __name__ == "__main__":
    main()
