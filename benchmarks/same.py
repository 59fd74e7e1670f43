"""Compare two results folders of the same command: did a change to the code move anything?

    python benchmarks/same.py OLD NEW

Equal must be: file names (so run ids), predictions byte by byte, every JSON but for seconds, dates, machine state.
A conclusion is compared without the seconds that more seeds would take.
Exit code 1 where they differ.
"""

import json
import re
import sys
from pathlib import Path

FREE = {
    "seconds", "median_seconds", "cost", "finished", "images_per_second", "commit", "dirty",
    "harness",
}  # fmt: skip
SPENT = re.compile(r" \(about [^()]* of computing\)")  # in a conclusion: what more seeds would take


def plain(value: object) -> object:
    if isinstance(value, str):
        return SPENT.sub("", value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if key not in FREE}
    return [plain(part) for part in value] if isinstance(value, list) else value


def differences(old: Path, new: Path) -> list[str]:
    """A line for each file that is not the same in both."""
    ours, theirs = (
        {p.relative_to(f).as_posix(): p for p in f.rglob("[!.]*") if p.is_file()}
        for f in (old, new)
    )
    wrong = [f"only in one: {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        one, other = ours[name].read_bytes(), theirs[name].read_bytes()
        if one == other or name.endswith((".html", ".md", ".tex", ".csv", ".txt")):
            continue  # boards in text show seconds; leaderboard.json holds the same figures
        if not name.endswith(".json") or plain(json.loads(one)) != plain(json.loads(other)):
            wrong.append(f"differs: {name}")
    return wrong


def main(old: Path, new: Path) -> int:
    wrong = differences(old, new)
    ours = [path.name for path in old.rglob("[!.]*") if path.is_file()]
    kinds = {end: sum(name.endswith(end) for name in ours) for end in (".safetensors", ".json")}
    print("\n".join(wrong) or f"the same: {kinds}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
